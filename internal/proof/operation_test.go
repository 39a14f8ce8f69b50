package proof_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"baadal"
	"baadal/internal/service"
	"baadal/internal/workflow"
)

// wish is what somebody asks for: which operation is another matter.
type wish struct {
	ctx   context.Context
	svc   *service.Service
	actor baadal.Actor
	vm    string // id or name

	attached, detached, deleted string // ids of extra disks of the VM in that state
	disk                        string // any of its disks
	snapshot                    string // one that there is
	name                        string // of what is made
	datastore                   string // of what is made; empty for the best one
	elsewhere                   string // a datastore that its disks do not lie on
	backup                      string // id of one that there is
	host                        string // where it goes; empty for the best one
	n                           int    // a size, 2 or more
	flag                        bool   // the operation's own variant
	opt                         baadal.ChangeOptions
}

// operation is one way to change a VM: a line of the table below.
type operation struct {
	name   string
	action baadal.Action
	kind   baadal.TaskKind
	do     func(w wish) (*baadal.Task, error)
}

// operations is the table. TestEveryOperationIsInTheTable compares it with the
// product's own: an action or a kind of task that is new needs a line here, or
// one in notOfAVM with its reason. Everything in this package then includes it.
func operations() []operation {
	return append(nicOperations(), []operation{
		power("start", baadal.ActionVMStart, baadal.TaskVMStart),
		power("shutdown", baadal.ActionVMShutdown, baadal.TaskVMShutdown),
		power("reboot", baadal.ActionVMReboot, baadal.TaskVMReboot),
		power("destroy", baadal.ActionVMDestroy, baadal.TaskVMDestroy),
		power("suspend", baadal.ActionVMSuspend, baadal.TaskVMSuspend),
		power("resume", baadal.ActionVMResume, baadal.TaskVMResume),
		power("reset", baadal.ActionVMReset, baadal.TaskVMReset),
		power("save", baadal.ActionVMSave, baadal.TaskVMSave),
		power("delete", baadal.ActionVMDelete, baadal.TaskVMDelete),
		power("restore", baadal.ActionVMRestore, baadal.TaskVMRestore),
		{"edit", baadal.ActionVMEdit, baadal.TaskVMEdit, func(w wish) (*baadal.Task, error) {
			ram := 256 * w.n
			return taskOf(w.svc.EditVM(w.ctx, w.actor, w.vm, baadal.VMEdit{VCPUs: &w.n, RAMMiB: &ram}, w.opt))
		}},
		{"migrate", baadal.ActionVMMigrate, baadal.TaskVMMigrate, func(w wish) (*baadal.Task, error) {
			return taskOf(w.svc.MigrateVM(w.ctx, w.actor, w.vm, baadal.VMMigrate{To: w.host}, w.opt))
		}},
		{"move", baadal.ActionVMMove, baadal.TaskVMMove, func(w wish) (*baadal.Task, error) {
			return taskOf(w.svc.MoveVM(w.ctx, w.actor, w.vm, baadal.VMMove{Datastore: w.elsewhere}, w.opt))
		}},
		{"move a disk", baadal.ActionVMMove, baadal.TaskVMMove, func(w wish) (*baadal.Task, error) {
			return taskOf(w.svc.MoveVM(w.ctx, w.actor, w.vm, baadal.VMMove{Datastore: w.elsewhere, Disk: w.attached}, w.opt))
		}},
		{"flatten", baadal.ActionVMFlatten, baadal.TaskDiskFlatten, func(w wish) (*baadal.Task, error) {
			return taskOf(w.svc.FlattenVM(w.ctx, w.actor, w.vm, baadal.VMFlatten{}, w.opt))
		}},
		{"save as template", baadal.ActionVMSaveTemplate, baadal.TaskVMSaveTemplate, func(w wish) (*baadal.Task, error) {
			return taskOf(w.svc.SaveVMAsTemplate(w.ctx, w.actor, w.vm, baadal.VMSaveTemplate{Name: w.name}, w.opt))
		}},
		{"export", baadal.ActionVMExport, baadal.TaskVMExport, func(w wish) (*baadal.Task, error) {
			return taskOf(w.svc.ExportVM(w.ctx, w.actor, w.vm, w.opt))
		}},
		{"back up", baadal.ActionBackupCreate, baadal.TaskBackupCreate, func(w wish) (*baadal.Task, error) {
			return taskOf(w.svc.CreateBackup(w.ctx, w.actor, w.vm, baadal.BackupCreate{Datastore: w.datastore}, w.opt))
		}},
		{"back up an increment", baadal.ActionBackupCreate, baadal.TaskBackupCreate, func(w wish) (*baadal.Task, error) {
			return taskOf(w.svc.CreateBackup(w.ctx, w.actor, w.vm, baadal.BackupCreate{Datastore: w.datastore, Incremental: true}, w.opt))
		}},
		{"restore in place", baadal.ActionBackupReplace, baadal.TaskBackupReplace, func(w wish) (*baadal.Task, error) {
			return taskOf(w.svc.RestoreBackupInPlace(w.ctx, w.actor, w.backup, w.opt))
		}},
		{"insert CD-ROM", baadal.ActionCDROMInsert, baadal.TaskCDROMInsert, func(w wish) (*baadal.Task, error) {
			return taskOf(w.svc.InsertCDROM(w.ctx, w.actor, w.vm, baadal.CDROMInsert{ISO: "rescue"}, w.opt))
		}},
		{"eject CD-ROM", baadal.ActionCDROMEject, baadal.TaskCDROMEject, func(w wish) (*baadal.Task, error) {
			return taskOf(w.svc.EjectCDROM(w.ctx, w.actor, w.vm, baadal.CDROMEject{Force: w.flag}, w.opt))
		}},
		{"clone", baadal.ActionVMClone, baadal.TaskVMClone, func(w wish) (*baadal.Task, error) {
			return taskOf(w.svc.CloneVM(w.ctx, w.actor, w.vm, baadal.VMClone{Name: w.name, Count: 2, Start: w.flag}, w.opt))
		}},
		{"copy", baadal.ActionVMClone, baadal.TaskVMClone, func(w wish) (*baadal.Task, error) {
			return taskOf(w.svc.CloneVM(w.ctx, w.actor, w.vm, baadal.VMClone{Name: w.name, Full: true}, w.opt))
		}},
		{"snapshot", baadal.ActionSnapshotCreate, baadal.TaskSnapshotCreate, func(w wish) (*baadal.Task, error) {
			return taskOf(w.svc.CreateSnapshot(w.ctx, w.actor, w.vm, baadal.SnapshotCreate{Name: w.name}, w.opt))
		}},
		{"revert", baadal.ActionSnapshotRevert, baadal.TaskSnapshotRevert, func(w wish) (*baadal.Task, error) {
			return taskOf(w.svc.RevertSnapshot(w.ctx, w.actor, w.vm, w.snapshot, w.opt))
		}},
		{"delete snapshot", baadal.ActionSnapshotDelete, baadal.TaskSnapshotDelete, func(w wish) (*baadal.Task, error) {
			return taskOf(w.svc.DeleteSnapshot(w.ctx, w.actor, w.vm, w.snapshot, w.opt))
		}},
		{"add disk", baadal.ActionDiskAdd, baadal.TaskDiskAdd, func(w wish) (*baadal.Task, error) {
			return taskOf(w.svc.AddDisk(w.ctx, w.actor, w.vm, baadal.DiskAdd{SizeGiB: w.n, Datastore: w.datastore}, w.opt))
		}},
		disk("attach disk", baadal.ActionDiskAttach, baadal.TaskDiskAttach, func(w wish) string { return w.detached }),
		disk("attach deleted disk", baadal.ActionDiskAttach, baadal.TaskDiskAttach, func(w wish) string { return w.deleted }),
		disk("detach disk", baadal.ActionDiskDetach, baadal.TaskDiskDetach, func(w wish) string { return w.attached }),
		disk("delete disk", baadal.ActionDiskDelete, baadal.TaskDiskDelete, func(w wish) string { return w.attached }),
		disk("delete detached disk", baadal.ActionDiskDelete, baadal.TaskDiskDelete, func(w wish) string { return w.detached }),
		{"grow disk", baadal.ActionDiskGrow, baadal.TaskDiskGrow, func(w wish) (*baadal.Task, error) {
			return taskOf(w.svc.GrowDisk(w.ctx, w.actor, w.vm, w.disk, baadal.DiskGrow{SizeGiB: w.n}, w.opt))
		}},
		{"limit disk", baadal.ActionDiskLimit, baadal.TaskDiskLimit, func(w wish) (*baadal.Task, error) {
			return taskOf(w.svc.LimitDisk(w.ctx, w.actor, w.vm, w.disk, baadal.DiskLimit{IOPS: int64(100 * w.n)}, w.opt))
		}},
	}...)
}

func nicOperations() []operation {
	return []operation{
		{"add NIC", baadal.ActionNICAdd, baadal.TaskNICAdd, func(w wish) (*baadal.Task, error) {
			return taskOf(w.svc.AddNIC(w.ctx, w.actor, w.vm, baadal.NICAdd{Network: map[bool]string{true: "storage", false: "dmz"}[w.flag]}, w.opt))
		}},
		{"change network", baadal.ActionNICChange, baadal.TaskNICChange, func(w wish) (*baadal.Task, error) {
			return taskOf(w.svc.ChangeNIC(w.ctx, w.actor, w.vm, "0", baadal.NICChange{Network: map[bool]string{true: "research", false: "dmz"}[w.flag]}, w.opt))
		}},
		{"remove NIC", baadal.ActionNICRemove, baadal.TaskNICRemove, func(w wish) (*baadal.Task, error) {
			return taskOf(w.svc.RemoveNIC(w.ctx, w.actor, w.vm, "1", w.opt))
		}},
	}
}

func taskOf[T any](ch baadal.Change[T], err error) (*baadal.Task, error) { return ch.Task, err }

func power(name string, action baadal.Action, kind baadal.TaskKind) operation {
	return operation{name, action, kind, func(w wish) (*baadal.Task, error) {
		return taskOf(w.svc.ActVM(w.ctx, w.actor, action, w.vm, w.opt))
	}}
}

func disk(name string, action baadal.Action, kind baadal.TaskKind, which func(wish) string) operation {
	return operation{name, action, kind, func(w wish) (*baadal.Task, error) {
		return taskOf(w.svc.ActDisk(w.ctx, w.actor, action, w.vm, which(w), w.opt))
	}}
}

// notOfAVM are the actions and the kinds of tasks that are no wish for a change
// of a VM that there is, each with what it is instead. "host.*" is all of a noun.
var notOfAVM = map[string]string{
	"vm.create": "makes one", "vm.import": "makes one", "vm.launch": "makes one", "vm.adopt": "makes one", "backup.restore": "makes one",
	"vm.read": "changes nothing", "vm.password": "changes no VM", "vm.console": "changes no VM", "backup.read": "changes nothing",
	"snapshot.schedule": "changes no VM, only what a loop asks for", "backup.schedule": "changes no VM, only what a loop asks for",
	"backup.verify": "about a backup", "backup.delete": "about a backup",
	"host.*": "another noun", "datastore.*": "another noun", "template.*": "another noun", "network.*": "another noun", "user.*": "another noun", "affinity.*": "another noun", "vnc.*": "another noun",
	"public.*": "another noun", "secgroup.*": "another noun", "forward.*": "another noun", "task.*": "another noun", "token.*": "another noun", "audit.*": "another noun", "setting.*": "another noun", "event.*": "another noun",
	"upload": "of a file", "self": "oneself",

	string(baadal.TaskVMCreate): "makes one", string(baadal.TaskVMImport): "makes one", string(baadal.TaskVMLaunch): "makes one", string(baadal.TaskVMAdopt): "makes one",
	string(baadal.TaskBackupRestore): "makes one", string(baadal.TaskCloneCreate): "part of a clone",
	string(baadal.TaskVMPurge): "a loop's", string(baadal.TaskDiskPurge): "a loop's",
	string(baadal.TaskBaseRemove): "about a base", string(baadal.TaskTransferRemove): "about a file", string(baadal.TaskBackupVerify): "about a backup", string(baadal.TaskBackupDelete): "about a backup",
	string(baadal.TaskHostAdd): "about a host", string(baadal.TaskHostCheck): "about a host",
	string(baadal.TaskTemplateImport): "about a template", string(baadal.TaskTemplateDelete): "about a template",
	string(baadal.TaskNetworkApply): "about a network", string(baadal.TaskNetworkDelete): "about a network",
	string(baadal.TaskNetworkGrow): "about a network", string(baadal.TaskNetworkShrink): "about a network", string(baadal.TaskAudit): "about the cloud",
}

// TestEveryOperationIsInTheTable: what the product can do to a VM is in the
// table above, or is known to be something else.
func TestEveryOperationIsInTheTable(t *testing.T) {
	t.Parallel()
	var actions, kinds []string
	for _, a := range baadal.Actions() {
		actions = append(actions, string(a))
	}
	for _, b := range workflow.New(nil, workflow.Systems{}, workflow.Options{}).Bodies() {
		kinds = append(kinds, string(b.Kind))
	}
	names := append(slices.Clone(actions), kinds...)
	has := map[string]bool{}
	for _, op := range operations() {
		has[string(op.action)], has[string(op.kind)] = true, true
		if !slices.Contains(actions, string(op.action)) || !slices.Contains(kinds, string(op.kind)) {
			t.Errorf("%s: the product has no action %s or no task %s", op.name, op.action, op.kind)
		}
	}
	for _, a := range baadal.VMActions() {
		if !has[string(a)] {
			t.Errorf("%s changes a VM and is not in operations()", a)
		}
	}
	used := map[string]bool{}
	for _, name := range names {
		noun, _, _ := strings.Cut(name, ".")
		other := ""
		for _, key := range []string{name, noun + ".*"} {
			if notOfAVM[key] != "" {
				other, used[key] = key, true
			}
		}
		if has[name] == (other != "") {
			t.Errorf("%q must be in operations() or in notOfAVM, and not in both", name)
		}
	}
	for key := range notOfAVM {
		if !used[key] {
			t.Errorf("%q in notOfAVM is no action and no kind of task any more", key)
		}
	}
}
