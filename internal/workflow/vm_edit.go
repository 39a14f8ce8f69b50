package workflow

import (
	"context"
	"fmt"
	"strings"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// VMEditParams are the sizes of a VM before and after an edit. The row has the
// new one, and keeps the claim of the larger until the end.
type VMEditParams struct {
	Before baadal.Size `json:"before"`
	After  baadal.Size `json:"after"`
	Live   baadal.Size `json:"live"` // what the row said it still runs with; 0 is no difference
}

// vmEdit gives a VM another size: in its definition, and as far as that can be
// while it runs. vCPUs come last because they cannot be unplugged again.
func (w *Workflows) vmEdit() task.Body {
	return task.Body{
		Kind: baadal.TaskVMEdit,
		Steps: []task.Step{
			{Name: "define", Do: w.define, Undo: w.defineBefore},
			{Name: "memory", Do: w.balloon, Undo: w.unballoon},
			{Name: "vcpus", Do: w.plug, Undo: w.notePlugged},
		},
		Done:   vmEdited,
		Undone: vmEditUndone,
	}
}

// defineBefore defines the VM with the size that it had.
func (w *Workflows) defineBefore(ctx context.Context, r *task.Run) error {
	params, err := task.Params[VMEditParams](r)
	if err != nil {
		return err
	}
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	p.vm.VCPUs, p.vm.RAMMiB = params.Before.VCPUs, params.Before.RAMMiB
	return w.sys.Hypervisor.Define(ctx, p.host, w.domain(p))
}

// resized is what a step of an edit found of an active VM; its zero is one that
// is off.
type resized struct {
	Before baadal.DomainSize `json:"before"`
	Now    int               `json:"now"` // what the VM has since; 0 if nothing was changed

	Untaken int `json:"untaken,omitempty"` // MiB of it that the guest has not taken
}

// sizeNow looks at an active VM as the first try of the step at work found it;
// false if it was off.
func (w *Workflows) sizeNow(ctx context.Context, r *task.Run, p place) (out resized, active bool, err error) {
	known, err := r.Output(r.Task.Step, &out)
	if err != nil || known {
		return out, out.Before.VCPUs > 0, err
	}
	if active, err = w.runsNow(ctx, p); err != nil {
		return out, false, err
	}
	if !active {
		return out, false, r.Record(out)
	}
	out.Before, err = w.sys.Resizer.Size(ctx, p.host, p.vm.UUID)
	return out, err == nil, err
}

// runsNow asks the host whether a VM runs or is paused.
func (w *Workflows) runsNow(ctx context.Context, p place) (bool, error) {
	info, err := w.sys.Hypervisor.Domain(ctx, p.host, p.vm.UUID)
	if baadal.KindOf(err) == baadal.NotFound {
		return false, nil
	}
	return info.State == baadal.VMRunning || info.State == baadal.VMPaused, err
}

// balloon lets the guest make do with less memory, or have back what it gave.
func (w *Workflows) balloon(ctx context.Context, r *task.Run) error {
	params, p, err := w.loadEdit(ctx, r)
	if err != nil || params.After.RAMMiB == params.Before.RAMMiB {
		return err
	}
	out, active, err := w.sizeNow(ctx, r, p)
	if err != nil || !active {
		return err
	}
	out.Now = min(params.After.RAMMiB, out.Before.Most())
	if err := r.Record(out); err != nil {
		return err
	}
	r.Detail("%d MiB of %d that it can have", out.Now, out.Before.Most())
	if err := w.unlessOff(ctx, p, w.sys.Resizer.SetBalloon(ctx, p.host, p.vm.UUID, out.Now)); err != nil || out.Now <= out.Before.RAMMiB {
		return err
	}
	return w.waitTaken(ctx, r, p, out)
}

// takesWithin is how long a guest that is given memory is waited for.
const takesWithin = 5 * time.Second

// waitTaken waits until the guest uses what was plugged in, and notes what it
// does not: a guest without the driver never will.
func (w *Workflows) waitTaken(ctx context.Context, r *task.Run, p place, out resized) error {
	for begun := time.Now(); ; {
		now, err := w.sys.Resizer.Size(ctx, p.host, p.vm.UUID)
		if err != nil {
			return w.unlessOff(ctx, p, err)
		}
		out.Untaken = max(0, now.PluggedMiB-now.TakenMiB)
		if out.Untaken == 0 || time.Since(begun) > takesWithin {
			return r.Record(out)
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

func (w *Workflows) unballoon(ctx context.Context, r *task.Run) error {
	var out resized
	if known, err := r.Output("memory", &out); err != nil || !known || out.Now == 0 {
		return err
	}
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	return w.unlessOff(ctx, p, w.sys.Resizer.SetBalloon(ctx, p.host, p.vm.UUID, out.Before.RAMMiB))
}

// unlessOff forgives a failure if the VM went off meanwhile: its definition
// counts then.
func (w *Workflows) unlessOff(ctx context.Context, p place, err error) error {
	if kind := baadal.KindOf(err); kind != baadal.Conflict && kind != baadal.NotFound {
		return err
	}
	if active, look := w.runsNow(ctx, p); active || look != nil {
		return err
	}
	return nil
}

// plug gives an active VM more vCPUs, if it was started with room for them.
func (w *Workflows) plug(ctx context.Context, r *task.Run) error {
	params, p, err := w.loadEdit(ctx, r)
	if err != nil || params.After.VCPUs == params.Before.VCPUs {
		return err
	}
	out, active, err := w.sizeNow(ctx, r, p)
	if err != nil || !active {
		return err
	}
	if n := params.After.VCPUs; n > out.Before.VCPUs && n <= out.Before.MaxVCPUs {
		out.Now = n
	}
	if err := r.Record(out); err != nil || out.Now == 0 {
		return err
	}
	return w.unlessOff(ctx, p, w.sys.Resizer.PlugVCPUs(ctx, p.host, p.vm.UUID, out.Now))
}

// notePlugged finds out whether vCPUs were plugged in: they stay until the next
// cold start, and so does their claim.
func (w *Workflows) notePlugged(ctx context.Context, r *task.Run) error {
	var out resized
	if known, err := r.Output("vcpus", &out); err != nil || !known || out.Now == 0 {
		return err
	}
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	active, err := w.runsNow(ctx, p)
	if err != nil {
		return err
	}
	var now baadal.DomainSize
	if active {
		if now, err = w.sys.Resizer.Size(ctx, p.host, p.vm.UUID); err != nil {
			return err
		}
	}
	out.Now = 0
	if now.VCPUs > out.Before.VCPUs {
		out.Now = now.VCPUs
		r.Detail("its %d vCPUs stay until its next cold start", now.VCPUs)
	}
	return r.Record(out)
}

func (w *Workflows) loadEdit(ctx context.Context, r *task.Run) (params VMEditParams, p place, err error) {
	if params, err = task.Params[VMEditParams](r); err != nil {
		return params, p, err
	}
	p, err = w.load(ctx, r)
	return params, p, err
}

// vmEdited writes down what the VM still runs with and says what holds when.
// The words that begin each sentence are the specification's.
func vmEdited(tx *store.Tx, r *task.Run) (string, error) {
	params, err := task.Params[VMEditParams](r)
	if err != nil {
		return "", err
	}
	vm, err := tx.VM(r.Task.Subject.ID)
	if err != nil {
		return "", err
	}
	var ram, cpus resized
	if _, err := r.Output("memory", &ram); err != nil {
		return "", err
	}
	if _, err := r.Output("vcpus", &cpus); err != nil {
		return "", err
	}
	active := vm.State == baadal.VMRunning || vm.State == baadal.VMPaused
	var said []string
	if params.After.VCPUs != params.Before.VCPUs {
		vm.LiveVCPUs = 0
		vm.HotCPUs = active && (vm.HotCPUs || cpus.Now != 0)
		if active && cpus.Now == 0 {
			vm.LiveVCPUs = differing(cpus.Before.VCPUs, vm.VCPUs)
		}
		said = append(said, "Edited vCPU successfully."+later(vm.LiveVCPUs != 0, ""))
	}
	if params.After.RAMMiB != params.Before.RAMMiB {
		vm.LiveRAMMiB = 0
		if active {
			had := ram.Before.MaxRAMMiB + ram.Before.PluggedMiB // its guest may never give it back
			vm.LiveRAMMiB = differing(max(had, min(vm.RAMMiB, ram.Before.Most())), vm.RAMMiB)
		}
		until := ""
		if ram.Now == vm.RAMMiB {
			until = " The guest is asked to make do with it now."
		}
		if ram.Untaken > 0 {
			until += fmt.Sprintf(" The guest has not taken %d MiB of it yet: has it the driver virtio_mem?", ram.Untaken)
		}
		words := later(vm.LiveRAMMiB != 0, until)
		if vm.LiveRAMMiB == 0 && ram.Untaken > 0 {
			words = until[strings.Index(until, " The guest has not"):]
		}
		said = append(said, "Edited RAM successfully."+words)
	}
	return strings.Join(said, " "), tx.UpdateVM(&vm)
}

// differing is what the row says of a live figure: 0 if it is the configured one.
func differing(live, configured int) int {
	if live == configured {
		return 0
	}
	return live
}

func later(yes bool, until string) string {
	if yes {
		return " It takes effect at the next cold start." + until
	}
	return ""
}

// vmEditUndone gives the VM its old size back.
func vmEditUndone(tx *store.Tx, r *task.Run) error {
	params, err := task.Params[VMEditParams](r)
	if err != nil {
		return err
	}
	vm, err := tx.VM(r.Task.Subject.ID)
	if err != nil {
		return err
	}
	var cpus resized
	if _, err := r.Output("vcpus", &cpus); err != nil {
		return err
	}
	changes, err := baadal.Changes{
		"vcpus": {Old: vm.VCPUs, New: params.Before.VCPUs}, "ram_mib": {Old: vm.RAMMiB, New: params.Before.RAMMiB},
	}.JSON()
	if err != nil {
		return err
	}
	vm.VCPUs, vm.RAMMiB = params.Before.VCPUs, params.Before.RAMMiB
	vm.LiveVCPUs, vm.LiveRAMMiB = params.Live.VCPUs, params.Live.RAMMiB
	if vm.State == baadal.VMOff || vm.State == baadal.VMCrashed {
		vm.LiveVCPUs, vm.LiveRAMMiB = 0, 0
	} else if cpus.Now != 0 {
		vm.LiveVCPUs, vm.HotCPUs = cpus.Now, true
	}
	if err := tx.UpdateVM(&vm); err != nil {
		return err
	}
	_, err = tx.AddEvent(baadal.Event{
		Topic: "vm", Subject: vmSubject(vm), Version: vm.Generation, What: "edit undone", Changes: changes,
		ActorID: r.Task.RequesterID, Actor: r.Task.Requester, OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID,
	})
	return err
}
