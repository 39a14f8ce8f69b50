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

// announce makes the router of VLAN 10 announce an IPv6 prefix until the test
// ends.
func announce(ctx context.Context, t *testing.T, prefix string) {
	t.Helper()
	node(ctx, t, lab.NAT, "sh", "-ec", `cd /proc/sys/net/ipv6/conf/v10
echo 0 >accept_dad
echo 0 >disable_ipv6
ip -6 addr add "$1::1/64" dev v10
exec dnsmasq --conf-file=/dev/null --port=0 --user=root --interface=v10 --bind-interfaces --enable-ra "--dhcp-range=$1::,ra-only" \
	--ra-param=v10,4,0 --dhcp-leasefile=/run/ra.leases --pid-file=/run/ra.pid`, "sh", prefix)
	t.Cleanup(func() {
		node(context.WithoutCancel(ctx), t, lab.NAT, "sh", "-ec", `kill "$(cat /run/ra.pid)"; echo 1 >/proc/sys/net/ipv6/conf/v10/disable_ipv6`)
	})
}

// reachesSix reports whether a guest reaches an IPv6 address; as is the address that
// it uses, its own one if it is empty.
func reachesSix(ctx context.Context, t *testing.T, from baadal.VM, to, as string) bool {
	t.Helper()
	if as != "" {
		as = "-I " + as + " "
	}
	return ssh(ctx, t, from, "ping6 -c 2 -W 1 "+as+to+" >/dev/null 2>&1 && echo yes || echo no") == "yes"
}

// sixNamed is nil once the name server knows a name by this IPv6 address, and by
// no other, and the way back; by none if it is empty.
func sixNamed(ctx context.Context, name, address string) error {
	got, err := nameServer.LookupNetIP(ctx, "ip6", name+".")
	want := []string{}
	if address != "" {
		want = append(want, address)
		if names, back := nameServer.LookupAddr(ctx, address); !slices.Equal(names, []string{name + "."}) {
			return fmt.Errorf("%s is %q: %w", address, names, back)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		return fmt.Errorf("%s is at %v, not %v: %w", name, got, want, err)
	}
	return nil
}

// TestIPv6: guests make their addresses of what the network's router announces;
// they are what the API shows, and no others are heard.
func TestIPv6(t *testing.T) {
	ctx := begin(t)
	const prefix = "fd00:ba:ada1:10"
	give := func(p string) error {
		_, err := cloud.Client.EditNetwork(ctx, "Research", baadal.NetworkEdit{IPv6Prefix: &p}, baadal.ChangeOptions{})
		return err
	}
	t.Cleanup(func() { _ = give("") })
	announce(ctx, t, prefix)
	vms := guests(ctx, t, baadal.VMCreate{Name: "six", Host: "host1", Network: "Research"}, baadal.VMCreate{Name: "half-dozen", Host: "host2", Network: "Research"})
	has := func(vm baadal.VM, address string) func() error {
		return func() error {
			if got := ssh(ctx, t, vm, "ip -6 -o addr show dev eth0"); !strings.Contains(got, " "+address+"/64") {
				return fmt.Errorf("it has %q, not %s", got, address)
			}
			return nil
		}
	}
	for _, vm := range vms {
		eventually(t, 30*time.Second, vm.Name+" heard the router", has(vm, baadal.IPv6Address(prefix+"::/64", vm.MAC)))
	}
	if reachesSix(ctx, t, vms[0], baadal.IPv6Address(prefix+"::/64", vms[1].MAC), "") {
		t.Error("the network has no prefix, and guests use one")
	}
	if err := give(prefix + "::/64"); err != nil {
		t.Fatal(err)
	}
	for i := range vms {
		var err error
		if vms[i], err = cloud.Client.VM(ctx, vms[i].UUID); err != nil || vms[i].IPv6 == "" || vms[i].NICs[0].IPv6 != vms[i].IPv6 {
			t.Fatalf("%+v, %v", vms[i], err)
		}
		if err := has(vms[i], vms[i].IPv6)(); err != nil {
			t.Error(err)
		}
	}
	six, other := vms[0], vms[1]
	wanted := func(want bool, to, as string) func() error {
		return func() error {
			if got := reachesSix(ctx, t, six, to, as); got != want {
				return fmt.Errorf("%s reaches %s: %t", as, to, got)
			}
			return nil
		}
	}
	eventually(t, 20*time.Second, "one reached the other", wanted(true, other.IPv6, ""))
	eventually(t, soon, "named", func() error { return sixNamed(ctx, "six.admin."+lab.Domain, six.IPv6) })

	// Another address of the prefix: without rules it is heard, else the test would see nothing.
	const wrong = prefix + "::bad"
	ssh(ctx, t, six, "ip -6 addr add "+wrong+"/64 dev eth0; sleep 3")
	antiSpoofing(ctx, t, "false")
	defer antiSpoofing(ctx, t, "true")
	eventually(t, 20*time.Second, "heard with a wrong address", wanted(true, other.IPv6, wrong))
	antiSpoofing(ctx, t, "true")
	rulesOf(ctx, t, "host1", six)
	if reachesSix(ctx, t, six, other.IPv6, wrong) {
		t.Error("a guest reaches another with an address that is not its own")
	}
	if reachesSix(ctx, t, other, wrong, "") {
		t.Error("a guest is reached at an address that is not its own")
	}
	if !reachesSix(ctx, t, six, other.IPv6, six.IPv6) {
		t.Error("a guest does not reach another with its own address")
	}
	cleanAudit(ctx, t)
	if err := give(""); err != nil {
		t.Fatal(err)
	}
	eventually(t, soon, "its name forgotten", func() error { return sixNamed(ctx, "six.admin."+lab.Domain, "") })
	eventually(t, 20*time.Second, "silent without the prefix", wanted(false, other.IPv6, ""))
	removeAll(ctx, t, vms)
}
