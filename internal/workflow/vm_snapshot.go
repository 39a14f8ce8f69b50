package workflow

import (
	"context"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// snapshotTimeout is how long memory may take to be written or read.
const snapshotTimeout = 30 * time.Minute

// SnapshotParams are the parameters of the tasks on snapshots. The row of a new
// one was made, and counted, in the transaction that made the task.
type SnapshotParams struct {
	SnapshotID int64  `json:"snapshot_id"`
	Name       string `json:"name"`

	Live    baadal.Size `json:"live,omitzero"` // what the VM claimed beside its configuration before a revert
	DiskGiB int         `json:"disk_gib,omitempty"`
}

// snapshotCreate makes an internal snapshot, with memory if the VM runs.
func (w *Workflows) snapshotCreate() task.Body {
	return task.Body{
		Kind: baadal.TaskSnapshotCreate,
		Steps: []task.Step{
			{Name: "check", Do: w.endChainFirst(w.checkNoSnapshot)},
			{Name: "snapshot", Do: w.makeSnapshot, Undo: w.dropSnapshot, Timeout: snapshotTimeout},
			{Name: "look", Do: w.lookAtSnapshots},
		},
		Done: snapshotMade,
		Undone: func(tx *store.Tx, r *task.Run) error {
			p, err := task.Params[SnapshotParams](r)
			if err != nil {
				return err
			}
			return tx.DeleteSnapshot(p.SnapshotID)
		},
	}
}

// snapshotDelete removes a snapshot with its data. It cannot be taken back: when
// it fails, the store says what the host says.
func (w *Workflows) snapshotDelete() task.Body {
	return task.Body{
		Kind: baadal.TaskSnapshotDelete,
		Steps: []task.Step{
			{Name: "delete", Do: w.dropSnapshot, Undo: w.settleSnapshots, Timeout: snapshotTimeout},
			{Name: "look", Do: w.lookAtSnapshots},
		},
		Done: func(tx *store.Tx, r *task.Run) (string, error) {
			p, err := task.Params[SnapshotParams](r)
			if err != nil {
				return "", err
			}
			if err := tx.DeleteSnapshot(p.SnapshotID); err != nil {
				return "", err
			}
			return "Deleted snapshot successfully", seenSnapshots(tx, r)
		},
	}
}

// checkNoSnapshot refuses a name that somebody gave to a snapshot on the host
// itself: what this task makes is then known to be its own.
func (w *Workflows) checkNoSnapshot(ctx context.Context, r *task.Run) error {
	p, params, err := w.loadSnapshot(ctx, r)
	if err != nil {
		return err
	}
	all, err := w.sys.Snapshots.Snapshots(ctx, p.host, p.vm.UUID)
	if err != nil {
		return err
	}
	for _, s := range all {
		if s.Name == params.Name {
			return baadal.Errorf(baadal.Conflict, "%s has a snapshot %s that the cloud did not make", p.vm.Name, s.Name).WithCode("exists").
				WithDetail("nothing was changed").WithNext("Write it down", "baadal audit --repair")
		}
	}
	return nil
}

func (w *Workflows) makeSnapshot(ctx context.Context, r *task.Run) error {
	p, params, err := w.loadSnapshot(ctx, r)
	if err != nil {
		return err
	}
	var snap baadal.Snapshot
	if err := w.db.View(ctx, func(tx *store.Tx) (err error) { snap, err = tx.Snapshot(params.SnapshotID); return err }); err != nil {
		return err
	}
	begun := time.Now()
	if err := w.sys.Snapshots.CreateSnapshot(ctx, p.host, p.vm.UUID, snap.Name, snap.Description); err != nil {
		return err
	}
	r.Detail("took %s", time.Since(begun).Round(10*time.Millisecond))
	return nil
}

func (w *Workflows) dropSnapshot(ctx context.Context, r *task.Run) error {
	p, params, err := w.loadSnapshot(ctx, r)
	if err != nil {
		return err
	}
	return w.sys.Snapshots.DeleteSnapshot(ctx, p.host, p.vm.UUID, params.Name)
}

// looked is what was seen after the work on snapshots.
type looked struct {
	State  baadal.VMState          `json:"state"`
	VCPUs  int                     `json:"vcpus"`
	RAMMiB int                     `json:"ram_mib"`
	Snaps  []baadal.DomainSnapshot `json:"snapshots"`
	Disc   *foundDisc              `json:"disc,omitempty"` // only after a revert
}

func (w *Workflows) lookAt(ctx context.Context, p place) (l looked, err error) {
	info, err := w.sys.Hypervisor.Domain(ctx, p.host, p.vm.UUID)
	if err != nil {
		return l, err
	}
	l.State, l.VCPUs, l.RAMMiB = info.State, info.VCPUs, info.RAMMiB
	l.Snaps, err = w.sys.Snapshots.Snapshots(ctx, p.host, p.vm.UUID)
	return l, err
}

func (w *Workflows) lookAtSnapshots(ctx context.Context, r *task.Run) error {
	p, params, err := w.loadSnapshot(ctx, r)
	if err != nil {
		return err
	}
	l, err := w.lookAt(ctx, p)
	if err != nil {
		return err
	}
	known := false
	for _, s := range l.Snaps {
		known = known || s.Name == params.Name
	}
	if !known && r.Task.Kind != baadal.TaskSnapshotDelete {
		return baadal.Errorf(baadal.Conflict, "snapshot %s of %s is gone", params.Name, p.vm.Name).WithCode("snapshot_unknown").
			WithDetail("somebody removed it on %s", p.host.Name)
	}
	if r.Task.Kind == baadal.TaskSnapshotRevert {
		if l.Disc, err = w.lookAtDisc(ctx, p); err != nil {
			return err
		}
	}
	return r.Record(l)
}

// settleSnapshots writes down what is on the host after a task failed: a
// snapshot that is gone is forgotten.
func (w *Workflows) settleSnapshots(ctx context.Context, r *task.Run) error {
	p, params, err := w.loadSnapshot(ctx, r)
	if err != nil {
		return err
	}
	all, err := w.sys.Snapshots.Snapshots(ctx, p.host, p.vm.UUID)
	if err != nil {
		return err
	}
	return w.db.Update(ctx, func(tx *store.Tx) error {
		there := false
		for _, s := range all {
			there = there || s.Name == params.Name
		}
		if !there {
			if err := tx.DeleteSnapshot(params.SnapshotID); err != nil {
				return err
			}
		}
		return tx.SeeSnapshots(p.vm.ID, all)
	})
}

func snapshotMade(tx *store.Tx, r *task.Run) (string, error) {
	p, err := task.Params[SnapshotParams](r)
	if err != nil {
		return "", err
	}
	var l looked
	if _, err := r.Output("look", &l); err != nil {
		return "", err
	}
	if err := tx.FinishSnapshot(p.SnapshotID, l.VCPUs, l.RAMMiB); err != nil {
		return "", err
	}
	return "Snapshotted successfully", seenSnapshots(tx, r)
}

// seenSnapshots writes down what the step "look" saw, and tells of it.
func seenSnapshots(tx *store.Tx, r *task.Run) error {
	var l looked
	if _, err := r.Output("look", &l); err != nil {
		return err
	}
	vm, err := tx.VM(r.Task.Subject.ID)
	if err != nil {
		return err
	}
	if err := tx.SeeSnapshots(vm.ID, l.Snaps); err != nil {
		return err
	}
	_, err = tx.AddEvent(baadal.Event{
		Topic: "vm", Subject: vmSubject(vm), Version: vm.Generation, What: "snapshots changed", ActorID: r.Task.RequesterID, Actor: r.Task.Requester,
		OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID,
	})
	return err
}

func (w *Workflows) loadSnapshot(ctx context.Context, r *task.Run) (place, SnapshotParams, error) {
	params, err := task.Params[SnapshotParams](r)
	if err != nil {
		return place{}, params, err
	}
	p, err := w.load(ctx, r)
	return p, params, err
}

// redefineSnapshots tells a host that defined the VM anew of the snapshots that
// its images hold. A description that the host's libvirt does not understand
// shows in the audit; it does not keep the VM away from its owner.
func (w *Workflows) redefineSnapshots(ctx context.Context, p place) (refused error, err error) {
	var rows []baadal.Snapshot
	if err := w.db.View(ctx, func(tx *store.Tx) (err error) { rows, err = tx.Snapshots(p.vm.ID); return err }); err != nil {
		return nil, err
	}
	var snaps []baadal.DomainSnapshot
	for _, s := range baadal.ParentsFirst(rows) {
		if s.Ready && s.XML != "" {
			snaps = append(snaps, baadal.DomainSnapshot{Name: s.Name, Parent: s.Parent, Current: s.Current, State: s.VMState, XML: s.XML, CreatedAt: s.CreatedAt})
		}
	}
	err = w.sys.Snapshots.RedefineSnapshots(ctx, p.host, p.vm.UUID, snaps)
	if baadal.KindOf(err) == baadal.Invalid {
		return err, nil
	}
	return nil, err
}

// defineWhole defines a VM with its snapshots.
func (w *Workflows) defineWhole(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	if err := w.sys.Hypervisor.Define(ctx, p.host, w.domain(p)); err != nil {
		return err
	}
	refused, err := w.redefineSnapshots(ctx, p)
	if refused != nil {
		r.Detail("the host does not take its snapshots: %s", baadal.Message(refused))
	}
	return err
}
