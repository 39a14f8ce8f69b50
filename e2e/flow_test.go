package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/lab"
)

// spoofer is a guest that tries to be another, with the neighbour it wants to be
// and somebody whom it wants to reach.
type spoofer struct{ guest, neighbour, target baadal.VM }

// asAddress asks for the target with the neighbour's IP address: it is told
// only to who really sent.
func (s spoofer) asAddress(ctx context.Context, t *testing.T) bool {
	t.Helper()
	return answers(t, ssh(ctx, t, s.guest, fmt.Sprintf("ip addr add %[1]s/32 dev eth0; arping -f -c 2 -w 2 -I eth0 -s %[1]s %[2]s 2>&1; ip addr del %[1]s/32 dev eth0",
		s.neighbour.Address, s.target.Address)))
}

// asMAC does it with its own IP address and the neighbour's MAC. It takes its own
// again: until then nobody can sign in.
func (s spoofer) asMAC(ctx context.Context, t *testing.T) bool {
	t.Helper()
	ssh(ctx, t, s.guest, fmt.Sprintf(`rm -f /root/r; (sleep 0.3; ip link set eth0 address %s; arping -f -c 2 -w 2 -I eth0 %s >/root/s 2>&1; ip link set eth0 address %s; mv /root/s /root/r) >/dev/null 2>&1 &`,
		s.neighbour.MAC, s.target.Address, s.guest.MAC))
	return answers(t, ssh(ctx, t, s.guest, "while [ ! -e /root/r ]; do sleep 0.2; done; cat /root/r"))
}

// answers tells whether arping was answered.
func answers(t *testing.T, said string) bool {
	t.Helper()
	yes := strings.Contains(said, "eply from")
	if !yes && !strings.Contains(said, "Sent ") {
		t.Errorf("arping says %q", said)
	}
	return yes
}

// asDHCP serves addresses, and returns what the target gets, and from whom. The
// true server is silent, until the controller finds that out and starts it again.
func (s spoofer) asDHCP(ctx context.Context, t *testing.T) string {
	t.Helper()
	ssh(ctx, t, s.guest, `mkdir -p /var/lib/misc; : >/var/lib/misc/udhcpd.leases
printf 'start 192.168.10.240\nend 192.168.10.250\ninterface eth0\noption subnet 255.255.255.0\n' >/root/udhcpd.conf
udhcpd /root/udhcpd.conf; true`)
	defer ssh(ctx, t, s.guest, "killall udhcpd; true")
	node(ctx, t, lab.DHCP, "sh", "-c", `kill "$(cat /run/dhcpd.pid)" || true; sleep 0.2`)
	defer node(ctx, t, lab.DHCP, "/etc/dhcp/restart-dhcpd")
	return ssh(ctx, t, s.target, `printf '#!/bin/sh\necho "$1 $serverid"\n' >/root/got; chmod +x /root/got; udhcpc -f -i eth0 -n -q -t 3 -T 1 -s /root/got 2>/dev/null; true`)
}

// rulesOf waits until a host has the rules of a VM, and nobody may do without.
func rulesOf(ctx context.Context, t *testing.T, host string, vm baadal.VM) {
	t.Helper()
	eventually(t, 20*time.Second, host+" has the rules of "+vm.Name, func() error {
		out, err := theLab.Command(ctx, host, "ovs-ofctl", "-OOpenFlow14", "--no-stats", "dump-flows", lab.HostBridge).CombinedOutput()
		if err == nil && !strings.Contains(string(out), "nw_src="+vm.Address) {
			err = errors.New("they are not there")
		}
		return err
	})
}

func antiSpoofing(ctx context.Context, t *testing.T, on string) {
	t.Helper()
	if _, err := cloud.Client.UpdateSetting(ctx, baadal.SettingAntiSpoofing, on, baadal.ChangeOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestNobodyElse: a VM is who it says it is, before and after a live migration,
// and after a crash of the switch.
func TestNobodyElse(t *testing.T) {
	ctx := begin(t)
	var s spoofer
	s.guest = guest(ctx, t, baadal.VMCreate{Name: "spoofer", Host: "host1"})
	s.neighbour = guest(ctx, t, baadal.VMCreate{Name: "neighbour", Host: "host1"})
	s.target = guest(ctx, t, baadal.VMCreate{Name: "target", Host: "host2"})
	defer func() {
		for _, vm := range []baadal.VM{s.guest, s.neighbour, s.target} {
			remove(ctx, t, vm.UUID)
		}
	}()
	// Without rules all of it works: the test would see it.
	antiSpoofing(ctx, t, "false")
	defer antiSpoofing(ctx, t, "true")
	for _, h := range []string{"host1", "host2"} {
		eventually(t, 10*time.Second, h+" has no rules", func() error {
			if out := node(ctx, t, h, "ovs-ofctl", "-OOpenFlow14", "--no-stats", "dump-flows", lab.HostBridge); strings.Contains(out, "drop") {
				return errors.New(out)
			}
			return nil
		})
	}
	if address, mac := s.asAddress(ctx, t), s.asMAC(ctx, t); !address || !mac {
		t.Errorf("without rules a guest reaches another with its neighbour's address: %t, MAC: %t; the test sees nothing", address, mac)
	}
	if got := s.asDHCP(ctx, t); !strings.Contains(got, "bound "+s.guest.Address) {
		t.Errorf("without rules a guest's DHCP server did not serve either: %q", got)
	}
	if found := audit(ctx, t, false).Differences; len(found) != 1 || found[0].Kind != baadal.DiffFlowsOff {
		t.Errorf("the audit of a cloud without rules says %+v", found)
	}
	antiSpoofing(ctx, t, "true")
	rulesOf(ctx, t, "host1", s.guest)
	rulesOf(ctx, t, "host2", s.target)
	check := func(when string) {
		t.Helper()
		if ssh(ctx, t, s.guest, "ping -c 2 -W 2 "+s.target.Address+" >/dev/null && ping -c 2 -W 2 "+s.neighbour.Address+" >/dev/null && echo yes") != "yes" {
			t.Errorf("%s: it does not reach its neighbours as itself", when)
		}
		if s.asAddress(ctx, t) {
			t.Errorf("%s: a guest reaches another with its neighbour's address", when)
		}
		if s.asMAC(ctx, t) {
			t.Errorf("%s: a guest reaches another with its neighbour's MAC", when)
		}
	}
	check("at first")
	if got := s.asDHCP(ctx, t); strings.Contains(got, "bound "+s.guest.Address) {
		t.Errorf("a guest's DHCP server serves: %q", got)
	}
	if done := migrate(ctx, t, s.guest.UUID, baadal.VMMigrate{To: "host3"}); done.State != baadal.TaskSuccess {
		t.Fatalf("%+v", done)
	}
	check("after a live migration")

	const crash = `kill -9 "$(cat /run/openvswitch/ovs-vswitchd.pid)"; sleep 0.5
exec ovs-vswitchd unix:/run/openvswitch/db.sock --pidfile --detach --log-file=/var/log/openvswitch/ovs-vswitchd.log -vconsole:off`
	node(ctx, t, "host3", "sh", "-c", crash)
	begun := time.Now()
	rulesOf(ctx, t, "host3", s.guest)
	fmt.Printf("rules are back %s after a crashed ovs-vswitchd was started\n", time.Since(begun).Round(10*time.Millisecond))
	check("after a crash of the switch")
	if h, err := cloud.Client.CheckHost(ctx, "host3", baadal.ChangeOptions{}); err != nil {
		t.Error(err)
	} else if done, err := cloud.Await(ctx, h.Task, nil); err != nil {
		t.Errorf("%+v: %v", done, err)
	}
}
