package workflow

import (
	"context"
	"fmt"
	"slices"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// CloneParams are the parameters of a task that clones a VM. The clones' rows
// with their claims, and the base's, were made in its transaction.
type CloneParams struct {
	Base   int64          `json:"base"`            // of the first disk
	Disks  []CloneDisk    `json:"disks,omitempty"` // extra disks that the clones get too
	Clones []int64        `json:"clones"`
	Names  []string       `json:"names"` // of the clones, in their order, for a retry
	Wish   baadal.VMClone `json:"wish"`
}

// CloneDisk is an extra disk of the VM that is cloned, with the row of the base
// that it becomes.
type CloneDisk struct {
	DiskID int64 `json:"disk_id"`
	Base   int64 `json:"base"`
}

// bases lists the bases of all disks, the first one's first.
func (p *CloneParams) bases() []int64 {
	ids := []int64{p.Base}
	for _, d := range p.Disks {
		ids = append(ids, d.Base)
	}
	return ids
}

// vmClone clones a VM: its disks become bases, the clones' files are made on
// them on all hosts at once, and each clone becomes a VM by a task of its own.
// Everything about the bases is in vm_freeze.go.
func (w *Workflows) vmClone() task.Body {
	return task.Body{
		Kind: baadal.TaskVMClone,
		Steps: []task.Step{
			{Name: "freeze", Do: w.endChainFirst(w.freezeParent), Undo: w.thawParent, Timeout: 6 * time.Hour},
			{Name: "images", Do: w.forkClones, Undo: w.unforkClones, Timeout: time.Hour},
			{Name: "clones", Do: w.makeClones, Undo: w.stopClones},
		},
		Done:   clonesDone,
		Undone: clonesUndone,
	}
}

// cloneWait is how long the task waits before it looks after the clones again;
// the last of them wakes it when it ends.
const cloneWait = time.Second

// makeClones makes the clones' tasks, once, and goes on when all have ended.
func (w *Workflows) makeClones(ctx context.Context, r *task.Run) error {
	params, err := task.Params[CloneParams](r)
	if err != nil {
		return err
	}
	var children []baadal.Task
	err = w.db.Update(ctx, func(tx *store.Tx) (err error) {
		if children, err = tx.ChildTasks(r.Task.ID); err != nil || len(children) > 0 {
			return err
		}
		return insertClones(tx, r, params)
	})
	if err != nil {
		return err
	}
	ended, failed, first := tally(children)
	switch {
	case len(children) == 0: // a single one may be done before we wait for it
		return task.Later(cloneWait / 20)
	case ended < len(children):
		r.Progress(float64(ended)/float64(len(params.Clones)), fmt.Sprintf("%d of %d are done", ended, len(params.Clones)))
		// A child that ended just now may have woken the task too early: the first looks follow fast.
		waited := w.db.Now().Sub(children[0].CreatedAt)
		return task.Later(min(max(waited/4, cloneWait/20), cloneWait))
	case failed == len(children):
		return baadal.Errorf(baadal.Conflict, "none of %d clones could be made: %s", len(children), task.Cause(first)).WithCode(first.Code)
	}
	return nil
}

func insertClones(tx *store.Tx, r *task.Run, params CloneParams) error {
	var f forked
	if _, err := r.Output("images", &f); err != nil {
		return err
	}
	for _, id := range params.Clones {
		vm, err := tx.VM(id)
		if err != nil {
			return err
		}
		p, err := task.MarshalParams(CloneCreateParams{Base: params.Base, Full: params.Wish.Full, Start: params.Wish.Start, Made: slices.Contains(f.Made, id)})
		if err != nil {
			return err
		}
		child := baadal.Task{
			Kind: baadal.TaskCloneCreate, Subject: vmSubject(vm), Params: p, ParentID: r.Task.ID, Exclusive: true, Cost: 1, HostID: vm.HostID,
			RequesterID: r.Task.RequesterID, Requester: r.Task.Requester, OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID,
		}
		if err := tx.InsertTask(&child); err != nil {
			return err
		}
	}
	return nil
}

// tally counts what became of the clones' tasks, and returns the first failure.
func tally(children []baadal.Task) (ended, failed int, first baadal.Task) {
	for _, c := range children {
		if c.State.Ended() {
			ended++
		}
		if c.State.Ended() && c.State != baadal.TaskSuccess {
			if failed++; failed == 1 {
				first = c
			}
		}
	}
	return ended, failed, first
}

// stopClones cancels what is not done and waits until it is taken back. Clones
// that are done stay.
func (w *Workflows) stopClones(ctx context.Context, r *task.Run) error {
	waits := false
	var owed *baadal.Task
	err := w.db.Update(ctx, func(tx *store.Tx) error {
		waits, owed = false, nil
		children, err := tx.ChildTasks(r.Task.ID)
		if err != nil {
			return err
		}
		for _, c := range children {
			switch {
			case c.UndoPending:
				owed = &c
			case !c.State.Ended():
				waits = true
				if c.CancelBy == "" && !c.Undoing {
					if err := tx.CancelTask(c.ID, fmt.Sprintf("task %d", r.Task.ID)); err != nil {
						return err
					}
				}
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case waits:
		return task.Later(cloneWait)
	case owed != nil:
		return baadal.Errorf(baadal.Unavailable, "task %d (%s) has not taken everything back yet", owed.ID, owed.Subject.Name)
	}
	return nil
}

// clonesDone tells how many there are. A few that failed do not spoil the rest.
func clonesDone(tx *store.Tx, r *task.Run) (string, error) {
	children, err := tx.ChildTasks(r.Task.ID)
	if err != nil {
		return "", err
	}
	params, err := task.Params[CloneParams](r)
	if err != nil {
		return "", err
	}
	for _, id := range params.bases() { // full copies stand on nothing
		if err := freeBase(tx, id); err != nil {
			return "", err
		}
	}
	_, failed, first := tally(children)
	switch n := len(children); {
	case failed > 0:
		r.Task.State, r.Task.Code = baadal.TaskPartial, first.Code
		return fmt.Sprintf("%d of %d cloned successfully; %s: %s", n-failed, n, first.Subject.Name, task.Cause(first)), nil
	case n == 1:
		return "Cloned successfully.", nil
	default:
		return fmt.Sprintf("Cloned successfully. %d of %d", n, n), nil
	}
}

// clonesUndone gives back the claims of the clones that were never begun, and
// forgets the bases if they are gone.
func clonesUndone(tx *store.Tx, r *task.Run) error {
	params, err := task.Params[CloneParams](r)
	if err != nil {
		return err
	}
	children, err := tx.ChildTasks(r.Task.ID)
	if err != nil {
		return err
	}
	begun := map[int64]bool{}
	for _, c := range children {
		begun[c.Subject.ID] = true
	}
	for _, id := range params.Clones {
		if !begun[id] {
			if err := tx.DeleteVM(id); err != nil {
				return err
			}
		}
	}
	for _, id := range params.bases() {
		base, err := tx.Base(id)
		if err == nil && base.State == baadal.BaseMaking {
			err = tx.DeleteBase(base.ID)
		}
		if ignoreMissing(err) != nil {
			return err
		}
	}
	return nil
}

func ignoreMissing(err error) error {
	if baadal.KindOf(err) == baadal.NotFound {
		return nil
	}
	return err
}
