package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// nodePath is the PATH in a node.
const nodePath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// ExecOptions says how a command runs in a node.
type ExecOptions struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Env            []string // KEY=VALUE, added to a clean environment; with NetOnly to the caller's own

	// NetOnly enters nothing but the node's network: processes, files and mounts are the machine's. The command is
	// still the lab's: Down ends it.
	NetOnly bool

	// Listener is handed to the command as systemd does: descriptor 3, LISTEN_FDS=1, LISTEN_PID. It belongs to the
	// network in which it was opened, so a server in the lab can be reached from the machine.
	Listener *os.File

	// Terminate lets the command have SIGTERM rather than SIGKILL when what the caller started is killed.
	Terminate bool
}

// enterScript puts itself into the cgroups before "--" and becomes the command after it.
const enterScript = `while [ "$1" != -- ]; do echo 0 > "$1" || exit 125; shift; done; shift; exec "$@"`

// listenScript tells the command its own number, as it sees it.
const listenScript = `LISTEN_PID=$$ LISTEN_FDS=1; export LISTEN_PID LISTEN_FDS; exec "$@"`

// Command prepares a command in all of a node's namespaces, with a clean environment and the node's files. When ctx
// ends, the command is killed. Use ExecOptions and CommandWith for more. An unknown or powered-off node shows as an
// error at its start.
func (l *Lab) Command(ctx context.Context, node string, argv ...string) *exec.Cmd {
	return l.CommandWith(ctx, node, ExecOptions{}, argv...)
}

// CommandWith is Command with options.
func (l *Lab) CommandWith(ctx context.Context, node string, o ExecOptions, argv ...string) *exec.Cmd {
	args, env, err := l.enter(node, o, argv)
	if err != nil {
		return &exec.Cmd{Path: "/bin/sh", Args: []string{"/bin/sh"}, Err: fmt.Errorf("run in %s: %w", node, err)}
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = o.Stdin, o.Stdout, o.Stderr
	if o.Listener != nil {
		cmd.ExtraFiles = []*os.File{o.Listener}
	}
	return cmd
}

// Exec runs a command in a node and waits for it. What it returns wraps *exec.ExitError when the command failed.
func (l *Lab) Exec(ctx context.Context, node string, o ExecOptions, argv ...string) error {
	if err := l.CommandWith(ctx, node, o, argv...).Run(); err != nil {
		return fmt.Errorf("run %s in %s: %w", argv0(argv), node, err)
	}
	return nil
}

func argv0(argv []string) string {
	if len(argv) == 0 {
		return "nothing"
	}
	return argv[0]
}

func (l *Lab) enter(node string, o ExecOptions, argv []string) (args, env []string, err error) {
	if len(argv) == 0 {
		return nil, nil, errors.New("no command")
	}
	s, err := l.loadState()
	if err != nil {
		return nil, nil, err
	}
	n, ok := s.Nodes[node]
	if !ok {
		return nil, nil, fmt.Errorf("no such node: there are %s", strings.Join(nodeNames(s.Hosts), " "))
	}
	if !n.Process.alive() {
		return nil, nil, errors.New("the node is off")
	}
	if err := takesRoot(); err != nil {
		return nil, nil, err
	}
	args = append([]string{"/bin/sh", "-c", enterScript, "baadal-lab"}, l.cgroups.procs(node)...)
	args = append(args, "--", "nsenter", "--target", strconv.Itoa(n.Process.PID))
	if o.NetOnly {
		args = append(args, "--net", "--")
		env = os.Environ()
	} else {
		signal := "KILL"
		if o.Terminate {
			signal = "TERM"
		}
		args = append(args, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--",
			"setpriv", "--pdeathsig", signal, "--")
		env = []string{"PATH=" + nodePath, "HOME=/root", "USER=root", "SHELL=/bin/bash", "BAADAL_LAB_NODE=" + node}
		for _, name := range []string{"TERM", "LANG"} {
			if v := os.Getenv(name); v != "" {
				env = append(env, name+"="+v)
			}
		}
	}
	if o.Listener != nil {
		args = append(args, "/bin/sh", "-c", listenScript, "sh")
	}
	return append(args, argv...), append(env, o.Env...), nil
}

// run runs a command of the lab's own in a node. It dies with us, so that nothing goes on after a kill -9; daemons
// that it leaves behind do not.
func (l *Lab) run(ctx context.Context, node string, argv ...string) error {
	return l.runWith(ctx, node, ExecOptions{}, argv...)
}

// batch runs ip(8) commands in a node's network, with the machine's view of processes.
func (l *Lab) batch(ctx context.Context, node string, lines ...string) error {
	in := strings.NewReader(strings.Join(lines, "\n") + "\n")
	return l.runWith(ctx, node, ExecOptions{NetOnly: true, Stdin: in, Env: []string{"PATH=" + nodePath}}, "ip", "-batch", "-")
}

func (l *Lab) runWith(ctx context.Context, node string, o ExecOptions, argv ...string) error {
	var stderr bytes.Buffer
	o.Stderr = &stderr
	cmd := l.CommandWith(ctx, node, o, argv...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s in %s: %w: %s", strings.Join(argv, " "), node, err, strings.TrimSpace(stderr.String()))
	}
	return nil
}
