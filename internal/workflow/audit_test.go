package workflow_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"baadal"
	"baadal/internal/store"
)

const mount = "/mnt/datastore"

// audited is a cloud with one VM that runs, and what it looks like from outside.
type audited struct {
	*cloud
	vm   baadal.VM
	host string // where it runs
}

func newAudited(t *testing.T) *audited {
	t.Helper()
	c := open(t, t.TempDir())
	t.Cleanup(c.close)
	c.furnish(t)
	c.vm(t, "ml")
	a := &audited{cloud: c}
	a.vm = a.look(t)
	a.host = a.vm.Host
	return a
}

func (a *audited) look(t *testing.T) (vm baadal.VM) {
	t.Helper()
	a.view(t, func(tx *store.Tx) (err error) {
		vm, err = tx.VMByRef("ml", baadal.Visibility{Scope: baadal.ScopeAny})
		return err
	})
	return vm
}

func (a *audited) view(t *testing.T, fn func(*store.Tx) error) {
	t.Helper()
	if err := a.db.View(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

func (a *audited) update(t *testing.T, fn func(*store.Tx) error) {
	t.Helper()
	if err := a.db.Update(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

// audit makes an audit and returns its report.
func (a *audited) audit(t *testing.T, repair bool) baadal.Audit {
	t.Helper()
	ch, err := a.svc.RunAudit(context.Background(), a.actor, repair, baadal.ChangeOptions{})
	a.finish(t, ch.Task, err)
	report, err := a.svc.LastAudit(context.Background(), a.actor)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func (a *audited) setVMState(t *testing.T, state baadal.VMState) {
	t.Helper()
	a.update(t, func(tx *store.Tx) error { _, _, err := tx.SetVMState(a.vm.ID, state, ""); return err })
}

func (a *audited) folder() string { return baadal.DirImages + "/" + a.vm.Identity }

// elsewhere is a host on which the VM does not run.
func (a *audited) elsewhere() string {
	if a.host == "host1" {
		return "host2"
	}
	return "host1"
}

// copyDomain defines the VM's domain on another host too; its disk keeps a
// second one from starting, unless it gets a disk of its own.
func (a *audited) copyDomain(t *testing.T, disk string) {
	t.Helper()
	ctx := context.Background()
	h, err := a.world.Host(a.elsewhere())
	if err != nil {
		t.Fatal(err)
	}
	d := baadal.Domain{
		UUID: a.vm.UUID, Name: a.vm.Identity, VMID: a.vm.ID, Virt: "kvm", VCPUs: 1, RAMMiB: 512, Console: "/run/baadal/x",
		Disks: []baadal.DomainDisk{{Path: disk, Format: "qcow2", Target: "vda"}},
	}
	if err := a.world.Hypervisor().Define(ctx, h, d); err != nil {
		t.Fatal(err)
	}
}

// orphan leaves a domain with our mark on the VM's host that no VM owns.
func (a *audited) orphan(t *testing.T, running bool) (uuid string) {
	t.Helper()
	ctx := context.Background()
	h, err := a.world.Host(a.host)
	if err != nil {
		t.Fatal(err)
	}
	uuid = "00000000-0000-4000-8000-000000000099"
	ds := baadal.Datastore{Path: mount}
	img := baadal.VMImage{Datastore: ds, Identity: "IITD_gone_x", UUID: uuid, Template: ds.TemplateFile("tiny.img"), Format: "qcow2", Bytes: 1 << 30, Seed: []byte("x")}
	if err := a.world.Disks().CreateImage(ctx, h, img); err != nil {
		t.Fatal(err)
	}
	d := baadal.Domain{
		UUID: uuid, Name: "IITD_gone_x", VMID: 99, Virt: "kvm", VCPUs: 1, RAMMiB: 512, Console: "/run/baadal/x",
		Disks: []baadal.DomainDisk{{Path: ds.ImageFile("IITD_gone_x"), Format: "qcow2", Target: "vda"}},
	}
	if err := a.world.Hypervisor().Define(ctx, h, d); err != nil {
		t.Fatal(err)
	}
	if running {
		if err := a.world.Hypervisor().Start(ctx, h, uuid); err != nil {
			t.Fatal(err)
		}
	}
	return uuid
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// differences are all kinds that can be found on hosts, datastores and in the
// store, each made by an act behind the controller's back.
var differences = []struct {
	name string
	make func(t *testing.T, a *audited)
	// want is the differences in short: kind, subject, stored, seen.
	want   []string
	mended bool // by --repair, so that nothing is left
	unseen bool // it cannot be told while no host answers
}{
	{
		name: "orphan domain, off", make: func(t *testing.T, a *audited) { a.orphan(t, false) },
		want:   []string{"orphan_disk of datastore main: no VM owns it, vm_images/IITD_gone_x on main, 0 MiB", "orphan_domain of domain 00000000-0000-4000-8000-000000000099: no VM owns it, domain IITD_gone_x is off"},
		unseen: true,
	},
	{
		name: "orphan domain, running", make: func(t *testing.T, a *audited) { a.orphan(t, true) },
		want:   []string{"orphan_disk of datastore main: no VM owns it, vm_images/IITD_gone_x on main, 0 MiB", "orphan_domain of domain 00000000-0000-4000-8000-000000000099: no VM owns it, domain IITD_gone_x is running"},
		unseen: true,
	},
	{
		name: "domain of somebody else", unseen: true, mended: true,
		make: func(t *testing.T, a *audited) { _, err := a.world.RogueDomain(a.host, "theirs"); must(t, err) },
	},
	{
		name: "missing domain", unseen: true, mended: true,
		make: func(t *testing.T, a *audited) {
			must(t, a.world.VirshDestroy(a.host, a.vm.UUID))
			must(t, a.world.VirshUndefine(a.host, a.vm.UUID))
		},
		want: []string{"missing_domain of vm ml: it is running, the host does not know it"},
	},
	{
		name: "wrong state", unseen: true, mended: true,
		make: func(t *testing.T, a *audited) { must(t, a.world.VirshDestroy(a.host, a.vm.UUID)) },
		want: []string{"wrong_state of vm ml: running, off"},
	},
	{
		name: "marked missing and there", unseen: true, mended: true,
		make: func(t *testing.T, a *audited) { a.setVMState(t, baadal.VMMissing) },
		want: []string{"wrong_state of vm ml: missing, running"},
	},
	{
		name: "two domains", unseen: true,
		make: func(t *testing.T, a *audited) {
			a.copyDomain(t, (&baadal.Datastore{Path: mount}).ImageFile(a.vm.Identity))
		},
		want: []string{"two_domains of vm ml: on HOST, ELSEWHERE: off, HOST: running"},
	},
	{
		name: "two writers", unseen: true,
		make: func(t *testing.T, a *audited) {
			must(t, a.world.RogueFolder(mount, "lost+found/copy", ""))
			a.copyDomain(t, mount+"/lost+found/copy/copy.qcow2")
			must(t, a.world.VirshStart(a.elsewhere(), a.vm.UUID))
		},
		want: []string{"two_writers of vm ml: on HOST, ELSEWHERE: running, HOST: running"},
	},
	{
		name: "wrong VLAN", unseen: true, mended: true,
		make: func(t *testing.T, a *audited) { must(t, a.world.SetVLAN(a.host, a.vm.MAC, 99)) },
		want: []string{"wrong_vlan of vm ml: tag 10, tag 99"},
	},
	{
		name: "no VLAN", unseen: true, mended: true,
		make: func(t *testing.T, a *audited) { must(t, a.world.SetVLAN(a.host, a.vm.MAC, 0)) },
		want: []string{"wrong_vlan of vm ml: tag 10, no tag: it sees every VLAN"},
	},
	{
		name: "orphan disk", unseen: true,
		make: func(t *testing.T, a *audited) { must(t, a.world.RogueFolder(mount, "vm_images/someone", "")) },
		want: []string{"orphan_disk of datastore main: no VM owns it, vm_images/someone on main, 0 MiB, without a mark"},
	},
	{
		name: "orphan in vm_deleted", unseen: true,
		make: func(t *testing.T, a *audited) {
			must(t, a.world.RogueFolder(mount, "vm_deleted/someone.x", "00000000-0000-4000-8000-000000000098"))
		},
		want: []string{"orphan_deleted of datastore main: no VM owns it, vm_deleted/someone.x on main, 0 MiB"},
	},
	{
		name: "missing disk", unseen: true,
		make: func(t *testing.T, a *audited) { must(t, a.world.RemoveFolder(mount, a.folder())) },
		want: []string{"missing_disk of vm ml: vm_images/IITD_asha_ml on main, it is not there"},
	},
	{
		name: "orphan template", unseen: true,
		make: func(t *testing.T, a *audited) {
			_, err := a.world.AddTemplate(mount, "theirs.img", 1<<30)
			must(t, err)
		},
		want: []string{"orphan_template of datastore main: no template owns it, vm_templates/theirs.img on main, 128 MiB"},
	},
	{
		name: "missing template", unseen: true,
		make: func(t *testing.T, a *audited) { must(t, a.world.RemoveTemplate(mount, "tiny.img")) },
		want: []string{"missing_template of template tiny: tiny.img on main, it is not there"},
	},
	{
		name: "orphan transfer", unseen: true,
		make: func(t *testing.T, a *audited) {
			must(t, a.world.PutImage(mount, baadal.DirMigration+"/theirs", 1<<30))
			export, err := a.svc.ExportVM(t.Context(), a.actor, "ml", baadal.ChangeOptions{}) // has its row
			a.finish(t, export.Task, err)
		},
		want: []string{"orphan_transfer of datastore main: no transfer owns it, vm_migration_data/theirs on main, 0 MiB"},
	},
	{
		name: "leaked address", mended: true,
		make: func(t *testing.T, a *audited) {
			a.act(t, baadal.ActionVMDelete, "ml")
			a.update(t, func(tx *store.Tx) error {
				_, err := tx.ClaimAddressIP(a.vm.NetworkID, a.vm.Address, a.vm.ID)
				return err
			})
		},
		want: []string{"leaked_address of vm ml: ADDRESS is claimed, its VM is deleted"},
	},
	{
		name: "DHCP by hand", mended: true,
		make: func(t *testing.T, a *audited) {
			must(t, a.world.SetReservations([]baadal.Reservation{{Name: "theirs", MAC: "A2:00:00:FF:FF:FF", IP: "10.9.9.9"}}))
		},
		want: []string{"dhcp of cloud DHCP server: 4 reservations, 1, of which 1 are not ours to have; 4 are missing"},
	},
}

// short tells a difference in a line, with the names of hosts as roles.
func (a *audited) short(d baadal.Difference) string {
	line := fmt.Sprintf("%s of %s %s: %s, %s", d.Kind, d.Subject.Kind, d.Subject.Name, d.Stored, d.Seen)
	if a.vm.Address != "" {
		line = strings.ReplaceAll(line, a.vm.Address, "ADDRESS")
	}
	return strings.NewReplacer(a.host, "HOST", a.elsewhere(), "ELSEWHERE").Replace(line)
}

func (a *audited) shorts(report baadal.Audit) (lines []string) {
	for _, d := range report.Differences {
		line := a.short(d)
		// The seen of two places is sorted by the hosts' names.
		if before, after, ok := strings.Cut(line, ", HOST: running, ELSEWHERE"); ok {
			line = before + ", ELSEWHERE" + after + ", HOST: running"
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

// disks lists every folder and template there is.
func (a *audited) disks(t *testing.T) (names []string) {
	t.Helper()
	h, err := a.world.Host("host3")
	must(t, err)
	entries, err := a.world.Disks().Entries(context.Background(), h, baadal.Datastore{Name: "main", Path: mount})
	must(t, err)
	for _, e := range entries {
		names = append(names, e.Area+"/"+e.Name+" "+e.UUID)
	}
	return names
}

func TestAuditOfAHealthyCloudIsClean(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	report := a.audit(t, false)
	if !report.Clean() || report.VMs != 1 || report.Hosts != 3 || len(report.NotSeen) != 0 || report.EndedAt.Before(report.StartedAt) {
		t.Errorf("got %+v", report)
	}
	a.act(t, baadal.ActionVMDelete, "ml")
	if report := a.audit(t, true); !report.Clean() || report.VMs != 0 {
		t.Errorf("with a deleted VM: %+v", report)
	}
}

// TestAuditFindsEachDifference, says it in words, mends what is safe to mend,
// and never removes a disk.
func TestAuditFindsEachDifference(t *testing.T) {
	t.Parallel()
	for _, d := range differences {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			a := newAudited(t)
			d.make(t, a)
			found := a.audit(t, false)
			if diff := cmp.Diff(d.want, a.shorts(found), cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("found (-want +got):\n%s", diff)
			}
			before := a.disks(t)
			for _, x := range found.Differences {
				if x.Repaired || x.Error != "" {
					t.Errorf("a look repairs nothing: %+v", x)
				}
			}
			repaired := a.audit(t, true)
			if diff := cmp.Diff(d.want, a.shorts(repaired), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("the look changed something (-want +got):\n%s", diff)
			}
			for _, x := range repaired.Differences {
				if x.Repaired != (x.Repair != "") || x.Error != "" {
					t.Errorf("repaired %t, %q: %+v", x.Repaired, x.Error, x)
				}
			}
			if diff := cmp.Diff(before, a.disks(t)); diff != "" {
				t.Errorf("disks were touched (-before +after):\n%s", diff)
			}
			if left := a.audit(t, false); d.mended != left.Clean() && len(d.want) > 0 {
				t.Errorf("left over: %v", a.shorts(left))
			}
		})
	}
}

// TestAuditJudgesNothingUnseen: on hosts that do not answer nothing is judged,
// found or mended.
func TestAuditJudgesNothingUnseen(t *testing.T) {
	t.Parallel()
	for _, d := range differences {
		if !d.unseen {
			continue
		}
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			a := newAudited(t)
			d.make(t, a)
			for i := range 3 {
				must(t, a.world.Cut(fmt.Sprintf("host%d", i+1)))
			}
			before := a.world.Snapshot()
			report := a.audit(t, true)
			if len(report.Differences) != 0 || report.Hosts != 0 || report.VMs != 0 {
				t.Errorf("judged: %v, %d hosts, %d VMs", a.shorts(report), report.Hosts, report.VMs)
			}
			if len(report.NotSeen) != 4 || !slices.ContainsFunc(report.NotSeen, func(s string) bool { return strings.HasPrefix(s, "datastore main: ") }) {
				t.Errorf("not seen: %q", report.NotSeen)
			}
			if diff := cmp.Diff(before, a.world.Snapshot()); diff != "" {
				t.Errorf("the world was changed (-before +after):\n%s", diff)
			}
			if now := a.look(t); now.Generation != a.vm.Generation && d.name != "marked missing and there" {
				t.Errorf("the VM was changed: %+v", now)
			}
		})
	}
}

// TestAuditSeesTheOtherHosts: one host that is cut off hides its own VMs only.
func TestAuditSeesTheOtherHosts(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	must(t, a.world.VirshDestroy(a.host, a.vm.UUID))
	must(t, a.world.Cut(a.elsewhere()))
	a.update(t, func(tx *store.Tx) error { // the watcher has seen it
		h, err := tx.HostByRef(a.elsewhere())
		if err != nil {
			return err
		}
		_, err = tx.SetHostState(h.ID, baadal.HostDown, "no answer", false)
		return err
	})
	report := a.audit(t, false)
	if diff := cmp.Diff([]string{"wrong_state of vm ml: running, off"}, a.shorts(report)); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	if report.Hosts != 2 || len(report.NotSeen) != 1 || !strings.HasPrefix(report.NotSeen[0], "host "+a.elsewhere()+": ") {
		t.Errorf("%d hosts seen, not seen %q", report.Hosts, report.NotSeen)
	}
}
