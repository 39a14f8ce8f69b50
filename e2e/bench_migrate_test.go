package e2e_test

import (
	"context"
	"os"
	"testing"
	"time"

	"baadal"
)

// benchMigrate moves one VM that writes to its memory there and back, in turns by
// us and by virsh with a key from host to host, and measures how long it took,
// how long the guest did not answer a ping, and how long a TCP connection to it
// that is kept was silent.
func benchMigrate(ctx context.Context, t *testing.T) []row {
	t.Helper()
	total := row{what: "live migration (API call → task done)", rival: "virsh migrate --live --p2p", reach: 1.5}
	tcp := row{what: "longest silence of a TCP connection in it", rival: "virsh migrate --live --p2p", reach: 1.2}
	gap := row{what: "longest silence of the guest in it", rival: "virsh migrate --live --p2p", reach: 1.2}
	vm := guest(ctx, t, baadal.VMCreate{Name: "bench-mover", Host: "host1"})
	defer remove(ctx, t, vm.UUID)
	ssh(ctx, t, vm, "(while :; do dd if=/dev/zero of=/run/load bs=64k count=64; done) >/dev/null 2>&1 &") // it writes to its memory all the time
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
			ping, ticks := watched(ctx, t, vm, func() {
				begun := time.Now()
				if done := migrate(ctx, t, vm.UUID, baadal.VMMigrate{To: way.to}); done.State != baadal.TaskSuccess {
					t.Fatalf("%s: %s", done.State, done.Message)
				}
				total.ours = append(total.ours, time.Since(begun))
			})
			gap.ours, tcp.ours = append(gap.ours, ping), append(tcp.ours, ticks)
		}
		for _, way := range []struct{ from, to, address string }{
			{"host1", "host2", theLab.HostAddress(2)}, {"host2", "host1", theLab.HostAddress(1)},
		} {
			node(ctx, t, way.to, "mkdir", "-p", "/run/baadal/"+vm.UUID)
			ping, ticks := watched(ctx, t, vm, func() {
				begun := time.Now()
				node(ctx, t, way.from, "virsh", "-q", "migrate", "--live", "--p2p", "--persistent", "--undefinesource", vm.UUID,
					"qemu+ssh://root@"+way.address+"/system?keyfile=/root/bench-key&no_verify=1", "tcp://"+way.address)
				total.other = append(total.other, time.Since(begun))
			})
			gap.other, tcp.other = append(gap.other, ping), append(tcp.other, ticks)
		}
	}
	node(ctx, t, "host2", "rm", "-rf", "/run/baadal/"+vm.UUID)
	return []row{total, gap, tcp}
}
