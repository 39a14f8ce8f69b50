// Package probe looks at a host as a whole: can it run VMs of this cloud, what is
// it made of, and if something is missing, what mends it. It also asks guests
// for a sign of life.
//
// It changes nothing on a host but for one empty file that it makes and removes
// on each datastore to see whether that can be written. It must not decide what
// a finding means for the cloud.
package probe

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"baadal"
	"baadal/internal/ssh"
)

// Connection reaches hosts. ssh.Pool is one.
type Connection interface {
	// Run returns when the command ended; a non-zero exit code is no error.
	Run(ctx context.Context, host baadal.Host, cmd ssh.Command) (ssh.Result, error)
	// Ping makes one round trip.
	Ping(ctx context.Context, host baadal.Host) error
}

// Hypervisor is what the prober asks of libvirt. libvirt.Hypervisor is one.
type Hypervisor interface {
	// Node tells what libvirt knows of the host itself.
	Node(ctx context.Context, host baadal.Host) (baadal.HostFacts, error)
	// VirtRuns tries whether a virtualisation type (kvm, qemu) really runs a
	// guest; if not, detail says what was seen.
	VirtRuns(ctx context.Context, host baadal.Host, virt string) (runs bool, detail string, err error)
}

// Options sets up a Prober; all may be left out.
type Options struct {
	// FetchHostKey asks an sshd for its host key; ssh.FetchHostKey if nil.
	FetchHostKey func(ctx context.Context, addr string) (hostKey, fingerprint string, err error)
	Now          func() time.Time // the controller's clock, which hosts are compared with; time.Now if nil
	Network      string           // libvirt network of VMs; baadal.DefaultLibvirtNetwork
	Socket       string           // libvirt's socket; /run/libvirt/libvirt-sock
}

// Prober looks at hosts. It is safe for concurrent use.
type Prober struct {
	conn  Connection
	hyper Hypervisor
	opts  Options
}

// New returns a Prober that works over the connection.
func New(conn Connection, hyper Hypervisor, opts Options) *Prober {
	if opts.FetchHostKey == nil {
		opts.FetchHostKey = ssh.FetchHostKey
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Network == "" {
		opts.Network = baadal.DefaultLibvirtNetwork
	}
	if opts.Socket == "" {
		opts.Socket = "/run/libvirt/libvirt-sock"
	}
	return &Prober{conn: conn, hyper: hyper, opts: opts}
}

//go:embed files/probe.sh
var probeScript string

// scriptLimit bounds the script: each of its parts that can hang has a bound of
// its own of some seconds.
const scriptLimit = 2 * time.Minute

// Fingerprint asks an sshd (host:port) for its host key without trusting it.
func (p *Prober) Fingerprint(ctx context.Context, addr string) (hostKey, fingerprint string, err error) {
	hostKey, fingerprint, err = p.opts.FetchHostKey(ctx, addr)
	if err != nil {
		return "", "", fmt.Errorf("fetch host key: %w", err)
	}
	return hostKey, fingerprint, nil
}

// Alive makes one round trip over the host's connection.
func (p *Prober) Alive(ctx context.Context, host baadal.Host) error { return p.conn.Ping(ctx, host) }

// Probe checks everything a host needs and reads its facts. It returns an error
// only when nothing could be looked at or ctx ended; what is wrong with the host
// is in the facts' checks. host.Virt, if set, is the virtualisation type that is
// tried; else kvm and then qemu are, and the first that runs a guest is told.
func (p *Prober) Probe(ctx context.Context, host baadal.Host, stores []baadal.Datastore) (baadal.HostFacts, error) {
	s, err := p.look(ctx, host, stores)
	if err != nil {
		return baadal.HostFacts{}, fmt.Errorf("probe host: %w", err)
	}
	facts := s.facts()
	node, nodeErr := p.node(ctx, host, s)
	if nodeErr == nil {
		facts.Libvirt, facts.QEMU = node.Libvirt, node.QEMU
		fillIn(&facts, node)
	}
	facts.Checks = append(facts.Checks, baadal.Check{Name: "sshd", OK: true, Detail: "answers"}, libvirtCheck(node, nodeErr))
	virt, check := p.virt(ctx, host, nodeErr)
	facts.Virt = virt
	facts.Checks = append(facts.Checks, check, s.openvswitchCheck(), s.networkCheck(p.opts.Network), s.clockCheck(), s.toolsCheck())
	for _, ds := range stores {
		facts.Checks = append(facts.Checks, s.storeCheck(ds))
	}
	if ctx.Err() != nil {
		return baadal.HostFacts{}, fmt.Errorf("probe host: %w", context.Cause(ctx))
	}
	return facts, nil
}

// look runs the script.
func (p *Prober) look(ctx context.Context, host baadal.Host, stores []baadal.Datastore) (*sight, error) {
	argv := []string{"sh", "-c", probeScript, "baadal", p.opts.Socket, p.opts.Network}
	for _, ds := range stores {
		if err := baadal.CheckDatastorePath(ds.Path); err != nil {
			return nil, err
		}
		argv = append(argv, ds.Path)
	}
	before := p.opts.Now()
	res, err := p.conn.Run(ctx, host, ssh.Command{Argv: argv, Timeout: scriptLimit})
	if err != nil {
		return nil, err
	}
	s, err := parseSight(res.Stdout)
	if err != nil {
		return nil, fmt.Errorf("%w (exit code %d, %.200q)", err, res.Code, res.Stderr)
	}
	s.before, s.after = before, p.opts.Now()
	return s, nil
}

var errNoSocket = errors.New("its socket is not there")

func (p *Prober) node(ctx context.Context, host baadal.Host, s *sight) (baadal.HostFacts, error) {
	if !s.ok("socket") {
		return baadal.HostFacts{}, fmt.Errorf("%s: %w", p.opts.Socket, errNoSocket)
	}
	return p.hyper.Node(ctx, host)
}

// virt finds the virtualisation type that runs a guest.
func (p *Prober) virt(ctx context.Context, host baadal.Host, nodeErr error) (string, baadal.Check) {
	check := baadal.Check{Name: "virt", Detail: "cannot be tried without libvirtd", Fix: "systemctl enable --now libvirtd"}
	if nodeErr != nil {
		return host.Virt, check
	}
	types := []string{"kvm", "qemu"}
	if host.Virt != "" {
		types = []string{host.Virt}
	}
	seen := ""
	for _, t := range types {
		runs, detail, err := p.hyper.VirtRuns(ctx, host, t)
		if err != nil {
			detail = err.Error()
		}
		if err == nil && runs {
			check.OK, check.Fix, check.Detail = true, "", t+" runs a guest"
			if seen != "" {
				check.Detail += "; " + seen
			}
			return t, check
		}
		seen = join(seen, t+" does not: "+detail)
	}
	check.Detail, check.Fix = seen, "apt-get install qemu-system-x86"
	return host.Virt, check
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}
