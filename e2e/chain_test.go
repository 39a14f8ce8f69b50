package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"baadal"
)

// chainFiles lists what a file on the datastore stands on, itself first.
func chainFiles(ctx context.Context, t *testing.T, host, file string) (names []string) {
	t.Helper()
	var all []struct {
		File string `json:"filename"`
	}
	if err := json.Unmarshal([]byte(node(ctx, t, host, "qemu-img", "info", "-U", "--backing-chain", "--output=json", file)), &all); err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		names = append(names, f.File)
	}
	return names
}

// diskChains lists what each of a VM's disks stands on, by target.
func diskChains(ctx context.Context, t *testing.T, vm baadal.VM) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for line := range strings.Lines(node(ctx, t, vm.Host, "virsh", "-q", "domblklist", "--inactive", vm.UUID)) {
		if f := strings.Fields(line); len(f) == 2 && strings.HasSuffix(f[1], ".qcow2") {
			all[f[0]] = chainFiles(ctx, t, vm.Host, f[1])
		}
	}
	return all
}

// baseFolders counts the folders of vm_bases.
func baseFolders(ctx context.Context, t *testing.T) int {
	t.Helper()
	return len(strings.Fields(node(ctx, t, "host1", "ls", "/mnt/datastore/vm_bases")))
}

// TestCloneAndFlatten clones a running VM with an extra disk again and again:
// each clone has both disks as they were at one moment, and nobody sees what the
// others write. Then the VM, while it runs, and a clone that is off, are
// flattened: they hold what they held, on the template alone, and the bases go.
func TestCloneAndFlatten(t *testing.T) {
	ctx := begin(t)
	before := baseFolders(ctx, t)
	shortRetention(ctx, t)
	vm := guest(ctx, t, baadal.VMCreate{Name: "chain"})
	add, err := cloud.Client.AddDisk(ctx, vm.UUID, baadal.DiskAdd{SizeGiB: 1}, baadal.ChangeOptions{})
	diskTask(ctx, t, add, err)
	// The same number goes to both disks, over and over: a clone that froze them at
	// two moments would tell.
	ssh(ctx, t, vm, `(n=0; while [ ! -e /root/stop ]; do n=$((n+1)); echo $n >/root/n; sync; printf '%-16s' $n | dd of=/dev/vdb conv=notrunc,fsync 2>/dev/null; done) >/dev/null 2>&1 &`)
	time.Sleep(time.Second)
	first := clone(ctx, t, vm.UUID, baadal.VMClone{Name: "chain-a", Start: true})[0]
	bare := clone(ctx, t, vm.UUID, baadal.VMClone{Name: "chain-b", WithoutDisks: true})[0]
	ssh(ctx, t, vm, "touch /root/stop; sleep 0.3; echo late >/root/late; sync")
	second := clone(ctx, t, vm.UUID, baadal.VMClone{Name: "chain-c"})[0]

	first = answered(ctx, t, first.UUID)
	var a, b int
	if _, err := fmt.Sscan(ssh(ctx, t, first, "cat /root/n; dd if=/dev/vdb bs=16 count=1 2>/dev/null; ls /root/late 2>/dev/null | wc -l"), &a, &b); err != nil || a < b || a > b+1 {
		t.Errorf("the clone's first disk is at %d, its second at %d: %v", a, b, err)
	}
	t.Logf("frozen at %d and %d", a, b)
	if got := diskChains(ctx, t, bare); len(got) != 1 {
		t.Errorf("without disks it has %v", got)
	}
	if got := diskChains(ctx, t, vm); len(got["vda"]) != 5 || len(got["vdb"]) != 3 {
		t.Errorf("before: %v", got)
	}
	cleanAudit(ctx, t)

	sum := ssh(ctx, t, vm, "cat /root/n /root/late; dd if=/dev/vdb bs=1M count=4 2>/dev/null | md5sum")
	ssh(ctx, t, first, "echo mine >/root/mine; sync")
	flatten(ctx, t, vm.UUID)
	flatten(ctx, t, second.UUID)
	for _, v := range []baadal.VM{vm, second} {
		if got := diskChains(ctx, t, v); len(got["vda"]) != 2 || !strings.Contains(got["vda"][1], "/vm_templates/") || len(got["vdb"]) != 1 {
			t.Errorf("flattened, %s stands on %v", v.Name, got)
		}
	}
	if got := strings.SplitN(ssh(ctx, t, vm, "cat /root/n /root/late; echo; dd if=/dev/vdb bs=1M count=4 2>/dev/null | md5sum"), "\n\n", 2); len(got) != 2 || !strings.HasPrefix(sum, got[0]) || !strings.HasSuffix(sum, got[1]) {
		t.Errorf("flattened it says %q, before %q", got, sum)
	}
	cold(ctx, t, vm.UUID)
	startVM(ctx, t, second.UUID)
	for _, v := range []baadal.VM{vm, second} {
		if got := ssh(ctx, t, answered(ctx, t, v.UUID), "cat /root/late; dd if=/dev/vdb bs=16 count=1 2>/dev/null"); strings.Join(strings.Fields(got), " ") != "late "+strings.Fields(sum)[0] {
			t.Errorf("%s says %q, want %q", v.Name, got, sum)
		}
	}
	cleanAudit(ctx, t)
	for _, v := range []baadal.VM{bare, first, vm, second} {
		remove(ctx, t, v.UUID)
	}
	purge(ctx, t, bare, first, vm, second)
	eventually(t, time.Minute, "without bases of ours", func() error {
		if n := baseFolders(ctx, t); n > before {
			return fmt.Errorf("%d bases, %d before", n, before)
		}
		return nil
	})
}

func flatten(ctx context.Context, t *testing.T, ref string) {
	t.Helper()
	c, err := cloud.Client.FlattenVM(ctx, ref, baadal.VMFlatten{BandwidthMiBs: 200}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	done, err := cloud.Await(ctx, c.Task, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %s in %s", ref, done.Message, done.EndedAt.Sub(done.CreatedAt).Round(time.Millisecond))
}

// TestSixtyClones makes sixty clones of a VM on three hosts, starts the first
// fifteen, and asks each who it is.
func TestSixtyClones(t *testing.T) {
	ctx := begin(t)
	set := func(value string) { // the lab's hosts have two CPUs
		if _, err := cloud.Client.UpdateSetting(ctx, baadal.SettingCPURatio, value, baadal.ChangeOptions{}); err != nil {
			t.Error(err)
		}
	}
	set("32")
	defer set("2")
	parent := guest(ctx, t, baadal.VMCreate{Name: "sixty-parent", RAMMiB: 96})
	ssh(ctx, t, parent, "echo seen >/root/seen; sync")
	destroyVM(ctx, t, parent.UUID)
	shortRetention(ctx, t)
	clones := clone(ctx, t, parent.UUID, baadal.VMClone{Count: 60, Name: "sixty"})
	defer func() {
		all := append(clones, parent)
		removeAll(ctx, t, all)
		purge(ctx, t, all...)
	}()
	unique, hosts := map[string]string{}, map[string]int{}
	for _, vm := range clones {
		hosts[vm.Host]++
		for _, id := range []string{vm.UUID, vm.MAC, vm.Address, vm.Name, fmt.Sprint("port ", vm.VNCPort)} {
			if other := unique[id]; other != "" || id == "" {
				t.Errorf("%s and %s are both %q", vm.Name, other, id)
			}
			unique[id] = vm.Name
		}
	}
	if len(clones) != 60 || len(hosts) != 3 || hosts["host1"] < 10 || hosts["host2"] < 10 || hosts["host3"] < 10 {
		t.Errorf("%d clones on %v", len(clones), hosts)
	}
	for host, n := range hosts {
		defined := virsh(ctx, t, host)
		for _, vm := range clones {
			if vm.Host == host && defined[vm.UUID] != "shut off" {
				t.Errorf("%s is %q on %s", vm.Name, defined[vm.UUID], host)
			}
		}
		t.Logf("%s: %d clones", host, n)
	}
	for line := range strings.Lines(node(ctx, t, "host1", "sh", "-c", "du -k /mnt/datastore/vm_images/*_sixty[0-9]*/*.qcow2")) {
		var kib int
		if _, err := fmt.Sscan(line, &kib); err != nil || kib > 512 {
			t.Errorf("not thin: %s", line)
		}
	}
	begun := time.Now()
	c := make([]baadal.Change[baadal.VM], 15)
	for i, vm := range clones[:15] {
		var err error
		if c[i], err = cloud.Client.StartVM(ctx, vm.UUID, baadal.ChangeOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	names := map[string]bool{}
	for i, vm := range clones[:15] {
		if _, err := cloud.Await(ctx, c[i].Task, nil); err != nil {
			t.Fatal(err)
		}
		vm = answered(ctx, t, vm.UUID)
		got := strings.Fields(ssh(ctx, t, vm, "hostname; cat /root/seen; ip -4 -o addr show eth0"))
		if len(got) < 6 || got[0] != vm.Name || names[got[0]] || got[1] != "seen" || !strings.HasPrefix(got[5], vm.Address+"/") {
			t.Errorf("%s (%s) says %v", vm.Name, vm.Address, got)
		}
		names[got[0]] = true
	}
	t.Logf("fifteen answered %s after they were started", time.Since(begun).Round(100*time.Millisecond))
}

// removeAll deletes VMs, all at once.
func removeAll(ctx context.Context, t *testing.T, vms []baadal.VM) {
	t.Helper()
	var tasks []*baadal.Task
	for _, vm := range vms {
		c, err := cloud.Client.DeleteVM(ctx, vm.UUID, baadal.ChangeOptions{})
		if err != nil {
			t.Errorf("delete %s: %v", vm.Name, err)
			continue
		}
		tasks = append(tasks, c.Task)
	}
	for _, k := range tasks {
		if _, err := cloud.Await(ctx, k, nil); err != nil {
			t.Error(err)
		}
	}
}
