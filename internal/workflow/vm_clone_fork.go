package workflow

import (
	"context"
	"sync"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// forked says of which clones all files are there.
type forked struct {
	Made []int64 `json:"made"`
}

// forkClones makes the files of all thin clones: one call for each datastore on
// each host, all hosts at once. Where it fails nothing is lost: a clone whose
// files are not there makes them by itself and says what is wrong.
func (w *Workflows) forkClones(ctx context.Context, r *task.Run) error {
	params, err := task.Params[CloneParams](r)
	if err != nil || params.Wish.Full {
		return err
	}
	clones, err := w.loadClones(ctx, params)
	if err != nil {
		return err
	}
	batches, err := forkBatches(clones)
	if err != nil {
		return err
	}
	missing := map[string]bool{}
	var mu sync.Mutex
	w.eachBatch(batches, func(b forkBatch) {
		made, err := w.sys.Bases.ForkDisks(ctx, b.host, b.forks)
		if err != nil {
			w.opt.Logger.Warn("clones not made at once", "task_id", r.Task.ID, "host", b.host.Name, "error", err)
		}
		there := map[string]bool{}
		for _, uuid := range made {
			there[uuid] = true
		}
		mu.Lock()
		defer mu.Unlock()
		for _, f := range b.forks.Folders {
			if err != nil || !there[f.UUID] {
				missing[f.UUID] = true
			}
		}
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var f forked
	for _, p := range clones {
		if !missing[p.vm.UUID] {
			f.Made = append(f.Made, p.vm.ID)
		}
	}
	r.Detail("%d of %d have their files", len(f.Made), len(params.Clones))
	return r.Record(f)
}

// unforkClones removes the files of clones whose own tasks were never made.
func (w *Workflows) unforkClones(ctx context.Context, r *task.Run) error {
	params, err := task.Params[CloneParams](r)
	if err != nil || params.Wish.Full {
		return err
	}
	var children []baadal.Task
	err = w.db.View(ctx, func(tx *store.Tx) (err error) { children, err = tx.ChildTasks(r.Task.ID); return err })
	if err != nil || len(children) > 0 {
		return err // each of them takes back its own
	}
	clones, err := w.loadClones(ctx, params)
	if err != nil {
		return err
	}
	batches, err := forkBatches(clones)
	if err != nil {
		return err
	}
	var failed error
	var mu sync.Mutex
	w.eachBatch(batches, func(b forkBatch) {
		err := w.unfork(ctx, b, clones)
		mu.Lock()
		defer mu.Unlock()
		if failed == nil {
			failed = err
		}
	})
	return failed
}

// unfork ends what may still be at work on a batch, and removes what it made.
func (w *Workflows) unfork(ctx context.Context, b forkBatch, clones []place) error {
	end := b.forks
	end.Folders = nil
	if _, err := w.sys.Bases.ForkDisks(ctx, b.host, end); err != nil {
		return err
	}
	for _, p := range clones {
		if p.host.ID != b.host.ID {
			continue
		}
		if !b.forks.Extra && p.store.ID == b.forks.Datastore.ID {
			if err := w.sys.Disks.RemoveImage(ctx, p.host, p.store, p.vm.Identity, p.vm.UUID); err != nil {
				return err
			}
		}
		for _, k := range p.extra() {
			if !b.forks.Extra || k.store.ID != b.forks.Datastore.ID {
				continue
			}
			if err := w.sys.ExtraDisks.RemoveDisk(ctx, p.host, p.file(k)); err != nil {
				return err
			}
		}
	}
	return nil
}

// loadClones reads the clones of a task that are still there, with the bases
// that they stand on.
func (w *Workflows) loadClones(ctx context.Context, params CloneParams) (clones []place, err error) {
	err = w.db.View(ctx, func(tx *store.Tx) error {
		clones = nil
		for _, id := range params.Clones {
			p, err := loadPlace(tx, id)
			if baadal.KindOf(err) == baadal.NotFound {
				continue
			}
			if err != nil {
				return err
			}
			if p.bases, err = basesOf(tx, p); err != nil {
				return err
			}
			clones = append(clones, p)
		}
		return nil
	})
	return clones, err
}

// basesOf reads the bases under a VM's disks.
func basesOf(tx *store.Tx, p place) (map[int64]baadal.Base, error) {
	all := map[int64]baadal.Base{}
	for _, k := range p.disks {
		if k.BaseID == 0 {
			continue
		}
		b, err := tx.Base(k.BaseID)
		if err != nil {
			return nil, err
		}
		all[b.ID] = b
	}
	return all, nil
}

// forkBatch is what one call makes.
type forkBatch struct {
	host  baadal.Host
	forks baadal.DiskForks
}

// forkBatches groups the folders of clones by host and datastore.
func forkBatches(clones []place) ([]forkBatch, error) {
	type key struct {
		host, store int64
		extra       bool
	}
	var order []key
	all := map[key]*forkBatch{}
	add := func(p place, ds baadal.Datastore, extra bool, f baadal.DiskFork) {
		at := key{p.host.ID, ds.ID, extra}
		b := all[at]
		if b == nil {
			// All clones have the same bases, in the same order; no two batches of a host have the same first one.
			b = &forkBatch{host: p.host, forks: baadal.DiskForks{Datastore: ds, Extra: extra, Turn: f.Disks[0].Base}}
			all[at], order = b, append(order, at)
		}
		b.forks.Folders = append(b.forks.Folders, f)
	}
	for _, p := range clones {
		seed, err := seedOf(p)
		if err != nil {
			return nil, err
		}
		folders := map[int64]*baadal.DiskFork{}
		var stores []baadal.Datastore
		for _, k := range p.extra() {
			if folders[k.store.ID] == nil {
				folders[k.store.ID] = &baadal.DiskFork{Identity: p.vm.Identity, UUID: p.vm.UUID}
				stores = append(stores, k.store)
			}
			f := folders[k.store.ID]
			f.Disks = append(f.Disks, p.forkedDisk(k))
		}
		add(p, p.store, false, baadal.DiskFork{Identity: p.vm.Identity, UUID: p.vm.UUID, Seed: seed, Disks: []baadal.ForkedDisk{p.forkedDisk(p.disks[0])}})
		for _, ds := range stores {
			add(p, ds, true, *folders[ds.ID])
		}
	}
	batches := make([]forkBatch, len(order))
	for i, at := range order {
		batches[i] = *all[at]
	}
	return batches, nil
}

func (p *place) forkedDisk(k diskAt) baadal.ForkedDisk {
	return baadal.ForkedDisk{Name: p.file(k).Name, ID: k.ID, Base: p.bases[k.BaseID].UUID, Bytes: int64(k.SizeGiB) << 30}
}

// eachBatch works on all batches at once; there are as many as hosts times
// datastores.
func (w *Workflows) eachBatch(batches []forkBatch, do func(forkBatch)) {
	var wg sync.WaitGroup
	for _, b := range batches {
		wg.Go(func() { do(b) })
	}
	wg.Wait()
}
