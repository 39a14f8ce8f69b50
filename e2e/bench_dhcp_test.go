package e2e_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"baadal"
	"baadal/internal/lab"
)

// bareDHCP is what somebody does by hand who has changed the file on the box:
// check it, and let the server load it.
var bareDHCP = map[string]string{
	lab.DHCPISC: `dhcpd -t -4 -cf /etc/dhcp/dhcpd.conf 2>/dev/null && /etc/dhcp/restart-dhcpd`,
	lab.DHCPKea: `kea-dhcp4 -t /etc/kea/kea-dhcp4.conf >/dev/null 2>&1 && echo '{"command":"config-reload"}' | nc -U /run/kea/kea4-ctrl-socket`,
}

// benchDHCP measures how long one reservation more takes where there are 20,000,
// from the API call until the server has it, with both servers, against the same
// by hand on the box.
func benchDHCP(ctx context.Context, t *testing.T) []row {
	t.Helper()
	const rounds = 5
	network := func(in baadal.NetworkCreate) {
		t.Helper()
		c, err := cloud.Client.CreateNetwork(ctx, in, baadal.ChangeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cloud.Await(ctx, c.Task, nil); err != nil {
			t.Fatal(err)
		}
	}
	drop := func(name string) {
		t.Helper()
		c, err := cloud.Client.DeleteNetwork(ctx, name, baadal.ChangeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cloud.Await(ctx, c.Task, nil); err != nil {
			t.Fatal(err)
		}
	}
	var rows []row
	network(baadal.NetworkCreate{Name: "Bench", VLAN: 4000, CIDR: "10.64.0.0/17", Gateway: "10.64.0.1", First: "10.64.1.0", Last: "10.64.79.31"})
	for _, kind := range []string{lab.DHCPKea, lab.DHCPISC} {
		useDHCP(ctx, t, kind)
		audit(ctx, t, true) // it has none yet
		r := row{what: "one reservation among 20,000 more, " + kind, rival: "check and load by hand on the box", reach: 1.5}
		for i := range rounds {
			in := baadal.NetworkCreate{Name: "Bench-one", VLAN: 4001, CIDR: "10.65.0.0/24", Gateway: "10.65.0.1", First: fmt.Sprintf("10.65.0.%d", 10+i), Last: fmt.Sprintf("10.65.0.%d", 10+i)}
			begun := time.Now()
			network(in)
			r.ours = append(r.ours, time.Since(begun))
			begun = time.Now()
			node(ctx, t, lab.DHCP, "sh", "-c", bareDHCP[kind])
			r.other = append(r.other, time.Since(begun))
			drop(in.Name)
		}
		rows = append(rows, r)
	}
	drop("Bench")
	return rows
}
