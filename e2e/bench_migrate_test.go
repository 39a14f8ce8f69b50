package e2e_test

import (
	"context"
	"os"
	"testing"
	"time"

	"baadal"
)

// benchMigrate moves one VM there and back, in turns by us and by virsh with a
// key from host to host, and measures how long it took and how long the guest
// did not answer a ping.
func benchMigrate(ctx context.Context, t *testing.T) []row {
	t.Helper()
	total := row{what: "live migration (API call → task done)", rival: "virsh migrate --live --p2p", reach: 1.5}
	gap := row{what: "longest silence of the guest in it", rival: "virsh migrate --live --p2p", reach: 1.2}
	vm := guest(ctx, t, baadal.VMCreate{Name: "bench-mover", Host: "host1"})
	defer remove(ctx, t, vm.UUID)
	key, err := os.ReadFile(theLab.SSHKeyPath())
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []string{"host1", "host2"} {
		file := theLab.NodePath(h, "/root/bench-key")
		if err := os.WriteFile(file, key, 0o600); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(file)
	}
	const rounds = 3
	for range rounds {
		for _, way := range []struct{ from, to, address string }{
			{"host1", "host2", theLab.HostAddress(2)}, {"host2", "host1", theLab.HostAddress(1)},
		} {
			ping, _ := watched(ctx, t, vm, func() {
				begun := time.Now()
				if done := migrate(ctx, t, vm.UUID, baadal.VMMigrate{To: way.to}); done.State != baadal.TaskSuccess {
					t.Fatalf("%s: %s", done.State, done.Message)
				}
				total.ours = append(total.ours, time.Since(begun))
			})
			gap.ours = append(gap.ours, ping)
		}
		for _, way := range []struct{ from, to, address string }{
			{"host1", "host2", theLab.HostAddress(2)}, {"host2", "host1", theLab.HostAddress(1)},
		} {
			node(ctx, t, way.to, "mkdir", "-p", "/run/baadal/"+vm.UUID)
			ping, _ := watched(ctx, t, vm, func() {
				begun := time.Now()
				node(ctx, t, way.from, "virsh", "-q", "migrate", "--live", "--p2p", "--persistent", "--undefinesource", vm.UUID,
					"qemu+ssh://root@"+way.address+"/system?keyfile=/root/bench-key&no_verify=1", "tcp://"+way.address)
				total.other = append(total.other, time.Since(begun))
			})
			gap.other = append(gap.other, ping)
		}
	}
	node(ctx, t, "host2", "rm", "-rf", "/run/baadal/"+vm.UUID)
	return []row{total, gap}
}
