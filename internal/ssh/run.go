package ssh

import (
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
	x := newExecution(c, cmd)
	defer x.seal()
	done := make(chan error, 1)
	go func() {
		defer func() { <-c.sessions }()
		done <- x.run(line)
	}()
	select {
	case err = <-done:
		return x.result(ctx, err)
	case <-c.done:
		return Result{}, c.lost()
	case <-ctx.Done():
		x.terminate(done)
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
	conn   *conn
	cmd    Command
	stdout *sink
	stderr *sink
	leader chan string // receives the id of the program's process group

	mu     sync.Mutex
	own    *ssh.Session // nil until it runs
	broken error        // what made us kill it: input, output or limit
}

func newExecution(c *conn, cmd Command) *execution {
	x := &execution{conn: c, cmd: cmd, leader: make(chan string, 1)}
	limit := cmd.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	x.stdout = &sink{to: cmd.Stdout, limit: limit, full: x.spoil}
	x.stderr = &sink{limit: stderrLimit, to: &leaderWriter{found: x.leader}, keep: true}
	return x
}

// run opens a session, runs the command and waits for its end.
func (x *execution) run(line string) error {
	s, err := x.session()
	if err != nil {
		return fmt.Errorf("open session: %w", err)
	}
	defer func() { _ = s.Close() }()
	s.Stdout, s.Stderr = x.stdout, x.stderr
	var stdin io.WriteCloser
	if x.cmd.Stdin != nil {
		if stdin, err = s.StdinPipe(); err != nil {
			return fmt.Errorf("open stdin: %w", err)
		}
	}
	if err := s.Start(leaderPrefix + "exec " + line); err != nil {
		return fmt.Errorf("start %s: %w", x.cmd.Argv[0], err)
	}
	x.mu.Lock()
	x.own = s
	x.mu.Unlock()
	if stdin != nil {
		go x.feed(stdin)
	}
	return s.Wait()
}

// session opens a session. sshd counts one that has ended until it has reaped
// the child, so a busy host may refuse one more for a moment.
func (x *execution) session() (*ssh.Session, error) {
	for wait := 10 * time.Millisecond; ; wait *= 2 {
		s, err := x.conn.client.NewSession()
		refused, ok := errors.AsType[*ssh.OpenChannelError](err)
		if !ok || refused.Reason == ssh.Prohibited || wait > 2*time.Second {
			return s, err
		}
		select {
		case <-x.conn.done:
			return nil, err
		case <-time.After(wait):
		}
	}
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

// spoil kills the program because its input or output cannot be had. Its input
// stays open until it is dead.
func (x *execution) spoil(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.broken == nil {
		x.broken = err
		go x.kill("KILL")
	}
}

// terminate asks the program to end, then kills it, and returns when it ended,
// the connection is lost or it will not end.
func (x *execution) terminate(done <-chan error) {
	for _, sig := range []string{"TERM", "KILL"} {
		go x.kill(sig)
		select {
		case <-done: //nolint:errcheck // that it ended is enough
			return
		case <-x.conn.done:
			return
		case <-time.After(killGrace):
		}
	}
}

// kill sends a signal to the program's process group, by a session of its own:
// sshd refuses the protocol's signal request for root ("requires privilege
// separation"), and closing a session leaves its program running.
func (x *execution) kill(sig string) {
	var leader string
	select {
	case leader = <-x.leader:
		x.leader <- leader
	case <-x.conn.done:
		return
	case <-time.After(x.conn.opts.CallTimeout):
		return
	}
	select {
	case x.conn.kills <- struct{}{}:
		defer func() { <-x.conn.kills }()
	case <-x.conn.done:
		return
	}
	s, err := x.conn.client.NewSession()
	if err != nil {
		return
	}
	defer func() { _ = s.Close() }()
	_ = s.Run("kill -s " + sig + " -- -" + leader)
	x.mu.Lock()
	own := x.own
	x.mu.Unlock()
	if sig == "KILL" && own != nil {
		_ = own.Close() // sshd would wait until somebody takes the rest of the output
	}
}

// result turns the session's end into what Run returns.
func (x *execution) result(ctx context.Context, err error) (Result, error) {
	x.mu.Lock()
	broken := x.broken
	x.mu.Unlock()
	if broken != nil {
		return Result{}, fmt.Errorf("run %s on %s: %w", x.cmd.Argv[0], x.conn.host, broken)
	}
	res := Result{Stdout: x.stdout.bytes(), Stderr: withoutLeader(x.stderr.bytes())}
	if exit, ok := errors.AsType[*ssh.ExitError](err); ok {
		res.Code = exit.ExitStatus()
		return res, nil
	}
	if err != nil {
		return Result{}, x.conn.explain(ctx, err)
	}
	return res, nil
}

// seal lets nothing more reach the caller's writer.
func (x *execution) seal() {
	x.stdout.seal()
	x.stderr.seal()
}
