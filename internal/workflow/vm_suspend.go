package workflow

import (
	"context"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// vmSuspend stops a VM's CPUs. The words of the message are the
// specification's.
func (w *Workflows) vmSuspend() task.Body {
	return task.Body{
		Kind:  baadal.TaskVMSuspend,
		Steps: []task.Step{{Name: "suspend", Do: w.suspend, Undo: w.unsuspend}},
		Done:  setState(baadal.VMPaused, "is suspend successfully"),
	}
}

// vmResume lets a paused VM go on.
func (w *Workflows) vmResume() task.Body {
	return task.Body{
		Kind:  baadal.TaskVMResume,
		Steps: []task.Step{{Name: "resume", Do: w.resume, Undo: w.unresume}},
		Done:  setState(baadal.VMRunning, "is resumed successfully"),
	}
}

// vmReset presses a VM's reset button; there is no way back.
func (w *Workflows) vmReset() task.Body {
	return task.Body{
		Kind: baadal.TaskVMReset,
		Steps: []task.Step{{Name: "reset", Do: w.onPower(func(ctx context.Context, p place) error {
			return w.sys.Power.Reset(ctx, p.host, p.vm.UUID)
		})}},
		Done: restarted("reset"),
	}
}

// restarted is the end of operations after which the guest boots while the VM
// runs on: that it comes up shows as its address answering.
func restarted(what string) func(*store.Tx, *task.Run) (string, error) {
	return func(tx *store.Tx, r *task.Run) (string, error) {
		if err := tx.SetVMAnswered(r.Task.Subject.ID, nil); err != nil {
			return "", err
		}
		vm, err := tx.VM(r.Task.Subject.ID)
		if err != nil {
			return "", err
		}
		_, err = tx.AddEvent(baadal.Event{
			Topic: "vm", Subject: vmSubject(vm), Version: vm.Generation, What: what,
			ActorID: r.Task.RequesterID, Actor: r.Task.Requester, OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID,
		})
		return vm.Name + " is " + what + " successfully", err
	}
}

// vmSave writes a VM's memory to its host's disk and switches it off; its next
// start goes on from there.
func (w *Workflows) vmSave() task.Body {
	return task.Body{
		Kind:  baadal.TaskVMSave,
		Steps: []task.Step{{Name: "save", Do: w.save, Undo: w.unsave, Timeout: time.Hour}},
		Done: func(tx *store.Tx, r *task.Run) (string, error) {
			vm, err := vmChanged(tx, r, baadal.VMOff, baadal.OffReason(true))
			return vm.Name + " is saved successfully", err
		},
	}
}

// onPower is a step that is one call for the VM of the task.
func (w *Workflows) onPower(do func(context.Context, place) error) func(context.Context, *task.Run) error {
	return func(ctx context.Context, r *task.Run) error {
		p, err := w.load(ctx, r)
		if err != nil {
			return err
		}
		return do(ctx, p)
	}
}

func (w *Workflows) suspend(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	if err := w.recordState(ctx, r, p); err != nil {
		return err
	}
	return w.sys.Power.Suspend(ctx, p.host, p.vm.UUID)
}

func (w *Workflows) unsuspend(ctx context.Context, r *task.Run) error {
	return w.backTo(ctx, r, "suspend", baadal.VMRunning, w.sys.Power.Resume)
}

func (w *Workflows) resume(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	if err := w.recordState(ctx, r, p); err != nil {
		return err
	}
	return w.sys.Power.Resume(ctx, p.host, p.vm.UUID)
}

func (w *Workflows) unresume(ctx context.Context, r *task.Run) error {
	return w.backTo(ctx, r, "resume", baadal.VMPaused, w.sys.Power.Suspend)
}

// backTo undoes a step that had found the VM in a state, as far as it is active
// still: who switched it off meanwhile had his reasons.
func (w *Workflows) backTo(ctx context.Context, r *task.Run, step string, state baadal.VMState, act func(context.Context, baadal.Host, string) error) error {
	var before found
	known, err := r.Output(step, &before)
	if err != nil || !known || before.State != state {
		return err
	}
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	if err := act(ctx, p.host, p.vm.UUID); baadal.KindOf(err) != baadal.Conflict && baadal.KindOf(err) != baadal.NotFound {
		return err
	}
	return nil
}

func (w *Workflows) save(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	if err := w.recordState(ctx, r, p); err != nil {
		return err
	}
	return w.sys.Power.Save(ctx, p.host, p.vm.UUID)
}

// unsave starts the VM again from what was saved. One that is off without
// anything saved was switched off by somebody else.
func (w *Workflows) unsave(ctx context.Context, r *task.Run) error {
	var before found
	known, err := r.Output("save", &before)
	if err != nil || !known {
		return err
	}
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	info, err := w.sys.Hypervisor.Domain(ctx, p.host, p.vm.UUID)
	if err != nil || !info.Saved {
		if baadal.KindOf(err) == baadal.NotFound {
			return nil
		}
		return err
	}
	if err := w.sys.Hypervisor.Start(ctx, p.host, p.vm.UUID); err != nil || before.State != baadal.VMPaused {
		return err
	}
	return w.sys.Power.Suspend(ctx, p.host, p.vm.UUID)
}

// destroyOrDiscard cuts a VM's power; of one that is saved it drops the memory.
func (w *Workflows) destroyOrDiscard(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	if err := w.sys.Hypervisor.Destroy(ctx, p.host, p.vm.UUID); err != nil || !p.vm.Saved() {
		return err
	}
	return w.sys.Power.Discard(ctx, p.host, p.vm.UUID)
}
