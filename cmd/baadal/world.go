package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"baadal"
	"baadal/internal/console"
	"baadal/internal/dhcp"
	"baadal/internal/disk"
	"baadal/internal/dns"
	"baadal/internal/flow"
	"baadal/internal/libvirt"
	"baadal/internal/probe"
	"baadal/internal/reconcile"
	"baadal/internal/service"
	"baadal/internal/simulator"
	"baadal/internal/ssh"
	"baadal/internal/vnc"
	"baadal/internal/workflow"
)

// world is everything outside the program, real or simulated.
type world struct {
	systems  workflow.Systems
	consoles service.Consoles
	screens  service.Screens
	public   string // the NAT box's own public address; empty: there is no NAT box
	close    func()
}

// simulatedPublic is the address of the NAT box of simulated worlds.
const simulatedPublic = "203.0.113.1"

// openWorld connects the outside world. Nothing is dialled yet.
func openWorld(cfg config, o serveOptions, log *slog.Logger) (world, error) {
	if o.simulate > 0 {
		return simulated(cfg, o.simulate, log)
	}
	signer, err := sshKey(cfg.SSHKey, log)
	if err != nil {
		return world{}, err
	}
	pool := ssh.New(ssh.Options{Signer: signer, Logger: log})
	hosts := libvirt.New(pool, libvirt.Options{Logger: log})
	files := disk.New(pool, disk.Options{})
	lines := console.New(pool)
	w := world{
		systems:  workflow.SystemsOf(hosts, files, probe.New(pool, hosts, probe.Options{}), probe.NewGuests()),
		consoles: lines, screens: hosts,
		close: func() { lines.Close(); hosts.Close(); pool.Close() },
	}
	w.systems.Flows = flow.New(pool, flow.Options{Logger: log})
	if cfg.DHCP.Kind != "none" {
		w.systems.DHCP = openDHCP(cfg.DHCP, pool)
		runner, box := dhcpBox(cfg.DHCP, pool) // it has a foot in the VMs' networks
		w.systems.Neighbours = probe.NewNeighbours(runner, box)
	}
	if cfg.DNS.Kind == "dnsmasq" {
		w.systems.Names = openDNS(cfg.DNS, pool)
	}
	if cfg.NAT.Address != "" {
		w.systems.NAT = openNAT(cfg.NAT, pool)
		w.public = cfg.NAT.Public
	}
	return w, nil
}

// dhcpBox reaches the DHCP server's machine as a host is reached, with an id that
// no host has, unless it is this one.
func dhcpBox(c dhcpConfig, pool *ssh.Pool) (dhcp.Runner, baadal.Host) {
	box := baadal.Host{ID: -1, Name: "the DHCP server", Address: c.Address, SSHUser: c.User, HostKey: c.HostKey}
	if c.Address == localBox {
		box.Address = "this machine"
		return dhcp.Local{}, box
	}
	return pool, box
}

// openDHCP is the DHCP server of the configuration.
func openDHCP(c dhcpConfig, pool *ssh.Pool) *dhcp.Server {
	runner, box := dhcpBox(c, pool)
	o := dhcp.Options{File: c.File, MainConfig: c.MainConfig, Restart: c.Restart, Status: c.Status, Socket: c.Socket}
	if c.Kind == "kea" {
		return dhcp.NewKea(runner, box, o)
	}
	return dhcp.NewISC(runner, box, o)
}

// openDNS reaches the name server as openDHCP does the DHCP server.
func openDNS(c dnsConfig, pool *ssh.Pool) *dns.Dnsmasq {
	host := baadal.Host{ID: -2, Name: "the name server", Address: c.Address, SSHUser: c.User, HostKey: c.HostKey}
	var box dns.Box = pool
	if c.Address == localBox {
		host.Address, box = "this machine", localDNS{}
	}
	return dns.NewDnsmasq(box, host, dns.Options{Domain: c.Domain, File: c.File, Server: c.Server, Reload: c.Reload, Restart: c.Restart})
}

// localDNS is a name server beside the controller.
type localDNS struct{ dhcp.Local }

func (localDNS) DialTCP(ctx context.Context, _ baadal.Host, addr string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}

// simulated is a world of so many hosts that exist only in a file.
func simulated(cfg config, n int, log *slog.Logger) (world, error) {
	sim, err := simulator.Open(simulator.Config{
		Dir: filepath.Join(cfg.State, "simulator"), Hosts: n, Logger: log,
		StartTime: 300 * time.Millisecond, ShutdownTime: 3 * time.Second, BootTime: 6 * time.Second, MigrateTime: 2 * time.Second,
	})
	if err == nil { // a second datastore, so that VMs can be moved
		err = sim.AddDatastore("/mnt/second", 256<<30)
	}
	if err != nil {
		return world{}, err
	}
	hosts, lines := sim.Hypervisor(), console.New(sim.Consoles())
	systems := workflow.SystemsOf(hosts, sim.Disks(), sim.Prober(), sim.Guests())
	systems.DHCP, systems.Names, systems.Flows, systems.Neighbours = sim.DHCP(), sim.Names(), sim.Flows(), sim.Neighbours()
	systems.NAT = sim.NAT()
	return world{
		systems:  systems,
		public:   simulatedPublic,
		consoles: lines, screens: hosts,
		close: func() { lines.Close(); _ = sim.Close() },
	}, nil
}

// watched is what the loops look at, and the boxes that they keep in line.
func (w world) watched(flows *workflow.Workflows) reconcile.Systems {
	keep := []reconcile.Box{}
	for _, b := range flows.Boxes() {
		keep = append(keep, reconcile.Box(b))
	}
	s := reconcile.Systems{
		Boxes:      keep,
		Hypervisor: w.systems.Hypervisor, Alive: w.systems.Prober.Alive, Usage: w.systems.Disks.Usage, DiskSizes: w.systems.Sizer.DiskSizes,
		Answers: w.systems.Guests.Answers, Boot: w.systems.Prober.Boot, Stats: w.systems.Stats.Stats, KeepFlows: w.systems.Flows.Keep,
		ClearFlows: w.systems.Flows.Clear,
		Networks:   flows.KeepHostNetworks,
	}
	if w.systems.NAT != nil {
		s.NAT = w.systems.NAT
	}
	return s
}

// doors are where VNC clients with a grant come in; none if this controller does
// not listen for them.
type doors struct {
	address string
	vnc     *vnc.Server
}

// openDoors makes the server for VNC clients. The service that finds their VMs
// is asked when the first one comes.
func openDoors(cfg config, log *slog.Logger, svc func() *service.Service) (doors, error) {
	if cfg.VNC.Address == "" {
		return doors{}, nil
	}
	address, err := cfg.vncAddress()
	if err != nil {
		return doors{}, err
	}
	return doors{address: cfg.VNC.Address, vnc: vnc.New(address, vnc.Options{
		Screen: func(ctx context.Context, grantID int64, client string) (io.ReadWriteCloser, error) {
			return svc().VNCScreen(ctx, grantID, client)
		},
		Logger: log,
	})}, nil
}

func (d doors) watched(sys reconcile.Systems) reconcile.Systems {
	if d.vnc != nil {
		sys.VNC, sys.VNCAddress = d.vnc.Serve, d.address
	}
	return sys
}

func (d doors) close() {
	if d.vnc != nil {
		d.vnc.Close()
	}
}
