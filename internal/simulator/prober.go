package simulator

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"baadal"
)

// maxSkew is the largest difference of clocks that passes the check.
const maxSkew = 2 * time.Second

// Prober looks at the world's hosts.
type Prober struct{ w *World }

// Prober returns the world's hosts as a whole.
func (w *World) Prober() *Prober { return &Prober{w: w} }

// Fingerprint asks the sshd at addr (host:port) for its key.
func (p *Prober) Fingerprint(ctx context.Context, addr string) (hostKey, fingerprint string, err error) {
	name, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", "", baadal.Errorf(baadal.Invalid, "%q is not an address with a port", addr)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return "", "", baadal.Errorf(baadal.Invalid, "%q is not a port", port)
	}
	err = p.w.call(ctx, "prober.fingerprint", baadal.Host{Address: name, SSHPort: n}, func(h *host) error {
		hostKey, fingerprint = h.hostKey()
		return nil
	})
	return hostKey, fingerprint, err
}

// Probe reads a host's facts and checks what it needs.
func (p *Prober) Probe(ctx context.Context, bh baadal.Host, stores []baadal.Datastore) (facts baadal.HostFacts, err error) {
	err = p.w.call(ctx, "prober.probe", bh, func(h *host) error {
		facts = h.Facts
		facts.Checks = p.w.checks(h, stores)
		return nil
	})
	return facts, err
}

// checks is what there is to look at on a host.
func (w *World) checks(h *host, stores []baadal.Datastore) []baadal.Check {
	check := func(name string, ok bool, good, bad, fix string) baadal.Check {
		if ok {
			return baadal.Check{Name: name, OK: true, Detail: good}
		}
		return baadal.Check{Name: name, Detail: bad, Fix: fix}
	}
	all := []baadal.Check{
		{Name: "sshd", OK: true, Detail: "answers"},
		check("libvirtd", !h.Hung, "version "+h.Facts.Libvirt, "does not answer", "systemctl restart libvirtd"),
		{Name: "openvswitch", OK: true, Detail: "bridge ovs0"},
		{Name: "network", OK: true, Detail: baadal.DefaultLibvirtNetwork + " is active"},
		check("clock", h.Skew.Abs() <= maxSkew, "in step", fmt.Sprintf("off by %s", h.Skew), "chronyc makestep"),
		check("virt", !h.Hung, h.Facts.Virt+" runs a guest", "cannot be tried without libvirtd", "systemctl restart libvirtd"),
	}
	for _, s := range stores {
		ds := w.mounted(h, s.Path)
		name := "datastore " + s.Name
		if ds == nil {
			all = append(all, baadal.Check{Name: name, Detail: "nothing is mounted at " + s.Path, Fix: "mount " + s.Path})
			continue
		}
		all = append(all, check(name, !ds.ReadOnly, "mounted and writable", s.Path+" is read-only", "mount -o remount,rw "+s.Path))
	}
	return all
}

// Alive makes one round trip.
func (p *Prober) Alive(ctx context.Context, bh baadal.Host) error {
	return p.w.call(ctx, "prober.alive", bh, func(*host) error { return nil })
}

// VLANs returns the tag of each running domain's port, by MAC in upper case.
func (p *Prober) VLANs(ctx context.Context, bh baadal.Host) (tags map[string]int, err error) {
	err = p.w.call(ctx, "prober.vlans", bh, func(h *host) error {
		tags = map[string]int{}
		for _, d := range h.Domains {
			if !d.active() {
				continue
			}
			for _, nic := range d.Live.NICs {
				tags[strings.ToUpper(nic.MAC)] = nic.VLAN
			}
		}
		return nil
	})
	return tags, err
}
