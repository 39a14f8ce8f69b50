package workflow

import (
	"context"
	"fmt"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// vmStart starts a VM; it is defined anew first, so that what the store says is
// what starts.
func (w *Workflows) vmStart() task.Body {
	return task.Body{
		Kind: baadal.TaskVMStart,
		Steps: []task.Step{
			{Name: "define", Do: w.define},
			{Name: "start", Do: w.startOff, Undo: w.stopAgain},
		},
		Done: setState(baadal.VMRunning, "is started successfully"),
	}
}

// startOff starts a VM and remembers whether it ran already: somebody may have
// started it on the host, and then its power is not ours to cut.
func (w *Workflows) startOff(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	if err := w.recordState(ctx, r, p); err != nil {
		return err
	}
	return w.sys.Hypervisor.Start(ctx, p.host, p.vm.UUID)
}

func (w *Workflows) stopAgain(ctx context.Context, r *task.Run) error {
	var before found
	known, err := r.Output("start", &before)
	if err != nil || !known || before.State == baadal.VMRunning || before.State == baadal.VMPaused {
		return err
	}
	if before.Saved {
		return w.saveAgain(ctx, r)
	}
	return w.destroy(ctx, r)
}

// saveAgain brings a VM that was started from its saved memory back to there.
func (w *Workflows) saveAgain(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	err = w.sys.Power.Save(ctx, p.host, p.vm.UUID)
	if baadal.KindOf(err) == baadal.Conflict { // it is off, and was not when the step began: somebody else's doing
		return nil
	}
	return err
}

// vmShutdown asks the guest to shut down and waits until it did.
func (w *Workflows) vmShutdown() task.Body {
	return task.Body{
		Kind: baadal.TaskVMShutdown,
		Steps: []task.Step{
			{Name: "ask", Do: w.askShutdown},
			{Name: "wait", Do: w.waitOff, Timeout: time.Hour},
		},
		Done: setState(baadal.VMOff, "is shut down successfully"),
	}
}

// vmReboot asks the guest to reboot; that it comes up again shows as its address
// answering.
func (w *Workflows) vmReboot() task.Body {
	return task.Body{
		Kind:  baadal.TaskVMReboot,
		Steps: []task.Step{{Name: "ask", Do: w.askReboot}},
		Done:  restarted("rebooted"),
	}
}

// vmDestroy cuts a VM's power.
func (w *Workflows) vmDestroy() task.Body {
	return task.Body{
		Kind:  baadal.TaskVMDestroy,
		Steps: []task.Step{{Name: "destroy", Do: w.destroyOrDiscard}},
		Done:  setState(baadal.VMOff, "is destroyed successfully"),
	}
}

func (w *Workflows) askShutdown(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	return w.sys.Hypervisor.Shutdown(ctx, p.host, p.vm.UUID)
}

func (w *Workflows) askReboot(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	return w.sys.Hypervisor.Reboot(ctx, p.host, p.vm.UUID)
}

// waitOff waits until the domain is off. A guest that was still booting when it
// was asked did not hear it, so it is asked again from time to time.
func (w *Workflows) waitOff(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	limit, err := w.duration(ctx, baadal.SettingShutdownWait)
	if err != nil {
		return err
	}
	const again = 15 * time.Second
	begun, asked := time.Now(), time.Now()
	for {
		info, err := w.sys.Hypervisor.Domain(ctx, p.host, p.vm.UUID)
		if err != nil {
			return err
		}
		passed := time.Since(begun)
		switch {
		case info.State == baadal.VMOff:
			r.Detail("off after %s", passed.Round(100*time.Millisecond))
			return nil
		case passed > limit:
			return baadal.Errorf(baadal.Conflict, "%s did not shut down within %s; it still runs", p.vm.Name, limit).
				WithCode("shutdown_ignored").WithNext("Cut its power", "baadal vm destroy "+p.vm.Name)
		case time.Since(asked) > again:
			asked = time.Now()
			if err := w.sys.Hypervisor.Shutdown(ctx, p.host, p.vm.UUID); err != nil {
				return err
			}
		}
		r.Progress(min(1, passed.Seconds()/limit.Seconds()), fmt.Sprintf("waiting for %s", passed.Round(time.Second)))
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

func (w *Workflows) duration(ctx context.Context, name string) (d time.Duration, err error) {
	err = w.db.View(ctx, func(tx *store.Tx) error {
		v, err := tx.SettingValues()
		d = v.Duration(name)
		return err
	})
	return d, err
}
