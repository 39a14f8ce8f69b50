package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/internal/demo"
	"baadal/internal/lab"
)

type demoOptions struct {
	dir    string
	hosts  int
	listen string
	virt   string
	once   bool
}

func demoCommand() *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Build a small cloud on this machine, create VMs, and show them",
		Long: `Build a small cloud on this machine: a lab of real hosts, each in namespaces of
its own, a server that is reached at the machine's localhost, and three virtual
machines. It stays until Ctrl-C and then takes everything down again. It needs
root, and the packages that "baadal lab packages" names.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDemo(cmd.Context(), cmd.OutOrStdout(), o) },
	}
	cmd.Flags().StringVar(&o.dir, "dir", "", "lab `folder` (default demo in the lab's default folder)")
	cmd.Flags().IntVar(&o.hosts, "hosts", 3, "`number` of hosts")
	cmd.Flags().StringVar(&o.listen, "listen", "127.0.0.1:8080", "`address` on this machine to serve at")
	cmd.Flags().StringVar(&o.virt, "virt", lab.VirtAuto, "how guests run: auto, kvm or qemu")
	cmd.Flags().BoolVar(&o.once, "once", false, "end when everything was shown (also DEMO=once)")
	return cmd
}

// show prints what the demo did, with the seconds since its start.
type show struct {
	out   io.Writer
	begun time.Time
}

func (s show) say(format string, args ...any) {
	fmt.Fprintf(s.out, "%6.1fs  %s\n", time.Since(s.begun).Seconds(), fmt.Sprintf(format, args...))
}

func runDemo(ctx context.Context, out io.Writer, o demoOptions) (err error) {
	if o.dir == "" {
		base, err := lab.DefaultDir()
		if err != nil {
			return err
		}
		o.dir = filepath.Join(filepath.Dir(base), "demo")
	}
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	s := show{out, time.Now()}
	s.say("building the lab in %s", o.dir)
	l, err := lab.Up(ctx, lab.Options{Dir: o.dir, Hosts: o.hosts, Virt: o.virt, Log: s.say})
	if errors.Is(err, lab.ErrUp) {
		return baadal.Errorf(baadal.Conflict, "a demo is up in %s already", o.dir).WithNext("Take it down", "baadal lab down --dir "+o.dir)
	}
	if err != nil {
		return err
	}
	state := filepath.Join(o.dir, "server")
	// Take down whatever happens, also after Ctrl-C, which ended ctx.
	defer func() {
		down, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer stop()
		err = errors.Join(err, l.Down(down), os.RemoveAll(state))
		s.say("everything is taken down")
	}()
	if err := os.RemoveAll(state); err != nil {
		return fmt.Errorf("clear the former demo's state: %w", err)
	}
	if err := os.MkdirAll(state, 0o700); err != nil {
		return fmt.Errorf("make state folder: %w", err)
	}
	log, err := os.Create(filepath.Join(o.dir, "server.log"))
	if err != nil {
		return fmt.Errorf("make the server's log: %w", err)
	}
	defer log.Close()
	cloud, err := demo.Start(ctx, demo.Options{Lab: l, Binary: binary, State: state, Listen: o.listen, Stderr: log})
	if err != nil {
		return fmt.Errorf("%w (the server's log is %s)", err, log.Name())
	}
	defer func() { err = errors.Join(err, cloud.Close(context.WithoutCancel(ctx))) }()
	s.say("the server is at %s", cloud.URL)
	if err := cloud.Furnish(ctx, s.say); err != nil {
		return err
	}
	vms, err := demoVMs(ctx, s, cloud)
	if err != nil {
		return err
	}
	if err := showVMs(ctx, s, cloud, vms); err != nil {
		return err
	}
	if o.hosts > 1 {
		if err := showMigration(ctx, s, cloud, vms[0]); err != nil {
			return err
		}
	}
	if o.once || os.Getenv("DEMO") == "once" {
		return nil
	}
	whatNext(out, cloud, binary, o.dir)
	<-ctx.Done()
	fmt.Fprintln(out)
	return nil
}

// demoVMs creates three VMs at once and waits until they answer.
func demoVMs(ctx context.Context, s show, cloud *demo.Cloud) ([]baadal.VM, error) {
	key, err := cloud.Lab.SSHPublicKey()
	if err != nil {
		return nil, err
	}
	var made []baadal.Change[baadal.VM]
	for _, name := range []string{"alpha", "beta", "gamma"} {
		c, err := cloud.Client.CreateVM(ctx, baadal.VMCreate{Name: name, Template: "tiny", RAMMiB: 128, SSHKeys: []string{key}}, baadal.ChangeOptions{})
		if err != nil {
			return nil, err
		}
		s.say("task %d creates %s on %s", c.Task.ID, name, c.Resource.Placement)
		made = append(made, c)
	}
	var vms []baadal.VM
	for _, c := range made {
		t, err := cloud.Await(ctx, c.Task, nil)
		if err != nil {
			return nil, err
		}
		s.say("%s: %s, %d ms after it was asked for", c.Resource.Name, t.Message, t.EndedAt.Sub(t.CreatedAt).Milliseconds())
	}
	wait, stop := context.WithTimeout(ctx, 5*time.Minute)
	defer stop()
	for _, c := range made {
		vm, err := cloud.WaitAnswer(wait, c.Resource.UUID)
		if err != nil {
			return nil, err
		}
		s.say("%s answers at %s, %.1f s after its start", vm.Name, vm.Address, vm.AnsweredAt.Sub(vm.StateSince).Seconds())
		vms = append(vms, vm)
	}
	return vms, nil
}

// showVMs shows the VMs from outside the server: virsh and Open vSwitch on the
// hosts, ping and SSH from the controller's network.
func showVMs(ctx context.Context, s show, cloud *demo.Cloud, vms []baadal.VM) error {
	for _, vm := range vms {
		state, err := commandOutput(cloud.Lab.Command(ctx, vm.Host, "virsh", "domstate", vm.UUID))
		if err != nil {
			return err
		}
		tag, err := commandOutput(cloud.Lab.Command(ctx, vm.Host, "ovs-vsctl", "--bare", "--columns=tag", "find", "port", "name="+portOf(ctx, cloud, vm)))
		if err != nil {
			return err
		}
		if state != "running" || tag != fmt.Sprint(vm.VLAN) {
			return fmt.Errorf("%s on %s is %s with tag %q, expected running with tag %d", vm.Name, vm.Host, state, tag, vm.VLAN)
		}
		ping, err := commandOutput(inController(ctx, cloud, "ping", "-n", "-q", "-c", "3", "-i", "0.2", vm.Address))
		if err != nil {
			return err
		}
		name, err := sshTo(ctx, cloud, vm, "hostname")
		if err != nil {
			return err
		}
		if name != vm.Name {
			return fmt.Errorf("the guest at %s calls itself %q, expected %q", vm.Address, name, vm.Name)
		}
		lines := strings.Split(ping, "\n")
		s.say("%s on %s: virsh says %s, VLAN tag %s; %s; ssh says hostname %s", vm.Name, vm.Host, state, tag, lines[len(lines)-1], name)
	}
	return nil
}

// portOf finds the Open vSwitch port of a VM's NIC by its MAC.
func portOf(ctx context.Context, cloud *demo.Cloud, vm baadal.VM) string {
	name, err := commandOutput(cloud.Lab.Command(ctx, vm.Host, "ovs-vsctl", "--bare", "--columns=name", "find", "interface",
		`external_ids:attached-mac="`+strings.ToLower(vm.MAC)+`"`))
	if err != nil || name == "" {
		return "none"
	}
	return name
}

func inController(ctx context.Context, cloud *demo.Cloud, argv ...string) *exec.Cmd {
	return cloud.Lab.CommandWith(ctx, lab.Controller, lab.ExecOptions{NetOnly: true}, argv...)
}

// sshTo runs a command in a guest; its address may have been another guest's in
// a former demo, so its host key is not compared with anything.
func sshTo(ctx context.Context, cloud *demo.Cloud, vm baadal.VM, argv ...string) (string, error) {
	var out string
	var err error
	for range 20 { // ping answers before sshd does
		if out, err = commandOutput(sshCommand(ctx, cloud, vm, argv...)); err == nil || ctx.Err() != nil {
			return out, err
		}
		time.Sleep(500 * time.Millisecond)
	}
	return out, err
}

func sshCommand(ctx context.Context, cloud *demo.Cloud, vm baadal.VM, argv ...string) *exec.Cmd {
	return inController(ctx, cloud, append([]string{
		"ssh", "-n", "-i", cloud.Lab.SSHKeyPath(), "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		"-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10", "root@" + vm.Address, "--",
	}, argv...)...)
}

// commandOutput runs a command and returns what it printed, trimmed; its error holds
// what it printed on standard error.
func commandOutput(cmd *exec.Cmd) (string, error) {
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", cmd.Args[len(cmd.Args)-1], err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

func whatNext(out io.Writer, cloud *demo.Cloud, binary, dir string) {
	fmt.Fprintf(out, `
The cloud stays until Ctrl-C. In another terminal:

  export BAADAL_SERVER=%s BAADAL_TOKEN=%s PATH="%s:$PATH"
  baadal vm list                                    # what runs
  baadal vm create delta --template tiny --ram 128M # one more
  baadal vm create delta2 --template tiny --dry-run # where would it go, and why
  baadal vm migrate beta                            # to the best other host, while it runs
  baadal vm snapshot create beta --name before      # with its memory; then: baadal vm snapshot revert beta before
  baadal vm clone gamma --count 3 --start           # thin, each with a name and address of its own
  baadal task list                                  # what was done
  baadal events                                     # what happens now
  baadal audit                                      # does the world match the book?
  baadal lab exec --dir %s host1 -- virsh list --all
  baadal lab kill --dir %s host1                    # pull a host's power cord; then: baadal host list
  baadal lab exec --dir %s --net-only ctl -- ssh -i %s root@192.168.10.10

In a browser: %s/vms/alpha/console (in an SSH session: ssh -L first)
API and its documentation: %s/api   User: admin   Password: %s
`, cloud.URL, cloud.Client.Token(), filepath.Dir(binary), dir, dir, dir, cloud.Lab.SSHKeyPath(), cloud.URL, cloud.URL, cloud.Password)
}
