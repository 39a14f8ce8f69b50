package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"baadal/internal/lab"
)

// labCommand is "baadal lab": a whole cloud on this machine.
func labCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "A whole cloud on this machine, to try, to test and to break",
		Long: `A lab is a cloud on one Linux machine: hosts with libvirt, QEMU and Open vSwitch, a switch, a DHCP box and a NAT box,
each in namespaces of its own. It takes root. It lives in one folder ($BAADAL_LAB, or ~/.local/share/baadal/lab) and
leaves the machine's own network, libvirt and files alone; "lab down" leaves nothing of it.`,
	}
	cmd.PersistentFlags().StringVar(&dir, "dir", "", "folder of the lab (default $BAADAL_LAB, or ~/.local/share/baadal/lab)")
	cmd.AddCommand(labUp(&dir), labDown(&dir), labStatus(&dir), labExec(&dir), labGuestImage(&dir), labPackages(), labCheck(),
		labHost(&dir, "kill HOST", "Pull the power cord of a host", (*lab.Lab).Kill),
		labHost(&dir, "boot HOST", "Switch a host on again", (*lab.Lab).Boot),
		labHost(&dir, "cut HOST", "Cut a host off the networks; it lives on, packets are dropped in silence", (*lab.Lab).Cut),
		labHost(&dir, "heal HOST", "Undo cut", (*lab.Lab).Heal))
	return cmd
}

// progress writes lines with the seconds since its start.
func progress(w io.Writer) func(string, ...any) {
	started := time.Now()
	return func(format string, arg ...any) {
		fmt.Fprintf(w, "%6.2f s  %s\n", time.Since(started).Seconds(), fmt.Sprintf(format, arg...))
	}
}

// interruptible ends the context at an interrupt, so that a lab half-way up is taken down again.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
}

func labUp(dir *string) *cobra.Command {
	o := lab.Options{}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Build the lab and start it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			o.Dir, o.Log = *dir, progress(cmd.ErrOrStderr())
			l, err := lab.Up(ctx, o)
			if err != nil {
				return err
			}
			return printStatus(cmd.OutOrStdout(), l)
		},
	}
	cmd.Flags().IntVar(&o.Hosts, "hosts", 3, "number of hosts")
	cmd.Flags().StringVar(&o.DHCP, "dhcp", lab.DHCPISC, "the DHCP box's server: isc or kea")
	cmd.Flags().StringVar(&o.Virt, "virt", lab.VirtAuto, "how guests run: auto (find out), kvm or qemu (emulated)")
	return cmd
}

func labDown(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "End the lab and remove all of it but the caches, also after a crash",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := lab.Open(*dir)
			if err != nil {
				return err
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			return l.Down(ctx)
		},
	}
}

func labHost(dir *string, use, short string, do func(*lab.Lab, context.Context, string) error) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := lab.Open(*dir)
			if err != nil {
				return err
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			return do(l, ctx, args[0])
		},
	}
}

func labStatus(dir *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the nodes of the lab",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := lab.Open(*dir)
			if err != nil {
				return err
			}
			if !asJSON {
				return printStatus(cmd.OutOrStdout(), l)
			}
			st, err := l.Status()
			if err != nil {
				return err
			}
			e := json.NewEncoder(cmd.OutOrStdout())
			e.SetIndent("", "  ")
			return e.Encode(st)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

func printStatus(w io.Writer, l *lab.Lab) error {
	st, err := l.Status()
	if err != nil {
		return err
	}
	if !st.Ready {
		fmt.Fprintln(w, "The lab is not complete: lab up is at work, or crashed.")
	}
	fmt.Fprintf(w, "folder %s, guests by %s\n\n", st.Dir, st.Virt)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tSTATE\tPID\tMANAGEMENT\tVLAN")
	for _, n := range st.Nodes {
		pid := "-"
		if n.PID != 0 {
			pid = fmt.Sprint(n.PID)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", n.Name, n.State, pid, orDash(n.Address), orDash(strings.Join(n.VLAN, " ")))
	}
	fmt.Fprintln(t, "\nDATASTORE\tON THE HOSTS\tON THIS MACHINE\t\t")
	for _, d := range st.Datastores {
		access := "writable"
		if d.ReadOnly {
			access = "read-only"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t\n", d.Name, d.HostPath, d.MachinePath, access)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nTry: baadal lab --dir %s exec ctl -- ssh host1 virsh list --all\n", st.Dir)
	return nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func labExec(dir *string) *cobra.Command {
	var listen string
	o := lab.ExecOptions{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Terminate: true}
	cmd := &cobra.Command{
		Use:   "exec NODE -- COMMAND...",
		Short: "Run a command in a node",
		Long: `Runs a command in a node, and ends with its exit status. With --listen the command gets a listening socket of the
machine as systemd would give it (LISTEN_FDS=1, descriptor 3): so a server in the lab is reached from outside.`,
		Example: "  baadal lab exec host1 -- virsh list --all\n" +
			"  baadal lab exec --net-only --listen 127.0.0.1:8080 ctl -- baadal serve",
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			node, argv := args[0], args[1:]
			if argv[0] == "--" {
				argv = argv[1:]
			}
			l, err := lab.Open(*dir)
			if err != nil {
				return err
			}
			if listen != "" {
				f, err := listenFile(cmd.Context(), listen)
				if err != nil {
					return err
				}
				defer func() { _ = f.Close() }()
				o.Listener = f
			}
			code, err := runForwarding(l.CommandWith(context.WithoutCancel(cmd.Context()), node, o, argv...))
			if err == nil && code != 0 {
				os.Exit(code)
			}
			return err
		},
	}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().BoolVar(&o.NetOnly, "net-only", false, "enter only the node's network: processes, files and mounts are the machine's")
	cmd.Flags().StringVar(&listen, "listen", "", "listen at this address of the machine and hand the socket over")
	return cmd
}

// listenFile opens a listening TCP socket in the network that this program is in.
func listenFile(ctx context.Context, address string) (*os.File, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = ln.Close() }() // the file is a descriptor of its own
	return ln.(*net.TCPListener).File()
}

// runForwarding runs a command with the signals that come to us, and gives its exit status. It ends when we are
// killed.
func runForwarding(cmd *exec.Cmd) (int, error) {
	runtime.LockOSThread() // Pdeathsig looks at the thread that started the command
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	atTerminal := term.IsTerminal(int(os.Stdin.Fd()))
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case s := <-signals:
				// what a terminal sends, it sends to the command as well
				if !atTerminal || (s != os.Interrupt && s != syscall.SIGQUIT) {
					_ = cmd.Process.Signal(s)
				}
			case <-done:
				return
			}
		}
	}()
	err := cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return 0, err
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return exit.ExitCode(), nil
}

func labGuestImage(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "guest-image OUT",
		Short: "Write the tiny guest's disk image (qcow2) to a file, building it at the first time",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			out, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			return lab.WriteGuestImage(ctx, lab.Options{Dir: *dir, Log: progress(cmd.ErrOrStderr())}, out)
		},
	}
}

func labPackages() *cobra.Command {
	return &cobra.Command{
		Use:   "packages",
		Short: "List the Debian packages that a lab needs",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), strings.Join(lab.Packages, " "))
			return err
		},
	}
}

func labCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Say what this machine lacks for a lab",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if problems := lab.Check(cmd.Context()); len(problems) > 0 {
				return &lab.CheckError{Problems: problems}
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "This machine can have a lab.")
			return err
		},
	}
}
