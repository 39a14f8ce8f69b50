// Package demo runs a whole Baadal in a lab: the server as a process of its own
// in the controller's network, reached at the machine's localhost, and a client
// signed in to it. `baadal demo`, the end-to-end tests and the benchmarks stand
// on it. It talks to the server only as anybody would: over the API.
package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"baadal"
	"baadal/client"
	"baadal/internal/lab"
)

// Options say how to run the server.
type Options struct {
	Lab      *lab.Lab
	Binary   string // the baadal program
	State    string // its state folder
	Listen   string // on the machine; 127.0.0.1:0 if empty: any free port
	Database string // DSN; SQLite in State if empty
	Stderr   io.Writer
}

// Cloud is a running server in a lab, and a client of it.
type Cloud struct {
	Lab      *lab.Lab
	Client   *client.Client // signed in as the administrator
	URL      string
	Password string // of the user admin

	opt      Options
	listener *os.File // held by us too: connections wait while the server is killed and started again

	mu     sync.Mutex
	server *exec.Cmd
	ended  chan struct{} // closed when the server's process ended
}

// Start runs the server on a fresh state folder and signs in: the one-time
// password of the first start is changed as a person would.
func Start(ctx context.Context, opt Options) (*Cloud, error) {
	if opt.Listen == "" {
		opt.Listen = "127.0.0.1:0"
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", opt.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", opt.Listen, err)
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return nil, errors.New("not a TCP listener")
	}
	c := &Cloud{Lab: opt.Lab, URL: "http://" + l.Addr().String(), opt: opt}
	if c.listener, err = tcp.File(); err != nil {
		return nil, fmt.Errorf("pass the listener: %w", err)
	}
	_ = l.Close() // ours stays open
	if err := os.MkdirAll(opt.State, 0o700); err != nil {
		return nil, fmt.Errorf("make state folder: %w", err)
	}
	if err := WriteConfig(opt.Lab, c.configPath(), opt.State, opt.Database); err != nil {
		return nil, err
	}
	oneTime, err := c.startServer(ctx)
	if err == nil {
		err = c.signIn(ctx, oneTime)
	}
	if err != nil { // the server may run all the same
		_ = c.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	return c, nil
}

func (c *Cloud) configPath() string { return filepath.Join(c.opt.State, "baadal.yaml") }

// WriteConfig writes the configuration of a server for a lab. JSON is YAML.
func WriteConfig(l *lab.Lab, file, state, database string) error {
	address, err := addressOf(l, lab.DHCP)
	if err != nil {
		return err
	}
	key, err := hostKey(l, address)
	if err != nil {
		return err
	}
	st, err := l.Status()
	if err != nil {
		return err
	}
	dhcp := map[string]any{"kind": st.DHCP, "address": address, "host_key": key, "restart": []string{"/etc/dhcp/restart-dhcpd"}, "status": []string{"pidof", "dhcpd"}}
	if st.DHCP == lab.DHCPKea {
		dhcp = map[string]any{"kind": st.DHCP, "address": address, "host_key": key, "restart": []string{"/etc/kea/restart-kea"}}
	}
	nat, err := natConfig(l)
	if err != nil {
		return err
	}
	controller, err := addressOf(l, lab.Controller)
	if err != nil {
		return err
	}
	cfg := map[string]any{"nat": nat, "state": state, "ssh_key": l.SSHKeyPath(), "metrics_public": true, "dhcp": dhcp, "dns": map[string]any{
		"kind": "dnsmasq", "domain": lab.Domain, "address": address, "host_key": key,
		"reload": []string{"/etc/restart-dnsmasq", "reload"}, "restart": []string{"/etc/restart-dnsmasq"},
	}}
	cfg["vnc"] = map[string]any{"address": controller}
	if database != "" {
		cfg["database"] = database
	}
	raw, err := json.MarshalIndent(cfg, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(raw, '\n'), 0o600)
}

// natConfig tells a server of the lab's NAT box.
func natConfig(l *lab.Lab) (map[string]any, error) {
	address, err := addressOf(l, lab.NAT)
	if err != nil {
		return nil, err
	}
	key, err := hostKey(l, address)
	return map[string]any{"address": address, "host_key": key, "interface": lab.NATInterface, "public": lab.NATAddress}, err
}

// addressOf returns a node's management address.
func addressOf(l *lab.Lab, node string) (string, error) {
	st, err := l.Status()
	if err != nil {
		return "", err
	}
	for _, n := range st.Nodes {
		if n.Name == node {
			return n.Address, nil
		}
	}
	return "", fmt.Errorf("the lab has no node %s", node)
}

// hostKey finds the key of an address in the lab's known_hosts.
func hostKey(l *lab.Lab, address string) (string, error) {
	raw, err := os.ReadFile(l.KnownHostsPath())
	if err != nil {
		return "", fmt.Errorf("read the lab's host keys: %w", err)
	}
	for line := range strings.Lines(string(raw)) {
		names, key, ok := strings.Cut(strings.TrimSpace(line), " ")
		if ok && slices.Contains(strings.Split(names, ","), address) {
			return key, nil
		}
	}
	return "", fmt.Errorf("the lab has no host key for %s", address)
}

var oneTimeRE = regexp.MustCompile(`one-time password (\S+)`)

// startServer starts the process and waits until it is ready. It returns the
// one-time password if this was the first start.
func (c *Cloud) startServer(ctx context.Context) (oneTime string, err error) {
	out, in, err := os.Pipe()
	if err != nil {
		return "", err
	}
	cmd := c.Lab.CommandWith(context.WithoutCancel(ctx), "ctl", lab.ExecOptions{
		NetOnly: true, Listener: c.listener, Stdout: in, Stderr: c.opt.Stderr,
	}, c.opt.Binary, "serve", "--config", c.configPath())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C on the terminal is for us, not for it
	if err := cmd.Start(); err != nil {
		return "", errors.Join(fmt.Errorf("start the server: %w", err), in.Close(), out.Close())
	}
	_ = in.Close()
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	c.mu.Lock()
	c.server, c.ended = cmd, ended
	c.mu.Unlock()

	password := make(chan string, 1)
	go func() {
		defer out.Close()
		for s := bufio.NewScanner(out); s.Scan(); {
			if m := oneTimeRE.FindStringSubmatch(s.Text()); m != nil {
				password <- m[1]
			}
		}
	}()
	if err := c.waitReady(ctx, ended); err != nil {
		return "", err
	}
	if c.Password != "" { // not its first start
		return "", nil
	}
	select {
	case p := <-password: // printed before it was ready, but perhaps not read yet
		return p, nil
	case <-time.After(10 * time.Second):
		return "", errors.New("the server printed no one-time password: its state folder is not new")
	}
}

// waitReady waits until the server says that it is ready.
func (c *Cloud) waitReady(ctx context.Context, ended <-chan struct{}) error {
	ctx, stop := context.WithTimeout(ctx, 60*time.Second)
	defer stop()
	for {
		select {
		case <-ended:
			return errors.New("the server ended by itself; its messages say why")
		case <-ctx.Done():
			return fmt.Errorf("the server is not ready: %w", ctx.Err())
		default:
		}
		if c.ready(ctx) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (c *Cloud) ready(ctx context.Context) bool {
	ctx, stop := context.WithTimeout(ctx, 2*time.Second)
	defer stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func (c *Cloud) signIn(ctx context.Context, oneTime string) error {
	api, err := client.New(client.Config{BaseURL: c.URL})
	if err != nil {
		return err
	}
	if _, err := api.SignIn(ctx, "admin", oneTime); err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	c.Password = "demo-" + strings.ToLower(oneTime)
	if err := api.ChangePassword(ctx, oneTime, c.Password); err != nil {
		return fmt.Errorf("change the one-time password: %w", err)
	}
	if _, err := api.SignIn(ctx, "admin", c.Password); err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	t, err := api.CreateToken(ctx, "demo", 0)
	if err != nil {
		return fmt.Errorf("make a token: %w", err)
	}
	c.Client, err = client.New(client.Config{BaseURL: c.URL, Token: t.Secret})
	return err
}

// Signal sends the server a signal: SIGSTOP makes it hang, SIGCONT go on.
func (c *Cloud) Signal(sig os.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server == nil {
		return os.ErrProcessDone
	}
	return c.server.Process.Signal(sig)
}

// Kill ends the server as a crash would: SIGKILL.
func (c *Cloud) Kill() error {
	c.mu.Lock()
	cmd, ended := c.server, c.ended
	c.mu.Unlock()
	if cmd == nil {
		return nil
	}
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-ended
	return nil
}

// Restart starts the server again after Kill, with the configuration of the lab
// as it is now; connections made meanwhile have waited in the socket.
func (c *Cloud) Restart(ctx context.Context) error {
	if err := WriteConfig(c.Lab, c.configPath(), c.opt.State, c.opt.Database); err != nil {
		return err
	}
	_, err := c.startServer(ctx)
	return err
}

// Close stops the server politely, and with SIGKILL if it does not.
func (c *Cloud) Close(ctx context.Context) error {
	c.mu.Lock()
	cmd, ended := c.server, c.ended
	c.mu.Unlock()
	defer c.listener.Close()
	if cmd == nil {
		return nil
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
		return nil
	case <-time.After(30 * time.Second):
	case <-ctx.Done():
	}
	return errors.Join(c.Kill(), errors.New("the server did not stop by itself within 30 s"))
}

// Furnish gives the cloud what a first VM needs: all hosts of the lab, the
// datastore, a network with VLAN 10, and the tiny template. say gets a line for
// each step that is done.
func (c *Cloud) Furnish(ctx context.Context, say func(format string, args ...any)) error {
	if err := c.addHosts(ctx, say); err != nil {
		return err
	}
	ds, err := c.Client.AddDatastore(ctx, baadal.DatastoreAdd{Name: lab.Datastore, Path: "/mnt/" + lab.Datastore}, baadal.ChangeOptions{})
	if err != nil {
		return err
	}
	if err := c.waitDatastore(ctx, ds.Resource.Name); err != nil {
		return err
	}
	say("datastore %s is measured", ds.Resource.Name)
	n, err := c.Client.CreateNetwork(ctx, baadal.NetworkCreate{
		Name: "Research", VLAN: 10, CIDR: "192.168.10.0/24", Gateway: "192.168.10.254", First: "192.168.10.10", Last: "192.168.10.250",
	}, baadal.ChangeOptions{})
	if err != nil {
		return err
	}
	if _, err := c.Await(ctx, n.Task, nil); err != nil {
		return err
	}
	say("network Research has VLAN 10 and %d addresses, reserved in the DHCP server", n.Resource.Addresses)
	return c.importTemplate(ctx, say)
}

func (c *Cloud) addHosts(ctx context.Context, say func(format string, args ...any)) error {
	nodes, err := c.Lab.Nodes()
	if err != nil {
		return err
	}
	var tasks []*baadal.Task
	for _, node := range nodes {
		if !strings.HasPrefix(node, "host") {
			continue
		}
		address, err := addressOf(c.Lab, node)
		if err != nil {
			return err
		}
		in := baadal.HostAdd{Address: address, Name: node}
		// The first answer shows the fingerprint; here nobody compares it, as the
		// lab's hosts were made a moment ago on this machine.
		_, err = c.Client.AddHost(ctx, in, baadal.ChangeOptions{})
		e, ok := errors.AsType[*baadal.Error](err)
		if !ok || e.Code != "fingerprint_unconfirmed" {
			return fmt.Errorf("add %s: expected to be shown its fingerprint, got %w", node, err)
		}
		in.Fingerprint = e.Detail
		h, err := c.Client.AddHost(ctx, in, baadal.ChangeOptions{})
		if err != nil {
			return fmt.Errorf("add %s: %w", node, err)
		}
		tasks = append(tasks, h.Task)
	}
	for _, t := range tasks {
		if _, err := c.Await(ctx, t, nil); err != nil {
			return err
		}
		h, err := c.Client.Host(ctx, t.Subject.Name)
		if err != nil {
			return err
		}
		say("%s is up: %d CPUs, %d MiB, %s, guests run under %s", h.Name, h.CPUs, h.RAMMiB, h.Type, h.Virt)
	}
	return nil
}

// waitDatastore waits until every host that is up was seen to have the
// datastore mounted.
func (c *Cloud) waitDatastore(ctx context.Context, name string) error {
	ctx, stop := context.WithTimeout(ctx, 60*time.Second)
	defer stop()
	for {
		d, err := c.Client.Datastore(ctx, name)
		if err != nil {
			return err
		}
		hosts, err := c.Client.Hosts(ctx, baadal.ListQuery{Filter: "state:up"})
		if err != nil {
			return err
		}
		if d.State == baadal.DatastoreOK && len(d.Hosts) >= hosts.Total {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("datastore %s is %s: %s", name, d.State, d.Reason)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (c *Cloud) importTemplate(ctx context.Context, say func(format string, args ...any)) error {
	image, err := c.Lab.GuestImage(ctx)
	if err != nil {
		return err
	}
	f, err := os.Open(image)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	up, err := c.Client.Upload(ctx, "", f, st.Size(), nil)
	if err != nil {
		return fmt.Errorf("upload the template: %w", err)
	}
	t, err := c.Client.ImportTemplate(ctx, baadal.TemplateImport{Name: "tiny", OS: "Debian kernel, busybox", UploadID: up.ID, SHA256: up.SHA256}, baadal.ChangeOptions{})
	if err != nil {
		return err
	}
	if _, err := c.Await(ctx, t.Task, nil); err != nil {
		return err
	}
	say("template tiny is imported, %d MiB", st.Size()>>20)
	return nil
}

// Await waits for a task and turns its failure into an error.
func (c *Cloud) Await(ctx context.Context, t *baadal.Task, seen func(baadal.Task)) (baadal.Task, error) {
	if t == nil {
		return baadal.Task{}, errors.New("there is no task to wait for")
	}
	done, err := c.Client.WaitTask(ctx, t.ID, seen)
	if err != nil {
		return done, err
	}
	if done.State != baadal.TaskSuccess {
		return done, fmt.Errorf("task %d (%s %s) %s at step %q: %s", done.ID, done.Kind, done.Subject.Name, done.State, done.Step, done.Message)
	}
	return done, nil
}

// CreateVM makes a VM and waits until it runs.
func (c *Cloud) CreateVM(ctx context.Context, in baadal.VMCreate) (baadal.VM, error) {
	ch, err := c.Client.CreateVM(ctx, in, baadal.ChangeOptions{})
	if err != nil {
		return baadal.VM{}, err
	}
	if _, err := c.Await(ctx, ch.Task, nil); err != nil {
		return *ch.Resource, err
	}
	return c.Client.VM(ctx, fmt.Sprint(ch.Resource.ID))
}

// WaitAnswer waits until the cloud has seen the VM's address answer.
func (c *Cloud) WaitAnswer(ctx context.Context, ref string) (baadal.VM, error) {
	for {
		vm, err := c.Client.VM(ctx, ref)
		if err != nil || vm.AnsweredAt != nil {
			return vm, err
		}
		select {
		case <-ctx.Done():
			return vm, fmt.Errorf("%s at %s does not answer: %w", vm.Name, vm.Address, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}
