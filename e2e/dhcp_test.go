package e2e_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/lab"
)

// dhcpBoxes is what the lab's DHCP box has of each server.
var dhcpBoxes = map[string]struct{ process, other, main, mistake string }{
	lab.DHCPISC: {"dhcpd", "kea-dhcp4", "/etc/dhcp/dhcpd.conf", "%s line %d: Expecting netmask"},
	lab.DHCPKea: {"kea-dhcp4", "dhcpd", "/etc/kea/kea-dhcp4.conf", "%s:%d.1: Invalid character: s"},
}

// TestBothDHCPServers: a VM gets the address that the API shows, from Kea and from
// ISC dhcpd; what somebody broke in their configuration is told with its place,
// neither loaded nor lost.
func TestBothDHCPServers(t *testing.T) {
	ctx := begin(t)
	t.Cleanup(func() {
		if t.Failed() { // the others want what they know
			useDHCP(context.WithoutCancel(ctx), t, lab.DHCPISC)
		}
	})
	for _, kind := range []string{lab.DHCPKea, lab.DHCPISC} {
		useDHCP(ctx, t, kind)
		box := dhcpBoxes[kind]
		// The server's file is from before, or empty: the controller mends it by itself.
		cleanAudit(ctx, t)
		node(ctx, t, lab.DHCP, "pidof", box.process)
		if out, err := theLab.Command(ctx, lab.DHCP, "pidof", box.other).Output(); err == nil {
			t.Fatalf("%s runs, too: %s", box.other, out)
		}
		t.Run(kind, func(t *testing.T) { addressFromDHCP(ctx, t, kind) })
		t.Run(kind+" broken by hand", func(t *testing.T) { dhcpBrokenByHand(ctx, t, box.main, box.mistake) })
	}
}

// useDHCP lets the lab's box and the controller go over to a server.
func useDHCP(ctx context.Context, t *testing.T, kind string) {
	t.Helper()
	if err := cloud.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := theLab.UseDHCP(ctx, kind); err != nil {
		t.Fatal(err)
	}
	if err := cloud.Restart(ctx); err != nil {
		t.Fatal(err)
	}
}

// addressFromDHCP makes a VM and asks it what it was given.
func addressFromDHCP(ctx context.Context, t *testing.T, kind string) {
	t.Helper()
	key, err := theLab.SSHPublicKey()
	if err != nil {
		t.Fatal(err)
	}
	vm := create(ctx, t, baadal.VMCreate{Name: "from-" + kind, SSHKeys: []string{key}})
	defer remove(ctx, t, vm.UUID)
	if vm, err = cloud.WaitAnswer(ctx, vm.UUID); err != nil {
		t.Fatal(err)
	}
	if ip := ssh(ctx, t, vm, "ip", "-4", "-o", "addr", "show", "eth0"); !strings.Contains(ip, vm.Address+"/24") {
		t.Errorf("the guest's address: %q, the API says %s", ip, vm.Address)
	}
	if route := ssh(ctx, t, vm, "ip", "route"); !strings.Contains(route, "default via 192.168.10.254") {
		t.Errorf("the guest's routes: %q", route)
	}
	t.Logf("%s answered %s after its start", vm.Name, vm.AnsweredAt.Sub(vm.StateSince).Round(time.Millisecond))
}

// dhcpBrokenByHand makes a mistake in the server's own configuration: a new
// network fails and says where it is, and everything goes on as before.
func dhcpBrokenByHand(ctx context.Context, t *testing.T, main, mistake string) {
	t.Helper()
	file := theLab.NodePath(lab.DHCP, main)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	broken := string(good) + "subnet 10.0.0.0 nonsense {\n"
	if err := os.WriteFile(file, []byte(broken), 0o644); err != nil { //nolint:gosec // as it was
		t.Fatal(err)
	}
	defer func() {
		if err := os.WriteFile(file, good, 0o644); err != nil { //nolint:gosec // as it was
			t.Error(err)
		}
	}()
	c, err := cloud.Client.CreateNetwork(ctx, baadal.NetworkCreate{
		Name: "Broken", VLAN: 20, CIDR: "192.168.20.0/24", Gateway: "192.168.20.254", First: "192.168.20.10", Last: "192.168.20.12",
	}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	place := fmt.Sprintf(mistake, main, strings.Count(broken, "\n"))
	if _, err := cloud.Await(ctx, c.Task, nil); err == nil || !strings.Contains(err.Error(), place) {
		t.Errorf("a network with a broken DHCP server: %v, want %q", err, place)
	}
	if now, err := os.ReadFile(file); err != nil || string(now) != broken {
		t.Errorf("what somebody wrote into %s is lost: %v", main, err)
	}
	eventually(t, 20*time.Second, "the network is taken back", func() error {
		if n, err := cloud.Client.Network(ctx, "Broken"); err == nil {
			return fmt.Errorf("there is %+v", n)
		}
		return nil
	})
	cleanAudit(ctx, t) // the server runs with what it had
}
