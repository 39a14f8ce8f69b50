// Package nat keeps the table of ours on the NAT box: public addresses of VMs,
// both ways, and ports that lead inside for a time. It is one nftables table and
// the routes that make the box answer for the public addresses; both are made
// whole from what the caller says. Nothing else on the box is changed.
//
// The package must not know what a VM is, nor when the table is to change.
package nat

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"baadal"
	"baadal/internal/ssh"
)

// Runner runs commands on hosts. ssh.Pool is one.
type Runner interface {
	// Run returns when the command ended; a non-zero exit code is no error.
	Run(ctx context.Context, host baadal.Host, cmd ssh.Command) (ssh.Result, error)
}

// Options says what the box is like.
type Options struct {
	Table     string     // name of our table; baadal if empty
	Interface string     // on the outside
	Public    netip.Addr // the box's own on the outside: ports that lead inside are ports of it
	Now       func() time.Time
}

// Box is a NAT box that is reached like a host. It is safe for concurrent use.
type Box struct {
	runner Runner
	host   baadal.Host
	opts   Options

	turn chan struct{} // holds an element while somebody works on the box; guards the rest
	have *held         // nil: not known
	last map[netip.Addr]baadal.PublicTraffic
}

// held is what the box has, as far as we know.
type held struct {
	skeleton string
	mark     string // of its chains
	rules    string
	elements elements
	routes   []netip.Prefix
	readAt   time.Time // when all of it was last read back
}

// New returns the box. Nothing is asked of it yet.
func New(runner Runner, host baadal.Host, opts Options) *Box {
	if opts.Table == "" {
		opts.Table = "baadal"
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Box{runner: runner, host: host, opts: opts, turn: make(chan struct{}, 1)}
}

//go:embed files/nat.sh
var script string

const (
	lastLine      = "# end of Baadal's table"
	routeProtocol = 85 // of our routes, as in the script

	callLimit = 30 * time.Second
	readLimit = 64 << 20 // bytes of a listing; about 200,000 mappings

	// readEvery is how often Apply reads back the sets too, and not only
	// whether the table is the one that it made.
	readEvery = 10 * time.Second
)

// Apply makes the box hold exactly the table, and tells whether anything had to
// be changed. A table that is as it was left gets the difference only, in one
// transaction; one that somebody changed, or that went with a reboot, is
// replaced as a whole in one transaction, and mappings keep the time that is
// left to them. The box's own nft checks everything before.
func (b *Box) Apply(ctx context.Context, t baadal.NATTable) (changed bool, err error) {
	if err := b.take(ctx); err != nil {
		return false, err
	}
	defer func() { <-b.turn }()
	skeleton, want, prefixes := b.skeleton(t), elementsOf(t, b.opts.Public), baadal.Blocks(t.Pool)
	for range 2 {
		if b.have == nil || b.have.skeleton != skeleton {
			break
		}
		diff := b.commands(b.have.elements, want, b.opts.Now(), nil)
		if diff != nil {
			diff = append(fmt.Appendf(nil, "flush chain ip %s %s\n", b.opts.Table, madeChainOf(skeleton)), diff...)
		}
		if in := input(diff, routes(b.have.routes, prefixes)); in != nil {
			return true, b.change(ctx, in, skeleton, want, prefixes)
		}
		b.have.elements = want
		if changed { // it was looked at
			return false, nil
		}
		if err := b.look(ctx); err != nil {
			return false, err
		}
		changed = true
	}
	return true, b.replace(ctx, skeleton, want, prefixes)
}

// change sends a difference. A table that is not the one we believed it to be
// refuses it, and is replaced.
func (b *Box) change(ctx context.Context, in []byte, skeleton string, want elements, prefixes []netip.Prefix) error {
	_, _, err := b.run(ctx, "change", in)
	if err == nil {
		b.have.elements, b.have.routes = want, prefixes
		return nil
	}
	b.have = nil
	if code, ok := errors.AsType[scriptError](err); ok && code.code == codeRefused {
		return b.replace(ctx, skeleton, want, prefixes)
	}
	return b.explain(err)
}

func (b *Box) take(ctx context.Context) error {
	select {
	case b.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the NAT box: %w", context.Cause(ctx))
	}
}

// look finds out whether the box still has what it had; now and then all of it
// is read. What is not as it was is not known any more.
func (b *Box) look(ctx context.Context) error {
	mark, have, err := b.run(ctx, "look", nil)
	if err != nil {
		return b.explain(err)
	}
	if mark != b.have.mark {
		b.have = nil
		return nil
	}
	b.have.routes = have
	now := b.opts.Now()
	if now.Sub(b.have.readAt) < readEvery {
		return nil
	}
	c, there, err := b.read(ctx)
	if err != nil {
		return err
	}
	if !there || c.rules != b.have.rules || !c.elements.matches(b.have.elements, now) {
		b.have = nil
		return nil
	}
	b.have.readAt = now
	return nil
}

// replace puts a whole table in place of what is there, and reads it back. What
// was counted so far is carried over.
func (b *Box) replace(ctx context.Context, skeleton string, want elements, prefixes []netip.Prefix) error {
	b.have = nil
	if _, _, err := b.read(ctx); err != nil && baadal.KindOf(err) == baadal.Unavailable {
		return err // another error is of what somebody made of our table: nothing is to be kept of it
	}
	_, have, err := b.run(ctx, "look", nil)
	if err != nil {
		return b.explain(err)
	}
	now := b.opts.Now()
	text := append([]byte(skeleton), b.commands(nil, want, now, b.last)...)
	mark, have, err := b.run(ctx, "replace", input(text, routes(have, prefixes)))
	if err != nil {
		return b.explain(err)
	}
	c, there, err := b.read(ctx)
	if err != nil {
		return err
	}
	if !there || !c.elements.matches(want, b.opts.Now()) {
		return baadal.Errorf(baadal.Unavailable, "the NAT box at %s does not have the table that it was just given", b.host.Address).WithCode("nat_disturbed").
			WithDetail("does somebody else change the table %s?", b.opts.Table)
	}
	b.have = &held{skeleton: skeleton, mark: mark, rules: c.rules, elements: want, routes: have, readAt: now}
	return nil
}

// Seen reads back what the box has of ours, with the counters.
func (b *Box) Seen(ctx context.Context) (baadal.NATSeen, error) {
	if err := b.take(ctx); err != nil {
		return baadal.NATSeen{}, err
	}
	defer func() { <-b.turn }()
	c, there, err := b.read(ctx)
	if err != nil || !there {
		return baadal.NATSeen{}, err
	}
	seen, err := c.seen()
	if err != nil {
		return seen, err
	}
	if b.have != nil {
		seen.Table = c.rules == b.have.rules
	}
	return seen, nil
}

// Clear takes the table of ours and its routes from the box, and nothing else.
func (b *Box) Clear(ctx context.Context) error {
	if err := b.take(ctx); err != nil {
		return err
	}
	defer func() { <-b.turn }()
	b.have = nil
	_, have, err := b.run(ctx, "look", nil)
	if err != nil {
		return b.explain(err)
	}
	text := fmt.Sprintf("table ip %s\ndelete table ip %s\n", b.opts.Table, b.opts.Table)
	if _, _, err = b.run(ctx, "replace", input([]byte(text), routes(have, nil))); err != nil {
		return b.explain(err)
	}
	return nil
}

// input is what the script reads; nil if there is nothing to do.
func input(nft, ip []byte) []byte {
	if len(nft)+len(ip) == 0 {
		return nil
	}
	return bytes.Join([][]byte{nft, []byte("# routes\n"), ip, []byte(lastLine + "\n")}, nil)
}

// listScript prints our table as JSON, and nothing if there is none.
const listScript = `set -eu; export LC_ALL=C PATH="${PATH:-/usr/bin:/bin}:/usr/sbin:/sbin"
command -v nft >/dev/null || exit 81
tables=$(nft list tables ip)
printf '%s\n' "$tables" | grep -qxF "table ip $1" || exit 0
exec nft -j list table ip "$1"`

// read lists the table, and remembers what it counted.
func (b *Box) read(ctx context.Context) (c contents, there bool, err error) {
	at := b.opts.Now()
	res, err := b.runner.Run(ctx, b.host, ssh.Command{Argv: []string{"sh", "-c", listScript, "baadal", b.opts.Table}, Timeout: callLimit, Limit: readLimit})
	if err != nil {
		return c, false, fmt.Errorf("read NAT table: %w", err)
	}
	if res.Code != 0 {
		return c, false, b.explain(scriptError{code: res.Code, words: strings.TrimSpace(string(res.Stderr))})
	}
	if len(bytes.TrimSpace(res.Stdout)) == 0 {
		return c, false, nil
	}
	if c, err = parse(res.Stdout, at); err != nil {
		return c, false, fmt.Errorf("read NAT table at %s: %w", b.host.Address, err)
	}
	b.last = c.traffic
	return c, true, nil
}

// run runs the script and returns, unless it changes, the table's mark and our
// routes.
func (b *Box) run(ctx context.Context, act string, in []byte) (string, []netip.Prefix, error) {
	cmd := ssh.Command{Argv: []string{"sh", "-c", script, "baadal", act, b.opts.Table, lastLine}, Timeout: callLimit}
	if in != nil {
		cmd.Stdin = bytes.NewReader(in)
	}
	res, err := b.runner.Run(ctx, b.host, cmd)
	if err != nil {
		return "", nil, err
	}
	if res.Code != 0 {
		return "", nil, scriptError{code: res.Code, words: strings.TrimSpace(string(res.Stderr))}
	}
	lines := strings.Fields(string(res.Stdout))
	if len(lines) == 0 {
		return "", nil, nil
	}
	var all []netip.Prefix
	for _, word := range lines[1:] {
		if !strings.Contains(word, "/") {
			word += "/32"
		}
		if p, err := netip.ParsePrefix(word); err == nil {
			all = append(all, p)
		}
	}
	return lines[0], all, nil
}
