// Package flow keeps OpenFlow rules on the Open vSwitch bridges of hosts: what
// comes out of a VM's port must have that VM's MAC and IP addresses, no guest is
// a DHCP server or a router, and a port that nobody knows is silent. The rules of
// a bridge are rendered whole and replaced in one transaction of the switch.
//
// It reaches the host's ovsdb-server and ovs-vswitchd over the host's SSH
// connection; nothing of ours is on the host. It must not decide which VM has
// which address: it is told.
package flow

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"baadal"
	"baadal/internal/ssh"
)

// Connection reaches hosts. ssh.Pool is one.
type Connection interface {
	// Run returns when the command ended; a non-zero exit code is no error.
	Run(ctx context.Context, host baadal.Host, cmd ssh.Command) (ssh.Result, error)
	// DialUnix opens a stream to a Unix socket on the host.
	DialUnix(ctx context.Context, host baadal.Host, path string) (net.Conn, error)
}

// Options of a Keeper; all may be left out.
type Options struct {
	RunDir string // where Open vSwitch has its sockets; /run/openvswitch
	Logger *slog.Logger
}

// Keeper keeps the rules. It is safe for concurrent use.
type Keeper struct {
	conn Connection
	opt  Options
	log  *slog.Logger
}

// New returns a Keeper that works over the connection.
func New(conn Connection, opt Options) *Keeper {
	if opt.RunDir == "" {
		opt.RunDir = "/run/openvswitch"
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	return &Keeper{conn: conn, opt: opt, log: opt.Logger}
}

// How often things are looked at beside what the switch tells by itself.
const (
	tickEvery   = time.Second
	countEvery  = time.Second      // the number of rules in the switch
	readEvery   = 30 * time.Second // the policy
	lookEvery   = 5 * time.Minute  // the host beside its switch: networks, addresses of its own
	lookSoon    = 5 * time.Second  // the same while it lacks a network
	staleAfter  = 10 * time.Second // a port that leads nowhere is left to libvirt for so long
	lineAgain   = 100 * time.Millisecond
	openTimeout = 10 * time.Second // for the database's tables
	callTimeout = 20 * time.Second
)

// Keep lays the rules on the host's bridges and keeps them until ctx ends or the
// host is lost, and returns the reason. It follows the ports as they come and go,
// reads the policy again when woken, and lays the rules again when they are lost.
func (k *Keeper) Keep(ctx context.Context, host baadal.Host, wake <-chan struct{}, read baadal.FlowRead) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s, err := k.open(ctx, host, read)
	if err != nil {
		return err
	}
	defer s.close()
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	s.sync(ctx)
	for {
		due := true
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case u, ok := <-s.db.updates:
			if !ok {
				return s.db.failure()
			}
			s.db.apply(u)
			s.db.drain()
		case <-wake:
		case e := <-s.events:
			due = s.heard(e)
		case now := <-tick.C:
			s.db.sweep(now)
			s.calm = true
			due = s.dirty || now.Sub(s.readAt) > readEvery || s.lacking && now.Sub(s.lookedAt) > lookSoon
		}
		if due {
			s.sync(ctx)
		}
		s.calm = false
	}
}

// Apply lays the rules once, on all bridges.
func (k *Keeper) Apply(ctx context.Context, host baadal.Host, read baadal.FlowRead) error {
	n, err := k.apply(ctx, host, read)
	if err == nil && n == 0 {
		err = baadal.Errorf(baadal.Conflict, "%s has no Open vSwitch bridge for VMs", host.Name).WithCode("no_bridge").
			WithNext("See what is missing", "baadal host check "+host.Name)
	}
	return err
}

// Clear takes the rules off and lets everything pass: the host is ours no more.
// No bridge is success.
func (k *Keeper) Clear(ctx context.Context, host baadal.Host, read baadal.FlowRead) error {
	_, err := k.apply(ctx, host, func(macs []string) (baadal.FlowPolicy, error) {
		p, err := read(macs)
		p.Off = true
		return p, err
	})
	return err
}

// apply returns how many bridges there are. What it laid is laid again if it is
// not what should be there by then: Keep may have laid the newer rules before.
func (k *Keeper) apply(ctx context.Context, host baadal.Host, read baadal.FlowRead) (bridges int, err error) {
	const tries = 5
	ctx, stop := context.WithTimeout(ctx, callTimeout)
	defer stop()
	s, err := k.open(ctx, host, read)
	if err != nil {
		return 0, err
	}
	defer s.close()
	for range tries {
		plans, err := s.plan(ctx)
		if err != nil {
			return 0, err
		}
		bridges = len(plans)
		pushed := false
		for _, p := range plans {
			if s.laid[p.bridge].text == p.text {
				continue
			}
			if err := s.push(ctx, p, true); err != nil {
				return 0, err
			}
			s.laid[p.bridge], pushed = p, true
		}
		if !pushed {
			break
		}
		s.db.drain()
	}
	return bridges, nil
}

// Differences compares the rules in the switch with those that should be there
// and says in words what differs. What is seen only once is in motion and no
// difference: it is looked at again after a moment.
func (k *Keeper) Differences(ctx context.Context, host baadal.Host, read baadal.FlowRead) ([]string, error) {
	const moment = 700 * time.Millisecond
	var before []string
	for try := range 3 {
		now, err := k.differences(ctx, host, read)
		if err != nil || len(now) == 0 || try > 0 && slices.Equal(now, before) {
			return now, err
		}
		before = now
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(moment):
		}
	}
	return nil, nil // each look was another: they are being changed
}

func (k *Keeper) differences(ctx context.Context, host baadal.Host, read baadal.FlowRead) ([]string, error) {
	ctx, stop := context.WithTimeout(ctx, callTimeout)
	defer stop()
	s, err := k.open(ctx, host, read)
	if err != nil {
		return nil, err
	}
	defer s.close()
	plans, err := s.plan(ctx)
	if err != nil {
		return nil, err
	}
	var words []string
	if len(plans) == 0 {
		words = append(words, "there is no Open vSwitch bridge for VMs")
	}
	for _, p := range plans {
		w, err := s.compare(ctx, p)
		if err != nil {
			return nil, err
		}
		words = append(words, w...)
	}
	return words, nil
}

// compare asks the switch for what differs on one bridge: lines with - are only
// in the switch, lines with + are missing there.
func (s *session) compare(ctx context.Context, p plan) ([]string, error) {
	var words []string
	if p.mode != "" {
		words = append(words, fmt.Sprintf("%s: its fail mode is not %s", p.bridge, p.mode))
	}
	res, err := s.k.conn.Run(ctx, s.host, ssh.Command{
		Argv: []string{"sh", "-c", compareScript, "baadal", s.k.opt.RunDir, p.bridge, p.frags}, Stdin: strings.NewReader(p.text + endMark), Timeout: callTimeout, Limit: 8 << 20,
	})
	if err != nil {
		return nil, fmt.Errorf("compare flows: %w", err)
	}
	if res.Code != 0 && res.Code != 2 {
		return nil, s.failed("compare flows", res)
	}
	missing, more := 0, 0
	for line := range strings.Lines(string(res.Stdout)) {
		frags, differ := strings.CutPrefix(line, "frags ")
		switch {
		case differ:
			words = append(words, fmt.Sprintf("%s: fragments are handled as %s, not %s", p.bridge, strings.TrimSpace(frags), p.frags))
		case strings.HasPrefix(line, "+"):
			missing++
		case strings.HasPrefix(line, "-"):
			more++
		}
	}
	if res.Code == 2 {
		words = append(words, fmt.Sprintf("%s: %d rules are missing, %d are there that should not be", p.bridge, missing, more))
	}
	return words, nil
}

func (s *session) failed(what string, res ssh.Result) error {
	words, _, _ := strings.Cut(strings.TrimSpace(string(res.Stderr)), "\n")
	if words == "" {
		words = fmt.Sprintf("exit code %d", res.Code)
	}
	return fmt.Errorf("%s: %w", what, failing(s.host, words))
}

func failing(host baadal.Host, words string) *baadal.Error {
	return &baadal.Error{
		Kind: baadal.Unavailable, Code: "openvswitch_failing", Title: "Open vSwitch on " + host.Name + " does not answer", Detail: words,
		Next: []baadal.Offer{{Label: "Look at the host", Action: "baadal host check " + host.Name}},
	}
}
