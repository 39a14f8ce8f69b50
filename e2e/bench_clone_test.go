package e2e_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"baadal"
)

// TestBenchClones is that row of TestBench by itself.
func TestBenchClones(t *testing.T) {
	if os.Getenv("BAADAL_BENCH") == "" {
		t.Skip("a measurement: make bench")
	}
	printTable(benchClones(begin(t), t))
}

// benchClones measures sixty linked clones of a VM that is off on three hosts,
// from the call to the end, beside the same made by hand: an overlay and a
// definition for each, on all hosts at once.
func benchClones(ctx context.Context, t *testing.T) row {
	t.Helper()
	const n = 60
	r := row{what: "60 linked clones on three hosts", rival: "qemu-img create + virsh define, hosts in parallel", reach: 1.1}
	ratio := func(value string) { // the lab's hosts have two CPUs
		if _, err := cloud.Client.UpdateSetting(ctx, baadal.SettingCPURatio, value, baadal.ChangeOptions{}); err != nil {
			t.Error(err)
		}
	}
	ratio("32")
	defer ratio("2")
	parent := create(ctx, t, baadal.VMCreate{Name: "bench-parent"})
	destroyVM(ctx, t, parent.UUID)
	begun := time.Now()
	clones := clone(ctx, t, parent.UUID, baadal.VMClone{Count: n, Name: "bench-clone"})
	r.ours = append(r.ours, time.Since(begun))
	r.other = append(r.other, benchBareClones(ctx, t, n/3))
	removeAll(ctx, t, append(clones, parent))
	return r
}

// benchBareClones makes overlays on the template and defines domains on them.
func benchBareClones(ctx context.Context, t *testing.T, perHost int) time.Duration {
	t.Helper()
	const script = `set -e
for i in $(seq 1 $1); do
	name=bare-$2-$i; disk=/mnt/datastore/$name.qcow2
	qemu-img create -q -f qcow2 -b $3 -F qcow2 $disk
	echo "<domain type='qemu'><name>$name</name><memory unit='MiB'>128</memory><vcpu>1</vcpu><os><type>hvm</type></os><devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='$disk'/><target dev='vda' bus='virtio'/></disk><interface type='network'><source network='ovs-net' portgroup='vlan10'/></interface></devices></domain>" >/root/$name.xml
	virsh -q define /root/$name.xml
done`
	const clean = `for i in $(seq 1 $1); do virsh -q undefine bare-$2-$i; rm -f /root/bare-$2-$i.xml /mnt/datastore/bare-$2-$i.qcow2; done`
	file, count := templateFile(ctx, t), fmt.Sprint(perHost)
	hosts := []string{"host1", "host2", "host3"}
	each := func(script string) {
		var wg sync.WaitGroup
		for _, h := range hosts {
			wg.Go(func() {
				if out, err := theLab.Command(ctx, h, "sh", "-c", script, "bench", count, h, file).CombinedOutput(); err != nil {
					t.Errorf("%s: %v: %s", h, err, strings.TrimSpace(string(out)))
				}
			})
		}
		wg.Wait()
	}
	begun := time.Now()
	each(script)
	took := time.Since(begun)
	each(clean)
	return took
}
