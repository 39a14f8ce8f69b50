package dhcp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"time"

	"baadal"
	"baadal/internal/ssh"
)

// Local runs commands on this machine, whatever host is named: for a DHCP server
// beside the controller.
type Local struct{}

// Run is as Runner says. When ctx ends or the command's time is up, the command
// and all of its process group are killed.
func (Local) Run(ctx context.Context, _ baadal.Host, c ssh.Command) (ssh.Result, error) {
	if c.Timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, c.Timeout)
		defer stop()
	}
	var errs bytes.Buffer
	out := &bounded{limit: c.Limit}
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, out, &errs
	if c.Stdout != nil {
		cmd.Stdout = c.Stdout
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	exit := new(exec.ExitError)
	switch {
	case ctx.Err() != nil:
		return ssh.Result{}, &baadal.Error{Kind: baadal.Unavailable, Title: c.Argv[0] + " was ended before its time on this machine", Err: context.Cause(ctx)}
	case errors.As(err, &exit):
		code := exit.ExitCode()
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			code = 128 + int(status.Signal())
		}
		return ssh.Result{Stdout: out.Bytes(), Stderr: errs.Bytes(), Code: code}, nil
	case err != nil:
		return ssh.Result{}, fmt.Errorf("run %s: %w", c.Argv[0], err)
	}
	return ssh.Result{Stdout: out.Bytes(), Stderr: errs.Bytes()}, nil
}

// bounded collects so many bytes; more is an error. 0 is 1 MiB.
type bounded struct {
	bytes.Buffer
	limit int
}

func (b *bounded) Write(p []byte) (int, error) {
	limit := b.limit
	if limit <= 0 {
		limit = 1 << 20
	}
	if b.Len()+len(p) > limit {
		return 0, fmt.Errorf("more than %d bytes of output", limit)
	}
	return b.Buffer.Write(p)
}
