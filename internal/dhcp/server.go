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
	_ "embed"
	"fmt"
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

	// Status ends with 0 if ISC dhcpd runs. It is systemctl is-active --quiet
	// isc-dhcp-server if Restart is empty, too; else none: then a server that
	// stopped by itself is not noticed. Kea is asked on its socket instead.
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
}

// Server is a DHCP server on a box that is reached like a host, or on this
// machine. It is safe for concurrent use.
type Server struct {
	product
	runner Runner
	host   baadal.Host
	opts   Options

	turn chan struct{} // holds an element while an Apply works on the box

	mu      sync.Mutex
	asked   uint64 // number of the youngest Apply
	wanted  []reservation
	applied uint64 // every Apply up to this one has its answer in result
	result  error
}

func newServer(p product, runner Runner, host baadal.Host, opts Options) *Server {
	return &Server{product: p, runner: runner, host: host, opts: opts, turn: make(chan struct{}, 1)}
}

//go:embed files/apply.sh
var applyScript string

// readScript prints the file, and nothing if there is none.
const readScript = `set -eu; [ -e "$1" ] || exit 0; exec cat -- "$1"`

const (
	applyLimit = 5 * time.Minute
	readLimit  = time.Minute
	fileLimit  = 64 << 20 // bytes of our file that are read back; about 700,000 reservations
)

// Apply makes the server hold exactly these reservations. It checks them first:
// names, MAC addresses and IP addresses that are unusable or there twice are
// Invalid. The same again changes nothing and does not restart the server,
// unless it is known not to run.
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

// apply sends the file.
func (s *Server) apply(ctx context.Context, rs []reservation) error {
	argv := []string{"sh", "-c", s.script + applyScript, "baadal", s.opts.File, lastLine, s.opts.MainConfig, s.opts.Socket, strconv.Itoa(len(s.opts.Restart))}
	argv = append(append(argv, s.opts.Restart...), s.opts.Status...)
	res, err := s.runner.Run(ctx, s.host, ssh.Command{
		Argv: argv, Stdin: bytes.NewReader(s.render(rs)), Timeout: applyLimit, Limit: fileLimit,
	})
	if err != nil {
		return fmt.Errorf("apply reservations: %w", err)
	}
	if res.Code != 0 {
		return fmt.Errorf("apply reservations: %w", s.explain(res))
	}
	if s.after == nil {
		return nil
	}
	return s.after(ctx, s, rs, res.Stdout)
}

// Reservations reads back what the file on the box holds, in the file's order.
// None yet is no error. What somebody wrote into it by hand is read, too, if it
// is a reservation; anything else is Conflict (code dhcp_file_changed), and gone
// with the next Apply.
func (s *Server) Reservations(ctx context.Context) ([]baadal.Reservation, error) {
	res, err := s.runner.Run(ctx, s.host, ssh.Command{
		Argv: []string{"sh", "-c", readScript, "baadal", s.opts.File}, Timeout: readLimit, Limit: fileLimit,
	})
	if err != nil {
		return nil, fmt.Errorf("read reservations: %w", err)
	}
	if res.Code != 0 {
		return nil, fmt.Errorf("read reservations: %w", s.explain(res))
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
