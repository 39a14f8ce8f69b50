package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"baadal"
)

// Command is a program to run on a host.
type Command struct {
	Argv []string // the program and its arguments; quoted for the remote shell by Quote

	// Stdin is sent to the program; none if nil. If reading it fails the program
	// is killed, so that it never takes half an input for the whole. It may be
	// read once more after Run returned, when the program ended early.
	Stdin io.Reader

	// Stdout receives the output as it comes; if nil it is collected in the
	// Result. If writing to it fails the program is killed.
	Stdout io.Writer

	Limit   int           // most bytes of collected output; more is an error. 0 is 1 MiB
	Timeout time.Duration // 0: the context's deadline, or the pool's CallTimeout; negative: none but the context's
}

// Result is how a program ended.
type Result struct {
	Stdout []byte // empty if Command.Stdout was set
	Stderr []byte // at most its first 64 KiB
	Code   int    // exit code; 128+n if signal n killed it
}

const (
	defaultLimit = 1 << 20
	stderrLimit  = 64 << 10

	// killGrace is how long a program may take to end after SIGTERM, and again
	// after SIGKILL, before Run returns without having seen its end.
	killGrace = 500 * time.Millisecond
)

// Run runs a command on the host and waits for its end. A non-zero exit code is
// no error. When ctx ends first the program and its process group are
// terminated (then killed); on a silent host that cannot be, and what the
// program did is unknown. At most MaxSessions commands run at once on a host;
// further ones wait.
func (p *Pool) Run(ctx context.Context, host baadal.Host, cmd Command) (Result, error) {
	line, err := Quote(cmd.Argv)
	if err != nil {
		return Result{}, err
	}
	ctx, cancel := p.callContext(ctx, cmd.Timeout)
	defer cancel()
	c, err := p.conn(ctx, host)
	if err != nil {
		return Result{}, err
	}
	select {
	case c.sessions <- struct{}{}:
	case <-c.done:
		return Result{}, c.lost()
	case <-ctx.Done():
		return Result{}, interrupted(ctx, c.host, context.Cause(ctx))
	}
	x := newExecution(cmd)
	defer x.seal()
	done := make(chan error, 1)
	go func() {
		defer func() { <-c.sessions }()
		done <- x.run(c.client, line)
	}()
	select {
	case err = <-done:
		return x.result(ctx, c, err)
	case <-c.done:
		return Result{}, c.lost()
	case <-ctx.Done():
		x.terminate(done, c.done)
		return Result{}, c.explain(ctx, context.Cause(ctx))
	}
}

// RunOK is Run for commands that must succeed: a non-zero exit code becomes an
// error of kind Internal with code "command_failed" and the program's words.
func (p *Pool) RunOK(ctx context.Context, host baadal.Host, cmd Command) (Result, error) {
	res, err := p.Run(ctx, host, cmd)
	if err == nil && res.Code != 0 {
		err = &baadal.Error{
			Kind: baadal.Internal, Code: "command_failed",
			Title:  fmt.Sprintf("%s on %s ended with code %d", cmd.Argv[0], host.Name, res.Code),
			Detail: strings.TrimSpace(string(res.Stderr[:min(len(res.Stderr), 500)])),
		}
	}
	return res, err
}

// execution is one run of a command.
type execution struct {
	cmd    Command
	stdout *sink
	stderr *sink

	mu      sync.Mutex
	session *ssh.Session
	killed  bool
	broken  error // what made us kill it: input, output or limit
}

func newExecution(cmd Command) *execution {
	x := &execution{cmd: cmd}
	limit := cmd.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	x.stdout = &sink{to: cmd.Stdout, limit: limit, full: x.spoil}
	x.stderr = &sink{limit: stderrLimit}
	return x
}

// run opens a session, runs the command and waits for its end.
func (x *execution) run(client *ssh.Client, line string) error {
	s, err := client.NewSession()
	if err != nil {
		return fmt.Errorf("open session: %w", err)
	}
	defer s.Close()
	s.Stdout, s.Stderr = x.stdout, x.stderr
	var stdin io.WriteCloser
	if x.cmd.Stdin != nil {
		if stdin, err = s.StdinPipe(); err != nil {
			return fmt.Errorf("open stdin: %w", err)
		}
	}
	x.mu.Lock()
	if x.killed {
		x.mu.Unlock()
		return context.Canceled
	}
	x.session = s
	x.mu.Unlock()
	if err := s.Start(line); err != nil {
		return fmt.Errorf("start %s: %w", x.cmd.Argv[0], err)
	}
	if stdin != nil {
		go x.feed(stdin)
	}
	return s.Wait()
}

// feed copies Stdin. A program may end without having read all of it, so only
// a failure of the reader counts.
func (x *execution) feed(stdin io.WriteCloser) {
	in := &input{from: x.cmd.Stdin}
	_, _ = io.Copy(stdin, in)
	if in.err != nil {
		x.spoil(fmt.Errorf("read input: %w", in.err))
		return
	}
	_ = stdin.Close()
}

// input remembers why reading failed, which io.Copy does not tell apart from a
// failure to write.
type input struct {
	from io.Reader
	err  error
}

func (r *input) Read(b []byte) (int, error) {
	n, err := r.from.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// spoil kills the program because its input or output cannot be had.
func (x *execution) spoil(err error) {
	x.mu.Lock()
	if x.broken == nil {
		x.broken = err
	}
	x.mu.Unlock()
	x.signal(ssh.SIGKILL)
}

func (x *execution) signal(sig ssh.Signal) {
	x.mu.Lock()
	x.killed = true
	s := x.session
	x.mu.Unlock()
	if s == nil {
		return
	}
	// Sending can block on a silent host; the connection's end frees it.
	go func() {
		_ = s.Signal(sig)
		if sig == ssh.SIGKILL {
			_ = s.Close()
		}
	}()
}

// terminate asks the program to end, then kills it, and returns when it ended,
// the connection is lost or it will not end.
func (x *execution) terminate(done <-chan error, lost <-chan struct{}) {
	for _, sig := range []ssh.Signal{ssh.SIGTERM, ssh.SIGKILL} {
		x.signal(sig)
		select {
		case <-done:
			return
		case <-lost:
			return
		case <-time.After(killGrace):
		}
	}
}

// result turns the session's end into what Run returns.
func (x *execution) result(ctx context.Context, c *conn, err error) (Result, error) {
	x.mu.Lock()
	broken := x.broken
	x.mu.Unlock()
	if broken != nil {
		return Result{}, fmt.Errorf("run %s on %s: %w", x.cmd.Argv[0], c.host, broken)
	}
	res := Result{Stdout: x.stdout.bytes(), Stderr: x.stderr.bytes()}
	if exit, ok := errors.AsType[*ssh.ExitError](err); ok {
		res.Code = exit.ExitStatus()
		return res, nil
	}
	if err != nil {
		return Result{}, c.explain(ctx, err)
	}
	return res, nil
}

// seal lets nothing more reach the caller's writer.
func (x *execution) seal() {
	x.stdout.seal()
	x.stderr.seal()
}

var errSealed = errors.New("the call is over")

// sink takes a stream of output: passes it on, or collects it up to a limit.
type sink struct {
	to    io.Writer
	limit int
	full  func(error) // called when the output cannot be taken; if nil, the rest is dropped

	mu     sync.Mutex
	sealed bool
	buf    bytes.Buffer
}

func (s *sink) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sealed {
		return 0, errSealed
	}
	if s.to != nil {
		n, err := s.to.Write(b)
		if err != nil {
			s.full(fmt.Errorf("write output: %w", err))
		}
		return n, err
	}
	room := s.limit - s.buf.Len()
	s.buf.Write(b[:min(room, len(b))])
	if room < len(b) && s.full != nil {
		err := fmt.Errorf("output is longer than %d bytes", s.limit)
		s.full(err)
		return room, err
	}
	return len(b), nil
}

func (s *sink) seal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sealed = true
}

func (s *sink) bytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.buf.Bytes())
}
