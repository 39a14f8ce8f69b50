package probe_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"testing"

	"baadal"
	"baadal/internal/needs"
	"baadal/internal/probe"
	"baadal/internal/ssh"
)

// alone is a box with one network, of which nobody else is.
type alone struct{}

const aloneScript = `ip link add d0 address 02:00:00:00:00:01 type veth peer name d1
ip link set d1 up; ip link set d0 up; ip addr add 192.168.10.1/24 dev d0
exec "$@"`

func (alone) Run(ctx context.Context, _ baadal.Host, c ssh.Command) (ssh.Result, error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, "unshare", append([]string{"-n", "sh", "-ec", aloneScript, "sh"}, c.Argv...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, &out, &errs
	_ = cmd.Run()
	return ssh.Result{Stdout: out.Bytes(), Stderr: errs.Bytes(), Code: cmd.ProcessState.ExitCode()}, nil
}

// TestTheBoxItself: the address of the box that looks is in use, too: a VM that
// got it would be the DHCP server's twin.
func TestTheBoxItself(t *testing.T) {
	t.Parallel()
	needs.Programs(t, "unshare", "ip", "ping")
	if os.Geteuid() != 0 {
		needs.Skip(t, "network namespaces need root")
	}
	got, err := probe.NewNeighbours(alone{}, baadal.Host{Name: "box"}).Neighbours(t.Context(), []string{"192.168.10.1", "192.168.10.2", "192.168.10.255", "127.0.0.1", "10.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got["192.168.10.1"] != "02:00:00:00:00:01" {
		t.Errorf("got %v", got)
	}
}
