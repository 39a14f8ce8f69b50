// Package dns keeps the names of VMs in the name server. They lie in one file of
// ours that dnsmasq reads (addn-hosts); it is rendered whole and put in place
// atomically, and the server is asked over the box's SSH connection whether it
// has read it. Nothing else on the box is changed.
//
// The package must not know where names come from, nor what a VM is.
package dns

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"path"
	"strings"
	"sync"
	"time"

	"baadal"
	"baadal/internal/ssh"
)

// Box reaches the machine that the server runs on. ssh.Pool is one.
type Box interface {
	// Run returns when the command ended; a non-zero exit code is no error.
	Run(ctx context.Context, host baadal.Host, cmd ssh.Command) (ssh.Result, error)
	// DialTCP connects to an address as the machine sees it.
	DialTCP(ctx context.Context, host baadal.Host, addr string) (net.Conn, error)
}

// Options says where things are. All but the domain have defaults.
type Options struct {
	Domain  string   // names are below it
	File    string   // ours, addn-hosts of the server; /etc/baadal-names
	Server  string   // where the server answers over TCP, seen from its box; 127.0.0.1:53
	Reload  []string // makes the server read the file anew; systemctl reload dnsmasq
	Restart []string // returns once the server runs; systemctl restart dnsmasq

	// Settle is how long the server may take to read the file before it is
	// restarted; 5 s.
	Settle time.Duration
}

// Dnsmasq is a dnsmasq on a box that is reached like a host. It is safe for
// concurrent use.
type Dnsmasq struct {
	box  Box
	host baadal.Host
	opts Options

	mu        sync.Mutex // held while names are applied, and for this
	restarted time.Time  // when it was restarted last though it ran, and that did not help
}

// NewDnsmasq returns the server on the host. Nothing is asked of it yet.
func NewDnsmasq(box Box, host baadal.Host, opts Options) *Dnsmasq {
	if opts.File == "" {
		opts.File = "/etc/baadal-names"
	}
	if opts.Server == "" {
		opts.Server = "127.0.0.1:53"
	}
	if len(opts.Reload) == 0 {
		opts.Reload = []string{"systemctl", "reload", "dnsmasq"}
	}
	if len(opts.Restart) == 0 {
		opts.Restart = []string{"systemctl", "restart", "dnsmasq"}
	}
	if opts.Settle == 0 {
		opts.Settle = 5 * time.Second
	}
	return &Dnsmasq{box: box, host: host, opts: opts}
}

//go:embed files/apply.sh
var applyScript string

// The scripts that only read: the file's sum, and the file; nothing if there is none.
const (
	sumScript  = `set -eu; [ -e "$1" ] || exit 0; exec sha256sum <"$1"`
	readScript = `set -eu; [ -e "$1" ] || exit 0; exec cat -- "$1"`
)

const (
	lookLimit    = 20 * time.Second
	applyLimit   = time.Minute
	commandLimit = time.Minute
	askLimit     = 5 * time.Second
	restartPause = 10 * time.Minute
	fileLimit    = 64 << 20 // bytes of our file that are read back
)

// Apply makes the server answer with exactly these names, and returns once it
// does. The same again changes nothing and costs a look. A server that does not
// answer with what its file says is restarted; one that runs, and did not answer
// so after that either, is left alone for a while: it serves others, too.
func (d *Dnsmasq) Apply(ctx context.Context, records []baadal.NameRecord) error {
	f, err := render(records, d.opts.Domain)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	res, err := d.run(ctx, lookLimit, nil, "sh", "-c", sumScript, "baadal", d.opts.File)
	if err != nil {
		return fmt.Errorf("look at names: %w", err)
	}
	if sum, _, _ := strings.Cut(string(res.Stdout), " "); sum != f.sum {
		if _, err := d.run(ctx, applyLimit, f.text, "sh", "-c", applyScript, "baadal", d.opts.File, lastLine); err != nil {
			return fmt.Errorf("apply names: %w", err)
		}
	} else if d.answers(ctx, f.own) == nil {
		return nil
	}
	_, reload := d.run(ctx, commandLimit, nil, d.opts.Reload...)
	lived := false
	if reload == nil {
		err := d.settles(ctx, f.own)
		if lived = lives(err); err == nil || lived && time.Since(d.restarted) < restartPause {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if _, err := d.run(ctx, commandLimit, nil, d.opts.Restart...); err != nil {
		return fmt.Errorf("restart the name server: %w", err)
	}
	err = d.settles(ctx, f.own)
	if d.restarted = (time.Time{}); err != nil && lived {
		d.restarted = time.Now()
	}
	return err
}

// NameRecords reads back what the file on the box holds; it is Unavailable if the
// server does not answer with what is in it.
func (d *Dnsmasq) NameRecords(ctx context.Context) ([]baadal.NameRecord, error) {
	res, err := d.run(ctx, lookLimit, nil, "sh", "-c", readScript, "baadal", d.opts.File)
	if err != nil {
		return nil, fmt.Errorf("read names: %w", err)
	}
	records, err := Parse(res.Stdout, d.opts.Domain)
	if err != nil {
		return nil, fmt.Errorf("read %s on %s: %w", d.opts.File, d.host.Name, err)
	}
	if own := ownName(res.Stdout); own != "" {
		err = d.answers(ctx, own)
	}
	return records, err
}

// settles waits until it answers so.
func (d *Dnsmasq) settles(ctx context.Context, own string) error {
	end := time.Now().Add(d.opts.Settle)
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		err := d.answers(ctx, own)
		if err == nil || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// answers is nil if the server has read the file that has this name of its own;
// the error has no cause if it answered something else.
func (d *Dnsmasq) answers(ctx context.Context, own string) error {
	ctx, stop := context.WithTimeout(ctx, askLimit)
	defer stop()
	conn, err := d.box.DialTCP(ctx, d.host, d.opts.Server)
	if err == nil {
		var knows bool
		if knows, err = ask(ctx, conn, own, witness); knows {
			return nil
		}
	}
	e := baadal.Errorf(baadal.Unavailable, "the name server at %s does not answer with the names that it was given", d.where()).WithCode("dns_not_answering")
	if err != nil {
		e.Err, e.Detail = err, baadal.Message(err)
	}
	return e.WithNext("dnsmasq on "+d.where()+" needs this line, and must answer at "+d.opts.Server, "addn-hosts="+d.opts.File)
}

// lives reports whether a server that answers tells of runs: it said something
// else, or sshd, which may be told not to, does not lead to it.
func lives(err error) bool {
	e, ok := errors.AsType[*baadal.Error](err)
	return ok && (e.Err == nil || baadal.CodeOf(e.Err) == "socket_refused")
}

func (d *Dnsmasq) where() string {
	if d.host.Address != "" {
		return d.host.Address
	}
	return d.host.Name
}

// run runs a command that must end well.
func (d *Dnsmasq) run(ctx context.Context, limit time.Duration, stdin []byte, argv ...string) (ssh.Result, error) {
	cmd := ssh.Command{Argv: argv, Timeout: limit, Limit: fileLimit}
	if stdin != nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	res, err := d.box.Run(ctx, d.host, cmd)
	if err != nil || res.Code == 0 {
		return res, err
	}
	return res, d.explain(res)
}

// The exit codes of apply.sh.
const (
	codeBusy     = 80
	codeNoFolder = 81
	codeCutOff   = 87
)

func (d *Dnsmasq) explain(res ssh.Result) error {
	words := strings.TrimSpace(string(res.Stderr))
	e := baadal.Errorf(baadal.Conflict, "the names could not be written at %s", d.where()).WithCode("dns_refused").WithDetail("%s", words)
	e.Err = fmt.Errorf("command on %s ended with code %d: %s", d.where(), res.Code, words)
	switch {
	case res.Code == codeBusy, res.Code == codeCutOff:
		e.Kind, e.Code = baadal.Unavailable, "dns_busy"
	case res.Code == codeNoFolder:
		e.Code = "dns_no_folder"
		e.WithNext("Make it on "+d.where(), "mkdir -p "+path.Dir(d.opts.File))
	case strings.Contains(words, "No space left on device"), strings.Contains(words, "Disk quota exceeded"):
		e.Kind, e.Code, e.Title = baadal.Exhausted, "dns_box_full", "no space is left in "+path.Dir(d.opts.File)+" at the name server "+d.where()+", which goes on with the old names"
		e.WithNext("Make room on "+d.where(), "df -h "+path.Dir(d.opts.File))
	}
	return e
}
