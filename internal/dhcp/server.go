// Package dhcp keeps the reservations of the DHCP server that gives VMs their
// addresses: ISC dhcpd or Kea. They live in one file of ours that the server's
// configuration includes; it is rendered whole, checked by the server's own
// parser, and put in place atomically. Nothing else on the DHCP box is changed.
//
// The package must not know where reservations come from, nor what a VM is.
package dhcp

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"baadal"
	"baadal/internal/ssh"
)

// Runner runs commands on hosts. ssh.Pool is one.
type Runner interface {
	// Run returns when the command ended; a non-zero exit code is no error.
	Run(ctx context.Context, host baadal.Host, cmd ssh.Command) (ssh.Result, error)
}

// Options says where things are on the DHCP box. Empty ones get the defaults,
// those of ISC dhcpd or those of Kea.
type Options struct {
	File       string // ours; /etc/dhcp/baadal.conf, /etc/kea/baadal.json
	MainConfig string // includes File; /etc/dhcp/dhcpd.conf, /etc/kea/kea-dhcp4.conf

	// Restart returns once the server runs; systemctl restart isc-dhcp-server or
	// kea-dhcp4-server. Kea is restarted only when it does not answer.
	Restart []string

	// Status ends with 0 if ISC dhcpd runs. If Restart is empty, too, systemd is
	// asked whether the unit has a process: Debian's is made of an init script and
	// active without one. Else it is none: then a server that stopped by itself is
	// not noticed. Kea is asked on its socket instead.
	Status []string

	Socket string // Kea's control socket; /run/kea/kea4-ctrl-socket
}

// product is what differs between the servers.
type product struct {
	name, pack string // for people; the Debian package
	unit       string // of systemd
	script     string // what apply.sh calls
	look       string // shows mistakes in the main configuration
	render     func([]reservation) []byte
	parse      func(text []byte) ([]baadal.Reservation, error)
	include    func(file string) string // what the main configuration must have
	words      func(said string) string // leaves out what the server says every time

	// after, if any, is given what the script printed when it had succeeded.
	after func(ctx context.Context, s *Server, rs []reservation, printed []byte) error

	// still, if any, is given that, and what a look printed since: whether there is
	// nothing for after to do.
	still func(before, now []byte) bool
}

// Server is a DHCP server on a box that is reached like a host, or on this
// machine. It is safe for concurrent use.
type Server struct {
	product
	runner Runner
	host   baadal.Host
	opts   Options

	turn chan struct{} // holds an element while an Apply works on the box, and for these
	held string        // SHA-256 of the file that it was last brought in line with; empty: nobody knows
	said []byte        // what it printed then

	mu      sync.Mutex
	asked   uint64 // number of the youngest Apply
	wanted  []reservation
	applied uint64 // every Apply up to this one has its answer in result
	result  error
}

func newServer(p product, runner Runner, host baadal.Host, opts Options) *Server {
	return &Server{product: p, runner: runner, host: host, opts: opts, turn: make(chan struct{}, 1)}
}

// The scripts, each for after that of the product and boxScript.
var (
	//go:embed files/box.sh
	boxScript string
	//go:embed files/apply.sh
	applyScript string
	//go:embed files/look.sh
	lookScript string
	//go:embed files/read.sh
	readScript string
)

// seeAll lets a look print what loaded prints.
const seeAll = "seen() { loaded; }\n"

const (
	applyLimit = 5 * time.Minute
	readLimit  = time.Minute
	fileLimit  = 64 << 20 // bytes of our file that are read back; about 700,000 reservations
)

// Apply makes the server hold exactly these reservations. It checks them first:
// names, MAC addresses and IP addresses that are unusable or there twice are
// Invalid. The same again changes nothing and does not restart the server,
// unless it is known not to run; where it is so already it costs a look.
//
// Calls at the same time are put in a row, and those that wait are answered
// together by one change with the youngest one's reservations: a caller that
// read the store later must call later. When the server refuses, what it had
// before is put back.
func (s *Server) Apply(ctx context.Context, rs []baadal.Reservation) error {
	list, err := check(rs)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.asked++
	mine := s.asked
	s.wanted = list
	s.mu.Unlock()

	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return fmt.Errorf("wait for the DHCP server: %w", context.Cause(ctx))
	}
	s.mu.Lock()
	if s.applied >= mine {
		defer s.mu.Unlock()
		return s.result
	}
	number, list := s.asked, s.wanted
	s.mu.Unlock()

	err = s.apply(ctx, list)
	if ctx.Err() != nil {
		// Our own end is no answer for the others: one of them tries itself.
		return err
	}
	s.mu.Lock()
	s.applied, s.result = number, err
	s.mu.Unlock()
	return err
}

// apply sends the file, unless a look may say that it is there.
func (s *Server) apply(ctx context.Context, rs []reservation) error {
	text := s.render(rs)
	sum := fmt.Sprintf("%x", sha256.Sum256(text))
	if s.held == "" || s.held == sum {
		if done, err := s.holds(ctx, rs, sum); err != nil || done {
			return err
		}
	}
	s.held = ""
	res, err := s.run(ctx, applyLimit, bytes.NewReader(text), applyScript, lastLine)
	if err == nil {
		err = s.settle(ctx, rs, sum, res.Stdout)
	}
	if err != nil {
		return fmt.Errorf("apply reservations: %w", err)
	}
	return nil
}

// holds reports whether the server has this file; then it does what else there is
// to do.
func (s *Server) holds(ctx context.Context, rs []reservation, sum string) (bool, error) {
	look := func(script string) ([]byte, bool, error) {
		res, err := s.run(ctx, applyLimit, nil, script, sum)
		if err != nil {
			return nil, false, fmt.Errorf("look at reservations: %w", err)
		}
		said, same := bytes.CutPrefix(res.Stdout, []byte("same\n"))
		return said, same, nil
	}
	said, same, err := look(lookScript)
	if err != nil || !same {
		return false, err
	}
	if s.after == nil || s.held == sum && s.still(s.said, said) {
		s.held = sum
		return true, nil
	}
	if said, same, err = look(seeAll + lookScript); err != nil || !same {
		return false, err
	}
	return true, s.settle(ctx, rs, sum, said)
}

// settle does what is left when the server has its file, and remembers it.
func (s *Server) settle(ctx context.Context, rs []reservation, sum string, said []byte) error {
	if s.after != nil {
		if err := s.after(ctx, s, rs, said); err != nil {
			return err
		}
	}
	s.held, s.said = sum, said
	return nil
}

// run runs a script on the box, with what it is given.
func (s *Server) run(ctx context.Context, limit time.Duration, stdin io.Reader, script, given string) (ssh.Result, error) {
	argv := []string{"sh", "-c", s.script + boxScript + script, "baadal", given, s.opts.File, s.opts.MainConfig, s.opts.Socket, strconv.Itoa(len(s.opts.Restart))}
	argv = append(append(argv, s.opts.Restart...), s.opts.Status...)
	res, err := s.runner.Run(ctx, s.host, ssh.Command{Argv: argv, Stdin: stdin, Timeout: limit, Limit: fileLimit})
	if err == nil && res.Code != 0 {
		err = s.explain(res)
	}
	return res, err
}

// Reservations reads back what the file on the box holds, in the file's order.
// None yet is no error. What somebody wrote into it by hand is read, too, if it
// is a reservation; anything else is Conflict (code dhcp_file_changed), and gone
// with the next Apply. A server that does not run, and gives out nothing of it,
// is Unavailable (code dhcp_down).
func (s *Server) Reservations(ctx context.Context) ([]baadal.Reservation, error) {
	res, err := s.run(ctx, readLimit, nil, readScript, "")
	if err != nil {
		return nil, fmt.Errorf("read reservations: %w", err)
	}
	rs, err := s.parse(res.Stdout)
	if err != nil {
		return nil, (&baadal.Error{
			Kind: baadal.Conflict, Code: "dhcp_file_changed", Err: err, Detail: err.Error(),
			Title: fmt.Sprintf("%s at %s was changed by hand into something else than reservations", s.opts.File, s.box()),
		}).WithNext("Write it anew", "baadal audit --repair")
	}
	return rs, nil
}
