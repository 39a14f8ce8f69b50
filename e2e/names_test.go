package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/lab"
)

// nameServer asks the lab's name server, from its own node.
var nameServer = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	cmd := theLab.Command(ctx, lab.DHCP, "nc", "127.0.0.1", "53")
	in, err := cmd.StdinPipe()
	if err != nil {
		stop()
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		stop()
		return nil, err
	}
	return &pipe{in, out, cmd, stop}, cmd.Start()
}}

// pipe is a command as a connection.
type pipe struct {
	io.WriteCloser
	io.Reader

	cmd  *exec.Cmd
	stop func()
}

func (p *pipe) Close() error                     { p.stop(); _ = p.cmd.Wait(); return nil }
func (p *pipe) LocalAddr() net.Addr              { return nil }
func (p *pipe) RemoteAddr() net.Addr             { return nil }
func (p *pipe) SetDeadline(time.Time) error      { return nil }
func (p *pipe) SetReadDeadline(time.Time) error  { return nil }
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }

// named is nil once the server knows the VM by exactly this name, both ways; by
// none if it is empty.
func named(ctx context.Context, name, address string) func() error {
	return func() error {
		names, err := nameServer.LookupAddr(ctx, address)
		if e, ok := errors.AsType[*net.DNSError](err); err != nil && (!ok || !e.IsNotFound) {
			return err
		}
		var want []string
		if name != "" {
			want = []string{name + "."}
		}
		if !slices.Equal(names, want) {
			return fmt.Errorf("%s is %q, not %q", address, names, want)
		}
		if name == "" {
			return nil
		}
		got, err := nameServer.LookupHost(ctx, name+".")
		if err != nil || !slices.Equal(got, []string{address}) {
			return fmt.Errorf("%s is at %q, not at %s: %w", name, got, address, err)
		}
		return nil
	}
}

// unknown is nil once the server does not know a name.
func unknown(ctx context.Context, name string) func() error {
	return func() error {
		got, err := nameServer.LookupHost(ctx, name+".")
		if e, ok := errors.AsType[*net.DNSError](err); ok && e.IsNotFound {
			return nil
		}
		return fmt.Errorf("%s is at %q: %w", name, got, err)
	}
}

// soon is how long a change may take to be answered.
const soon = 5 * time.Second

// TestNames follows the names of VMs through their lives, as the name server
// and a neighbour see them.
func TestNames(t *testing.T) {
	ctx := begin(t)
	key, err := theLab.SSHPublicKey()
	if err != nil {
		t.Fatal(err)
	}
	c, none := cloud.Client, baadal.ChangeOptions{}
	web := create(ctx, t, baadal.VMCreate{Name: "web_1", SSHKeys: []string{key}})
	sql := create(ctx, t, baadal.VMCreate{Name: "Sql1"})
	webName, sqlName := baadal.DNSLabel("web_1")+".admin."+lab.Domain, "sql1.admin."+lab.Domain
	shown, err := c.VM(ctx, web.UUID)
	if err != nil || shown.DNSName != webName {
		t.Errorf("the API shows %q, want %q: %v", shown.DNSName, webName, err)
	}
	eventually(t, soon, "web_1 named", named(ctx, webName, web.Address))
	eventually(t, soon, "Sql1 named", named(ctx, sqlName, sql.Address))

	if web, err = cloud.WaitAnswer(ctx, web.UUID); err != nil {
		t.Fatal(err)
	}
	sees := func(name, address string) {
		t.Helper()
		if said := ssh(ctx, t, web, "nslookup", name); !strings.Contains(said, address) {
			t.Errorf("the guest asks for %s and hears %q, not %s", name, said, address)
		}
	}
	sees(sqlName, sql.Address)

	if _, err := c.EditVM(ctx, sql.UUID, baadal.VMEdit{Name: new("db")}, none); err != nil {
		t.Fatal(err)
	}
	eventually(t, soon, "Sql1 renamed", named(ctx, "db.admin."+lab.Domain, sql.Address))
	eventually(t, soon, "its old name gone", unknown(ctx, sqlName))
	sees("db.admin."+lab.Domain, sql.Address)
	destroyVM(ctx, t, sql.UUID)
	twin := clone(ctx, t, sql.UUID, baadal.VMClone{Name: "twin"})[0]
	eventually(t, soon, "a clone named", named(ctx, twin.Name+".admin."+lab.Domain, twin.Address))
	remove(ctx, t, twin.UUID)
	eventually(t, soon, "the deleted clone forgotten", named(ctx, "", twin.Address))
	eventually(t, soon, "its name gone", unknown(ctx, twin.Name+".admin."+lab.Domain))
	await(ctx, t, c.RestoreVM, twin.UUID)
	twin, err = c.VM(ctx, twin.UUID)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, soon, "the restored clone named", named(ctx, twin.Name+".admin."+lab.Domain, twin.Address))
	removeAll(ctx, t, []baadal.VM{twin, sql})

	// By hand: the file is gone and the server with it.
	node(ctx, t, lab.DHCP, "sh", "-c", "rm /etc/baadal-names; kill -9 $(cat /run/dnsmasq.pid)")
	eventually(t, 30*time.Second, "mended after the file and the server went", named(ctx, webName, web.Address))
	node(ctx, t, lab.DHCP, "sh", "-c", "echo 192.168.10.99 evil."+lab.Domain+" >>/etc/baadal-names; kill -HUP $(cat /run/dnsmasq.pid)")
	eventually(t, 30*time.Second, "a stranger's line gone", unknown(ctx, "evil."+lab.Domain))
	remove(ctx, t, web.UUID)
	eventually(t, soon, "the last one forgotten", named(ctx, "", web.Address))
}
