package e2e_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/lab"
)

// boxTurn is the middle of a test: VMs come and go, and a network is made,
// while something is done to the DHCP box, which is the name server, too.
type boxTurn struct {
	gone, kept baadal.VM // deleted before and made before
	fresh      baadal.VM // made while the box is away
	tasks      []*baadal.Task
	network    string
}

// begins asks for everything at once.
func (b *boxTurn) begins(ctx context.Context, t *testing.T, vlan int) {
	t.Helper()
	c, none := cloud.Client, baadal.ChangeOptions{}
	b.network = fmt.Sprintf("away%d", vlan)
	add := func(k *baadal.Task, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		b.tasks = append(b.tasks, k)
	}
	made, err := c.CreateVM(ctx, baadal.VMCreate{Name: fmt.Sprintf("fresh%d", vlan), Template: "tiny", RAMMiB: 128}, none)
	add(made.Task, err)
	b.fresh = *made.Resource
	gone, err := c.DeleteVM(ctx, b.gone.UUID, none)
	add(gone.Task, err)
	network, err := c.CreateNetwork(ctx, baadal.NetworkCreate{
		Name: b.network, VLAN: vlan, CIDR: fmt.Sprintf("10.99.%d.0/29", vlan%256),
	}, none)
	add(network.Task, err)
}

// ends is when every task has ended well.
func (b *boxTurn) ends(ctx context.Context, t *testing.T) {
	t.Helper()
	for _, k := range b.tasks {
		done, err := cloud.Await(ctx, k, nil)
		if err != nil {
			t.Fatalf("%s of %s: %v", k.Kind, k.Subject.Name, err)
		}
		t.Logf("%s of %s took %s", k.Kind, k.Subject.Name, done.EndedAt.Sub(done.CreatedAt).Round(10*time.Millisecond))
	}
}

// converges is when the box knows what the store says: names, and reservations,
// which a guest sees by its address.
func (b *boxTurn) converges(ctx context.Context, t *testing.T) {
	t.Helper()
	var err error
	if b.fresh, err = cloud.Client.VM(ctx, b.fresh.UUID); err != nil {
		t.Fatal(err)
	}
	eventually(t, 40*time.Second, "the fresh VM named", named(ctx, b.fresh.DNSName, b.fresh.Address))
	eventually(t, 40*time.Second, "the kept one named", named(ctx, b.kept.Name+".admin."+lab.Domain, b.kept.Address))
	eventually(t, 40*time.Second, "the deleted one's name gone", unknown(ctx, b.gone.Name+".admin."+lab.Domain))
	if _, err := cloud.WaitAnswer(ctx, b.fresh.UUID); err != nil {
		t.Errorf("the VM that was made while the box was away has no address: %v", err)
	}
	eventually(t, 40*time.Second, "reserved", func() error {
		held := node(ctx, t, lab.DHCP, "cat", "/etc/dhcp/baadal.conf")
		addresses, err := cloud.Client.NetworkAddresses(ctx, b.network)
		if err != nil || len(addresses.Items) == 0 {
			return fmt.Errorf("the network has %d addresses: %w", len(addresses.Items), err)
		}
		for _, a := range addresses.Items {
			if !slices.Contains(strings.Fields(held), a.IP+";") {
				return fmt.Errorf("%s is not reserved", a.IP)
			}
		}
		return nil
	})
}

// TestBoxesDie cuts the DHCP and name server's box off, flushes it, and takes
// its power in the middle of creates and deletes: tasks end, and the box has
// everything soon after it is back.
func TestBoxesDie(t *testing.T) {
	ctx := begin(t)
	turns := []struct {
		name       string
		harm, heal func(t *testing.T)
	}{
		{
			"cut", func(t *testing.T) { t.Helper(); mustLab(t, theLab.Cut(ctx, lab.DHCP)) },
			func(t *testing.T) { t.Helper(); time.Sleep(8 * time.Second); mustLab(t, theLab.Heal(ctx, lab.DHCP)) },
		},
		{
			"flushed", func(t *testing.T) {
				t.Helper()
				node(ctx, t, lab.DHCP, "sh", "-c", `rm /etc/baadal-names; : >/etc/dhcp/baadal.conf; kill -9 $(cat /run/dnsmasq.pid) $(cat /run/dhcpd.pid)`)
			}, func(*testing.T) {},
		},
		{
			"rebooted", func(t *testing.T) { t.Helper(); mustLab(t, theLab.Kill(ctx, lab.DHCP)) },
			func(t *testing.T) { t.Helper(); time.Sleep(2 * time.Second); mustLab(t, theLab.Boot(ctx, lab.DHCP)) },
		},
	}
	kept := create(ctx, t, baadal.VMCreate{Name: "kept"})
	vms := []baadal.VM{kept}
	for i, turn := range turns {
		t.Log(turn.name)
		b := boxTurn{gone: create(ctx, t, baadal.VMCreate{Name: fmt.Sprintf("gone%d", i)}), kept: kept}
		turn.harm(t)
		b.begins(ctx, t, 910+i)
		turn.heal(t)
		b.ends(ctx, t)
		b.converges(ctx, t)
		ch, err := cloud.Client.DeleteNetwork(ctx, b.network, baadal.ChangeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cloud.Await(ctx, ch.Task, nil); err != nil {
			t.Fatal(err)
		}
		vms = append(vms, b.fresh)
	}
	removeAll(ctx, t, vms)
}

func mustLab(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestStranger: somebody who is not ours uses the address that would be given
// out next. The audit names him, and the next VM gets another address; when he
// is gone the address is good again.
func TestStranger(t *testing.T) {
	ctx := begin(t)
	first := create(ctx, t, baadal.VMCreate{Name: "first"})
	remove(ctx, t, first.UUID)
	taken := first.Address // free, and the lowest one
	node(ctx, t, lab.NAT, "ip", "addr", "add", taken+"/32", "dev", "v10")
	restart := func() { // a controller that starts looks at once
		t.Helper()
		if err := cloud.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cloud.Restart(ctx); err != nil {
			t.Fatal(err)
		}
	}
	strangers := func(want int) func() error {
		return func() error {
			report := audit(ctx, t, false)
			found := 0
			for _, d := range report.Differences {
				if d.Kind == baadal.DiffStranger && d.Subject.Name == taken {
					found++
				}
			}
			if found != want {
				return fmt.Errorf("%d strangers at %s: %+v", found, taken, report.Differences)
			}
			return nil
		}
	}
	restart()
	eventually(t, 20*time.Second, "the stranger seen", strangers(1))
	second := create(ctx, t, baadal.VMCreate{Name: "second"})
	if second.Address == taken {
		t.Errorf("%s was given out while somebody unknown has it", taken)
	}
	node(ctx, t, lab.NAT, "ip", "addr", "del", taken+"/32", "dev", "v10")
	restart()
	eventually(t, 20*time.Second, "the stranger gone", strangers(0))
	third := create(ctx, t, baadal.VMCreate{Name: "third"})
	if third.Address != taken {
		t.Errorf("it has %s, not %s that is free again", third.Address, taken)
	}
	removeAll(ctx, t, []baadal.VM{second, third})
}
