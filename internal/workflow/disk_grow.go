package workflow

import (
	"context"
	"fmt"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// diskGrow makes a disk larger, under the guest's eyes if the VM runs. The new
// size was claimed in the transaction that made the task. A disk is never made
// smaller, so what an undo finds to have grown stays grown, and claimed.
func (w *Workflows) diskGrow() task.Body {
	return task.Body{
		Kind:   baadal.TaskDiskGrow,
		Steps:  []task.Step{{Name: "grow", Do: w.growDisk, Undo: w.measureDisk}},
		Done:   diskGrown,
		Undone: diskNotGrown,
	}
}

// diskLimit sets what a disk may do in a second, at once if the VM runs.
func (w *Workflows) diskLimit() task.Body {
	return task.Body{
		Kind:  baadal.TaskDiskLimit,
		Steps: []task.Step{{Name: "limit", Do: w.limitDisk, Undo: w.limitAsBefore}},
		Done: func(tx *store.Tx, r *task.Run) (string, error) {
			params, err := task.Params[DiskParams](r)
			if err != nil {
				return "", err
			}
			k, err := changeDisk(tx, r, "limited", func(k *baadal.Disk) { k.BytesPerSecond, k.IOPS = params.Limit.BytesPerSecond, params.Limit.IOPS })
			return "the limits of " + k.Name + " are set", err
		},
	}
}

func (w *Workflows) growDisk(ctx context.Context, r *task.Run) error {
	p, k, _, err := w.loadDisk(ctx, r)
	if err != nil {
		return err
	}
	bytes := int64(k.SizeGiB) << 30
	if k.State == baadal.DiskAttached {
		info, err := w.sys.Hypervisor.Domain(ctx, p.host, p.vm.UUID)
		if err != nil {
			return err
		}
		if info.State == baadal.VMRunning || info.State == baadal.VMPaused {
			r.Detail("the guest sees it at once")
			return w.sys.DiskPlugs.ResizeDisk(ctx, p.host, p.vm.UUID, p.device(k), bytes)
		}
	}
	host, err := w.diskHost(ctx, p, k.store)
	if err != nil {
		return err
	}
	return w.sys.Sizer.GrowDisk(ctx, host, p.file(k), bytes)
}

// measured is the size that a disk was found to have.
type measured struct {
	GiB int `json:"gib"`
}

func (w *Workflows) measureDisk(ctx context.Context, r *task.Run) error {
	return w.fileWork(ctx, r, func(host baadal.Host, f baadal.DiskFile, _ diskAt, _ DiskParams) error {
		info, err := w.sys.Sizer.DiskInfo(ctx, host, f)
		if baadal.KindOf(err) == baadal.NotFound {
			return nil
		}
		if err != nil {
			return err
		}
		return r.Record(measured{GiB: int((info.VirtualSize + 1<<30 - 1) >> 30)})
	})
}

func diskGrown(tx *store.Tx, r *task.Run) (string, error) {
	k, err := changeDisk(tx, r, "grown", func(*baadal.Disk) {})
	return fmt.Sprintf("%s of %s has %d GiB now", k.Name, k.VM, k.SizeGiB), err
}

// diskNotGrown makes the size that is claimed the one that is there.
func diskNotGrown(tx *store.Tx, r *task.Run) error {
	params, err := task.Params[DiskParams](r)
	if err != nil {
		return err
	}
	now := measured{GiB: params.WasGiB}
	if _, err := r.Output("grow", &now); err != nil {
		return err
	}
	if params.DiskID == 0 {
		vm, err := tx.VM(r.Task.Subject.ID)
		if err != nil {
			return err
		}
		vm.DiskGiB = now.GiB
		return tx.UpdateVM(&vm)
	}
	_, err = changeDisk(tx, r, "not grown", func(k *baadal.Disk) { k.SizeGiB = now.GiB })
	return err
}

func (w *Workflows) limitDisk(ctx context.Context, r *task.Run) error {
	p, k, params, err := w.loadDisk(ctx, r)
	if err != nil || k.State != baadal.DiskAttached { // it gets them when it is attached
		return err
	}
	d := p.device(k)
	d.BytesPerSecond, d.IOPS = params.Limit.BytesPerSecond, params.Limit.IOPS
	return w.sys.DiskPlugs.LimitDisk(ctx, p.host, p.vm.UUID, d)
}

func (w *Workflows) limitAsBefore(ctx context.Context, r *task.Run) error {
	p, k, _, err := w.loadDisk(ctx, r)
	if err != nil || k.State != baadal.DiskAttached {
		return err
	}
	err = w.sys.DiskPlugs.LimitDisk(ctx, p.host, p.vm.UUID, p.device(k))
	if baadal.KindOf(err) == baadal.NotFound {
		return nil
	}
	return err
}
