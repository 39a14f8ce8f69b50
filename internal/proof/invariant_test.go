package proof_test

import (
	"context"
	"fmt"
	"path"
	"slices"
	"testing"
	"time"

	"baadal"
	"baadal/internal/store"
)

// whole complains about everything that must not be while nothing is at work
// and every host answers: what the store says, what the world is, and whether
// there is a way on from here.
func (c *cloud) whole(tb testing.TB, left ...string) {
	tb.Helper()
	for _, bad := range c.world.Check() {
		tb.Errorf("world: %s", bad)
	}
	c.cleanAudit(tb, left...)
	b := c.book(tb)
	c.claimsAreRows(tb, b)
	c.basesAreCounted(tb, b)
	for _, vm := range b.VMs {
		c.vmIsWhole(tb, b, vm)
	}
}

// claimsAreRows adds up what every VM has and compares it with what counts as
// taken, and that with the limits.
func (c *cloud) claimsAreRows(tb testing.TB, b book) {
	tb.Helper()
	const ratio, diskRatio = 2, 4 // the settings' defaults
	sums := map[int64]baadal.Size{}
	disks := map[int64]int64{}
	addresses, ports, macs := map[int64]string{}, map[int]string{}, map[string]string{}
	networks := map[string]string{}
	for _, a := range b.Addresses {
		in := fmt.Sprintf("vm %d in network %d", a.VMID, a.NetworkID)
		if a.NIC < 0 || networks[in] != "" {
			tb.Errorf("%s has %s on NIC %d beside %q", in, a.IP, a.NIC, networks[in])
		}
		if macs[a.MAC] != "" {
			tb.Errorf("%s has the MAC %s of %s", a.IP, a.MAC, macs[a.MAC])
		}
		networks[in], macs[a.MAC] = a.IP, a.IP
		if a.NIC == 0 {
			addresses[a.VMID] = a.IP
		}
	}
	for _, vm := range b.VMs {
		disks[vm.DatastoreID] += int64(vm.DiskGiB)
		if vm.State == baadal.VMDeleted {
			if vm.HostID != 0 || vm.Address != "" || addresses[vm.ID] != "" || vm.VNCPort != 0 {
				tb.Errorf("%s is deleted and has host %q, address %q, port %d", vm.Name, vm.Host, vm.Address, vm.VNCPort)
			}
			continue
		}
		s, claim := sums[vm.HostID], vm.Claim()
		sums[vm.HostID] = baadal.Size{VCPUs: s.VCPUs + claim.VCPUs, RAMMiB: s.RAMMiB + claim.RAMMiB}
		if vm.Address == "" || vm.Address != addresses[vm.ID] || vm.MAC == "" || vm.VNCPort == 0 {
			tb.Errorf("%s has address %q (claimed: %q), MAC %q, port %d", vm.Name, vm.Address, addresses[vm.ID], vm.MAC, vm.VNCPort)
		}
		if ports[vm.VNCPort] != "" || macs[vm.MAC] != vm.Address {
			tb.Errorf("%s shares port %d with %q, or has not its address's MAC %s", vm.Name, vm.VNCPort, ports[vm.VNCPort], vm.MAC)
		}
		ports[vm.VNCPort] = vm.Name
		delete(addresses, vm.ID)
	}
	for id, ip := range addresses {
		tb.Errorf("%s is claimed by vm %d, which is not there", ip, id)
	}
	for _, h := range b.Hosts {
		if s := sums[h.ID]; s.VCPUs != h.ClaimedVCPUs || s.RAMMiB != h.ClaimedRAMMiB || s.VCPUs > ratio*h.CPUs || s.RAMMiB > ratio*h.RAMMiB {
			tb.Errorf("%s carries %+v, counts %d vCPUs and %d MiB, and may carry %d and %d", h.Name, s, h.ClaimedVCPUs, h.ClaimedRAMMiB, ratio*h.CPUs, ratio*h.RAMMiB)
		}
	}
	for _, k := range b.Disks {
		disks[k.DatastoreID] += int64(k.SizeGiB)
	}
	for _, base := range b.Bases {
		disks[base.DatastoreID] += int64(base.SizeGiB)
	}
	for _, d := range b.Datastores {
		files := int64(0)
		for _, t := range b.Templates {
			if t.DatastoreID == d.ID {
				files += t.FileSize
			}
		}
		if sum := disks[d.ID]<<30 + files; d.Claimed < sum || d.Claimed > diskRatio*d.Capacity {
			tb.Errorf("on %s %d bytes are claimed; its disks have %d, and it may carry %d", d.Name, d.Claimed, sum, diskRatio*d.Capacity)
		}
	}
}

// basesAreCounted counts who stands on each base.
func (c *cloud) basesAreCounted(tb testing.TB, b book) {
	tb.Helper()
	for _, base := range b.Bases {
		n := 0
		for _, vm := range b.VMs {
			if vm.BaseID == base.ID {
				n++
			}
		}
		for _, k := range b.Disks {
			if k.BaseID == base.ID {
				n++
			}
		}
		for _, other := range b.Bases {
			if other.ParentID == base.ID {
				n++
			}
		}
		if n == base.Standing && n == 0 && c.failedToRemove(tb, base) {
			continue
		}
		if n != base.Standing || n == 0 || base.State != baadal.BaseReady {
			tb.Errorf("base %d of %s is %s, %d stand on it and %d are counted: it should be ready, or gone", base.ID, base.Origin, base.State, n, base.Standing)
		}
	}
}

// failedToRemove reports whether the removal of a base failed: it is asked for
// again after a while.
func (c *cloud) failedToRemove(tb testing.TB, base baadal.Base) (failed bool) {
	tb.Helper()
	c.view(tb, func(tx *store.Tx) error {
		last, err := tx.LastTask(baadal.Subject{Kind: "base", ID: base.ID}, baadal.TaskBaseRemove)
		failed = !last.IsZero()
		return err
	})
	return failed
}

// vmIsWhole looks at one VM from all sides.
func (c *cloud) vmIsWhole(tb testing.TB, b book, vm baadal.VM) {
	tb.Helper()
	ctx := context.Background()
	if vm.Task != nil {
		tb.Errorf("%s is held by task %d (%s), and nothing is at work", vm.Name, vm.Task.ID, vm.Task.Kind)
	}
	if vm.State == baadal.VMInQueue || vm.State == baadal.VMUnknown || vm.State == baadal.VMMissing {
		tb.Errorf("%s stays %s: %s", vm.Name, vm.State, vm.Reason)
	}
	// There is always a way on: it can be deleted, or restored.
	way := baadal.ActionVMDelete
	if vm.State == baadal.VMDeleted {
		way = baadal.ActionVMRestore
	}
	_, err := c.ActVM(ctx, c.asha, way, fmt.Sprint(vm.ID), baadal.ChangeOptions{DryRun: true})
	if err != nil && baadal.KindOf(err) != baadal.Exhausted && baadal.CodeOf(err) != "exists" { // room and names come back
		tb.Errorf("%s is %s, and %s is refused: %v", vm.Name, vm.State, way, err)
	}
	for _, s := range b.Snapshots[vm.ID] {
		if !s.Ready {
			tb.Errorf("snapshot %s of %s stays unfinished", s.Name, vm.Name)
		}
	}
	for _, k := range b.Disks {
		if k.VMID == vm.ID && k.State == baadal.DiskCreating {
			tb.Errorf("disk %s of %s stays unfinished", k.Name, vm.Name)
		}
	}
	for _, h := range b.Hosts {
		info, err := c.sys.Hypervisor.Domain(ctx, h, vm.UUID)
		switch {
		case baadal.KindOf(err) == baadal.NotFound:
			if h.ID == vm.HostID && vm.State != baadal.VMDeleted {
				tb.Errorf("%s is %s on %s, which does not know it", vm.Name, vm.State, h.Name)
			}
		case err != nil:
			tb.Errorf("%s on %s: %v", vm.Name, h.Name, err)
		case h.ID != vm.HostID || vm.State == baadal.VMDeleted:
			tb.Errorf("%s is %s on %q, and %s has a domain of it that is %s", vm.Name, vm.State, vm.Host, h.Name, info.State)
		default:
			c.machineIsWhole(tb, b, vm, h, info)
		}
	}
}

// machineIsWhole compares a VM with its domain.
func (c *cloud) machineIsWhole(tb testing.TB, b book, vm baadal.VM, h baadal.Host, info baadal.DomainInfo) {
	tb.Helper()
	ctx := context.Background()
	if info.State != vm.State || info.Saved != vm.Saved() || !info.Persistent {
		tb.Errorf("%s is %s (saved %t) in the store; on %s it is %s (saved %t, persistent %t)", vm.Name, vm.State, vm.Saved(), h.Name, info.State, info.Saved, info.Persistent)
	}
	if info.State != baadal.VMOff && info.State != baadal.VMCrashed && (info.VCPUs > vm.Claim().VCPUs || info.RAMMiB > vm.Claim().RAMMiB) {
		tb.Errorf("%s runs with %d vCPUs and %d MiB, and claims %+v", vm.Name, info.VCPUs, info.RAMMiB, vm.Claim())
	}
	nics, err := c.sys.NICPlugs.NICs(ctx, h, vm.UUID)
	must(tb, err)
	macs := map[string]bool{}
	for _, a := range b.Addresses {
		if a.VMID == vm.ID {
			macs[a.MAC] = true
		}
	}
	for _, n := range nics {
		if !macs[n.MAC] && !n.Down { // a paused guest cannot let go of what a revert brought back
			tb.Errorf("%s has a NIC %s on %s that the store does not know", vm.Name, n.MAC, h.Name)
		}
		delete(macs, n.MAC)
	}
	for mac := range macs {
		tb.Errorf("%s has no NIC %s on %s", vm.Name, mac, h.Name)
	}
	targets, err := c.sys.DiskPlugs.Targets(ctx, h, vm.UUID)
	must(tb, err)
	for _, f := range c.filesOf(tb, b, vm) {
		image, err := c.sys.Sizer.DiskInfo(ctx, h, f.DiskFile)
		if err != nil {
			tb.Errorf("%s of %s: %v", f.Path(), vm.Name, err)
		} else if image.VirtualSize != int64(f.gib)<<30 {
			tb.Errorf("%s of %s has %d bytes, and should have %d GiB", f.Path(), vm.Name, image.VirtualSize, f.gib)
		}
		if f.target == "" {
			continue
		}
		if targets[f.target] != f.Path() {
			tb.Errorf("%s of %s is %q on %s, and should be %s", f.target, vm.Name, targets[f.target], h.Name, f.Path())
		}
		delete(targets, f.target)
	}
	for target, file := range targets {
		if path.Ext(file) == ".qcow2" {
			tb.Errorf("%s has a disk %s at %s that the store does not know", vm.Name, file, target)
		}
	}
	c.snapshotsAreSame(tb, b.Snapshots[vm.ID], vm, h)
}

// diskAt is a file that a VM must have, and where its guest has it.
type diskAt struct {
	baadal.DiskFile
	target string // empty if it is detached
	gib    int
}

func (c *cloud) filesOf(tb testing.TB, b book, vm baadal.VM) (all []diskAt) {
	tb.Helper()
	ds := func(id int64) baadal.Datastore {
		return b.Datastores[slices.IndexFunc(b.Datastores, func(d baadal.Datastore) bool { return d.ID == id })]
	}
	first := ds(vm.DatastoreID)
	all = append(all, diskAt{baadal.DiskFile{Datastore: first, Identity: vm.Identity, UUID: vm.UUID, Name: path.Base(first.DiskPath(&vm))}, baadal.FirstTarget, vm.DiskGiB})
	for _, k := range b.Disks {
		if k.VMID != vm.ID || k.State != baadal.DiskAttached && k.State != baadal.DiskDetached {
			continue
		}
		all = append(all, diskAt{baadal.DiskFile{Datastore: ds(k.DatastoreID), Identity: vm.Identity, UUID: vm.UUID, DiskID: k.ID, Name: k.FileName()}, k.Target, k.SizeGiB})
	}
	return all
}

// snapshotsAreSame compares the snapshots of the store with those of the host.
func (c *cloud) snapshotsAreSame(tb testing.TB, stored []baadal.Snapshot, vm baadal.VM, h baadal.Host) {
	tb.Helper()
	seen, err := c.sys.Snapshots.Snapshots(context.Background(), h, vm.UUID)
	must(tb, err)
	var want, got []string
	for _, s := range stored {
		want = append(want, fmt.Sprintf("%s on %q, current %t", s.Name, s.Parent, s.Current))
	}
	for _, s := range seen {
		got = append(got, fmt.Sprintf("%s on %q, current %t", s.Name, s.Parent, s.Current))
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		tb.Errorf("snapshots of %s: stored %v, on %s %v", vm.Name, want, h.Name, got)
	}
}

// emptied complains about everything that is left when all VMs are purged.
func (c *cloud) emptied(tb testing.TB, left ...string) {
	tb.Helper()
	b := c.book(tb)
	// A base on which left files stand stays: its removal is tried, and refused.
	kept := map[string]bool{}
	b.Bases = slices.DeleteFunc(b.Bases, func(base baadal.Base) bool {
		kept[base.UUID] = len(left) > 0 && base.State == baadal.BaseRemoving && c.failedToRemove(tb, base)
		return kept[base.UUID]
	})
	for what, n := range map[string]int{"VMs": len(b.VMs), "disks": len(b.Disks), "bases": len(b.Bases), "addresses": len(b.Addresses), "backups": len(b.Backups), "transfers": len(b.Transfers)} {
		if n != 0 {
			tb.Errorf("%d %s are left: %s", n, what, flat(tb, b))
		}
	}
	for _, h := range b.Hosts {
		domains, err := c.sys.Hypervisor.Domains(context.Background(), h)
		must(tb, err)
		for _, d := range domains {
			tb.Errorf("%s has the domain %s left, %s", h.Name, d.Name, d.State)
		}
		if h.ClaimedVCPUs != 0 || h.ClaimedRAMMiB != 0 {
			tb.Errorf("on %s %d vCPUs and %d MiB are claimed by nobody", h.Name, h.ClaimedVCPUs, h.ClaimedRAMMiB)
		}
	}
	for _, d := range b.Datastores {
		entries, err := c.sys.Disks.Entries(context.Background(), b.Hosts[0], d)
		must(tb, err)
		for _, e := range entries {
			if e.Area != baadal.DirTemplates && !mentions("/"+e.Name, left) && !kept[e.Name] {
				tb.Errorf("%s/%s is left on %s", e.Area, e.Name, d.Name)
			}
		}
	}
}

// quiet waits until no task has anything left to do, and long enough after that
// for the loops to have seen everything; it says what never ended.
func (c *cloud) quiet(tb testing.TB, look time.Duration) {
	tb.Helper()
	for range 3 { // what the loops see may be work
		var active []baadal.Task
		for range 600 {
			c.view(tb, func(tx *store.Tx) (err error) { active, err = tx.ActiveTasks(); return err })
			if len(active) == 0 {
				break
			}
			time.Sleep(look / 10)
		}
		for _, k := range active {
			tb.Errorf("task %d, %s of %s, never ends: %s at %q, attempt %d, undoing %t: %s", k.ID, k.Kind, k.Subject.Name, k.State, k.Step, k.Attempt, k.Undoing, k.Message)
		}
		time.Sleep(look)
	}
}
