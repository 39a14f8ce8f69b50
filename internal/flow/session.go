package flow

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"

	"baadal"
	"baadal/internal/ssh"
)

//go:embed files/look.sh
var lookScript string

//go:embed files/replace.sh
var replaceScript string

//go:embed files/compare.sh
var compareScript string

// endMark is the last line of what is sent: half of the rules must not be taken
// for all of them when the connection breaks.
const endMark = "# end\n"

// session is one stay at a host.
type session struct {
	k    *Keeper
	host baadal.Host
	read baadal.FlowRead
	db   *database

	looked   string // networks that the bridges below were found for
	lookedAt time.Time
	bridges  map[string]bool // of our networks
	lacking  bool            // a network that the host does not have, or not yet
	calm     bool            // nothing waits for its rules: there is time to look
	// Devices with an address of the host's own, and those that they stand on. None is forgotten: an address that is gone for a moment is
	// not got again without its way.
	own, below map[string]bool

	lines  map[string]*line
	events chan event
	laid   map[string]plan // by bridge: what the switch has now
	dirty  bool            // something could not be done and is to be tried again
	readAt time.Time
}

func (k *Keeper) open(ctx context.Context, host baadal.Host, read baadal.FlowRead) (*session, error) {
	db, err := openDatabase(ctx, k.conn, host, k.opt.RunDir+"/db.sock")
	if err != nil {
		return nil, err
	}
	return &session{
		k: k, host: host, read: read, db: db, bridges: map[string]bool{}, own: map[string]bool{}, below: map[string]bool{},
		lines: map[string]*line{}, events: make(chan event, 16), laid: map[string]plan{},
	}, nil
}

func (s *session) close() {
	s.db.close()
	for _, l := range s.lines {
		l.close()
	}
}

// plan is what one bridge should be like.
type plan struct {
	bridge string
	mode   string // fail mode to set; empty if it is right
	frags  string // how fragments are to be handled
	text   string
	rules  int
}

// plan reads the policy and renders the rules of each bridge that is ours to keep.
func (s *session) plan(ctx context.Context) ([]plan, error) {
	ports := s.db.ports()
	macs := []string{}
	for _, p := range ports {
		if p.mac != "" {
			macs = append(macs, p.mac)
		}
	}
	slices.Sort(macs)
	policy, err := s.read(slices.Compact(macs))
	if err != nil {
		return nil, fmt.Errorf("read flow policy: %w", err)
	}
	s.readAt = time.Now()
	if err := s.look(ctx, policy.Networks); err != nil {
		return nil, err
	}
	nics := nicsOf(policy)
	ours := map[string]bool{}
	for b := range s.bridges {
		ours[b] = true
	}
	for _, p := range ports {
		if _, known := p.nic(nics); known {
			ours[p.bridge] = true
		}
	}
	var plans []plan
	reached := s.db.reached(s.own, s.below)
	for _, b := range s.db.bridges() {
		if !ours[b.name] {
			continue
		}
		own := reached[b.name]
		p := plan{bridge: b.name, mode: failMode(policy.Off, own, b.failMode), frags: "nx-match"} // else the ports of fragments are not seen
		if policy.Off {
			p.frags = "normal"
		}
		lines := render(policy, nics, b, own, ports)
		p.text, p.rules = strings.Join(lines, "\n")+"\n", len(lines)
		plans = append(plans, p)
	}
	return plans, nil
}

// failMode returns the fail mode to set, or nothing. A bridge without rules, as
// after a crash of the switch, must be silent: unless the host itself is reached
// through it, for then nobody could bring the rules back.
func failMode(off, own bool, now string) string {
	open := off || own
	switch {
	case open && now == "secure":
		return "standalone"
	case !open && now != "secure":
		return "secure"
	}
	return ""
}

// look finds the bridges of the libvirt networks, and the devices by which the
// host itself is reached. Without the second nothing is laid: it could cut the
// host off. libvirt may be away; VMs' ports tell their bridges too.
func (s *session) look(ctx context.Context, networks []string) error {
	key := strings.Join(networks, "\n")
	again := lookEvery
	if s.lacking {
		again = lookSoon
	}
	if s.looked == key && (!s.calm || time.Since(s.lookedAt) < again) {
		return nil
	}
	res, err := s.k.conn.Run(ctx, s.host, ssh.Command{Argv: append([]string{"sh", "-c", lookScript, "baadal"}, networks...), Timeout: callTimeout})
	if err == nil && res.Code != 0 {
		err = s.failed("look at the host", res)
	}
	if err != nil && s.lookedAt.IsZero() {
		return fmt.Errorf("find bridges: %w", err)
	}
	bridges, found := map[string]bool{}, 0
	kinds := map[string]map[string]bool{"bridge": bridges, "own": s.own, "below": s.below}
	for l := range strings.Lines(string(res.Stdout)) {
		f := strings.Fields(l)
		if len(f) != 2 || kinds[f[0]] == nil {
			continue
		}
		kinds[f[0]][f[1]] = true
		if f[0] == "bridge" {
			found++
		}
	}
	if found > 0 { // else what was known yet holds
		s.bridges = bridges
	}
	s.lacking = found < len(networks)
	s.looked, s.lookedAt = key, time.Now()
	return nil
}

// sync brings every bridge in line whose switch answers. What fails is tried
// again at the next tick.
func (s *session) sync(ctx context.Context) {
	s.dirty = false
	plans, err := s.plan(ctx)
	if err != nil {
		s.dirty = true
		s.k.log.Warn("flows not planned", "host", s.host.Name, "error", err)
		return
	}
	s.hangUp()
	for _, p := range plans {
		l := s.lines[p.bridge]
		if l == nil {
			l = s.k.follow(ctx, s.host, p.bridge, s.events)
			s.lines[p.bridge] = l
		}
		laid := s.laid[p.bridge]
		if !l.up || p.mode == "" && laid.text == p.text {
			continue
		}
		begun := time.Now()
		l.expect(-1)
		if err := s.push(ctx, p, p.mode != "" || laid.frags != p.frags); err != nil {
			s.dirty = true
			delete(s.laid, p.bridge)
			s.k.log.Warn("flows not laid", "host", s.host.Name, "bridge", p.bridge, "error", err)
			continue
		}
		s.laid[p.bridge] = p
		l.expect(p.rules)
		s.k.log.Debug("flows laid", "host", s.host.Name, "bridge", p.bridge, "rules", p.rules, "took", time.Since(begun))
	}
}

// hangUp ends the lines to bridges that are gone.
func (s *session) hangUp() {
	there := map[string]bool{}
	for _, b := range s.db.bridges() {
		there[b.name] = true
	}
	for name, l := range s.lines {
		if !there[name] {
			l.close()
			delete(s.lines, name)
			delete(s.laid, name)
		}
	}
}

// push gives a bridge its rules in one transaction of the switch. whole says to
// see to the rest of its settings too.
func (s *session) push(ctx context.Context, p plan, whole bool) error {
	frags := ""
	if whole {
		frags = p.frags
	}
	res, err := s.k.conn.Run(ctx, s.host, ssh.Command{
		Argv: []string{"sh", "-c", replaceScript, "baadal", s.k.opt.RunDir, p.bridge, p.mode, frags}, Stdin: strings.NewReader(p.text + endMark), Timeout: callTimeout,
	})
	if err != nil {
		return fmt.Errorf("replace flows: %w", err)
	}
	if res.Code != 0 {
		return s.failed("replace flows", res)
	}
	return nil
}

// heard takes in what a switch said and reports whether there is something to do.
func (s *session) heard(e event) bool {
	l := s.lines[e.bridge]
	switch {
	case l == nil || l != e.line: // of a bridge that is gone, or was
		return false
	case !e.up:
		l.up = false
		delete(s.laid, e.bridge)
		s.k.log.Warn("switch lost", "host", s.host.Name, "bridge", e.bridge)
		return false
	case !l.up:
		l.up = true
		return true
	case s.laid[e.bridge].text != "":
		s.k.log.Warn("flows lost", "host", s.host.Name, "bridge", e.bridge, "rules", e.rules)
		delete(s.laid, e.bridge)
	}
	return true
}
