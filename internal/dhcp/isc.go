// Package dhcp keeps the reservations of the DHCP server that gives VMs their
// addresses. They live in one file of ours that the server's configuration
// includes; it is rendered whole, checked by the server's own parser, and put in
// place atomically. Nothing else on the DHCP box is changed.
//
// The package must not know where reservations come from, nor what a VM is.
package dhcp

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"strings"
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

// Options says where things are on the DHCP box. Empty ones get the defaults.
type Options struct {
	File       string   // ours; /etc/dhcp/baadal.conf
	MainConfig string   // includes File; /etc/dhcp/dhcpd.conf
	Restart    []string // returns once the server runs; systemctl restart isc-dhcp-server

	// Status ends with 0 if the server runs. It is systemctl is-active --quiet
	// isc-dhcp-server if Restart is empty, too; else none: then a server that
	// stopped by itself is not noticed.
	Status []string
}

// ISC is an ISC dhcpd on a box that is reached like a host. It is safe for
// concurrent use.
type ISC struct {
	runner Runner
	host   baadal.Host
	opts   Options

	turn chan struct{} // holds an element while an Apply works on the box

	mu      sync.Mutex
	asked   uint64 // number of the youngest Apply
	wanted  []byte // what it wants
	applied uint64 // every Apply up to this one has its answer in result
	result  error
}

// NewISC returns the server on the host. Nothing is asked of it yet.
func NewISC(runner Runner, host baadal.Host, opts Options) *ISC {
	if opts.File == "" {
		opts.File = "/etc/dhcp/baadal.conf"
	}
	if opts.MainConfig == "" {
		opts.MainConfig = "/etc/dhcp/dhcpd.conf"
	}
	if len(opts.Restart) == 0 {
		opts.Restart = []string{"systemctl", "restart", "isc-dhcp-server"}
		if len(opts.Status) == 0 {
			opts.Status = []string{"systemctl", "is-active", "--quiet", "isc-dhcp-server"}
		}
	}
	return &ISC{runner: runner, host: host, opts: opts, turn: make(chan struct{}, 1)}
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
func (s *ISC) Apply(ctx context.Context, rs []baadal.Reservation) error {
	text, err := render(rs)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.asked++
	mine := s.asked
	s.wanted = text
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
	number, text := s.asked, s.wanted
	s.mu.Unlock()

	err = s.apply(ctx, text)
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
func (s *ISC) apply(ctx context.Context, text []byte) error {
	argv := []string{"sh", "-c", applyScript, "baadal", s.opts.File, lastLine, s.opts.MainConfig, strconv.Itoa(len(s.opts.Restart))}
	argv = append(append(argv, s.opts.Restart...), s.opts.Status...)
	res, err := s.runner.Run(ctx, s.host, ssh.Command{Argv: argv, Stdin: bytes.NewReader(text), Timeout: applyLimit})
	if err != nil {
		return fmt.Errorf("apply reservations: %w", err)
	}
	if res.Code != 0 {
		return fmt.Errorf("apply reservations: %w", s.explain(res))
	}
	return nil
}

// Reservations reads back what the file on the box holds, in the file's order.
// None yet is no error. What somebody wrote into it by hand is read, too, if it
// is a reservation; anything else is an error.
func (s *ISC) Reservations(ctx context.Context) ([]baadal.Reservation, error) {
	res, err := s.runner.Run(ctx, s.host, ssh.Command{
		Argv: []string{"sh", "-c", readScript, "baadal", s.opts.File}, Timeout: readLimit, Limit: fileLimit,
	})
	if err != nil {
		return nil, fmt.Errorf("read reservations: %w", err)
	}
	if res.Code != 0 {
		return nil, fmt.Errorf("read reservations: %w", s.explain(res))
	}
	rs, err := Parse(res.Stdout)
	if err != nil {
		return nil, fmt.Errorf("read %s on %s: %w", s.opts.File, s.host.Name, err)
	}
	return rs, nil
}

// The exit codes of apply.sh.
const (
	codeBusy          = 80
	codeNoMain        = 81
	codeNoInclude     = 82
	codeMainBroken    = 83
	codeRefused       = 84
	codeRestartFailed = 85
	codeDown          = 86
	codeCutOff        = 87
	codeNoServer      = 88
)

// explain turns a failure of the script into an error with a kind. Only what
// passes by itself is Unavailable.
func (s *ISC) explain(res ssh.Result) error {
	words := strings.TrimSpace(string(res.Stderr))
	box := s.host.Name
	if s.host.Address != "" {
		box = s.host.Address
	}
	e := &baadal.Error{
		Kind: baadal.Conflict, Detail: serverWords(words),
		Err: fmt.Errorf("script on %s ended with code %d: %s", box, res.Code, words),
	}
	switch res.Code {
	case codeBusy, codeCutOff:
		e.Kind, e.Code, e.Title = baadal.Unavailable, "dhcp_busy", "the reservations could not be written at "+box
	case codeNoMain:
		e.Code, e.Title = "dhcp_no_config", "the configuration of the DHCP server at "+box+" is missing"
	case codeNoServer:
		e.Code, e.Title = "dhcp_no_server", "there is no ISC dhcpd at "+box
		e.WithNext("Install it on "+box, "apt-get install isc-dhcp-server")
	case codeNoInclude:
		e.Code, e.Title = "dhcp_no_include", "the DHCP server at "+box+" does not read our reservations"
		e.WithNext("Append this line to "+s.opts.MainConfig+" on "+box, fmt.Sprintf("include %q;", s.opts.File))
	case codeMainBroken:
		e.Code, e.Title = "dhcp_config_broken", "the DHCP server's own configuration at "+box+" has a mistake; our reservations were not changed"
		e.WithNext("Mend it on "+box+" and look", "dhcpd -t -cf "+s.opts.MainConfig)
	case codeRefused:
		e.Code, e.Title = "dhcp_refused", "the DHCP server at "+box+" refuses the reservations; it goes on with the old ones"
	case codeRestartFailed:
		e.Code, e.Title = "dhcp_restart_failed", "the DHCP server at "+box+" did not start with the new reservations; it runs with the old ones"
	case codeDown:
		e.Kind, e.Code, e.Title = baadal.Unavailable, "dhcp_down", "the DHCP server at "+box+" does not start"
		e.WithNext("See why on "+box, "journalctl -u isc-dhcp-server -n 50")
	default:
		if strings.Contains(words, "No space left on device") {
			e.Kind, e.Code, e.Title = baadal.Exhausted, "dhcp_box_full", "no space is left on the DHCP server at "+box
			return e
		}
		return e.Err
	}
	return e
}

// serverWords leaves out what dhcpd says about itself every time.
func serverWords(words string) string {
	var keep []string
	for line := range strings.Lines(words) {
		line = strings.TrimSpace(line)
		switch {
		case line == "", strings.HasPrefix(line, "Internet Systems Consortium"), strings.HasPrefix(line, "Copyright"),
			strings.HasPrefix(line, "All rights reserved"), strings.HasPrefix(line, "For info, please visit"):
		case strings.HasPrefix(line, "If you think you have received"):
			return strings.Join(keep, "; ")
		default:
			keep = append(keep, line)
		}
	}
	return strings.Join(keep[max(0, len(keep)-6):], "; ")
}
