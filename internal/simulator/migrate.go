package simulator

import (
	"context"
	"time"

	"baadal"
)

// A migration is made of the steps that libvirt's is made of, each an operation
// that can fail, or after which the process can be killed:
//
//	prepare (destination)  a transient half that waits, paused
//	perform (source)       copies for MigrateTime; then the source stands still; with
//	                       post-copy that is half-way, and the destination runs from there on
//	finish  (destination)  runs on there; or, cancelled, the half is gone
//	confirm (source)       the source is off
//
// A half that a migration left is paused and Migrating: it writes to no disk.
// Unlike libvirtd, which removes a half whose connection is lost, the simulator
// leaves it: whoever comes after must find and remove it.

// Migrate moves an active domain with its memory. Its definition stays, shut
// off, on the source.
func (v *Hypervisor) Migrate(ctx context.Context, src, dst baadal.Host, uuid string, opt baadal.Migration, progress func(baadal.MigrationProgress)) (done baadal.MigrationProgress, err error) {
	var def, live baadal.Domain
	var paused bool
	err = v.w.call(ctx, "hypervisor.migrate_begin", src, func(h *host) error {
		d := h.Domains[uuid]
		switch {
		case d == nil:
			return noDomain(h, uuid)
		case !d.active() || d.Migrating:
			return baadal.Errorf(baadal.Conflict, "%s is not running", d.Def.Name).WithCode("domain_state")
		case len(d.Snaps) > 0:
			return baadal.Errorf(baadal.Conflict, "cannot migrate domain with %d snapshots", len(d.Snaps)).WithCode("domain_state")
		}
		if err := v.w.marked(d); err != nil {
			return err
		}
		def, live, paused = copyDomain(d.Def), copyDomain(*d.Live), d.State == baadal.VMPaused
		return nil
	})
	if err != nil {
		return done, err
	}
	if err := v.prepare(ctx, dst, def, live); err != nil {
		return done, err
	}
	opt.PostCopy = opt.PostCopy && !paused // one that is paused writes nothing
	cause := v.perform(ctx, src, dst, uuid, opt, progress)
	after := context.WithoutCancel(ctx) // the guest stands still: this is gone through with
	if cause != nil {
		_ = v.w.call(after, "hypervisor.migrate_finish", dst, func(h *host) error {
			v.w.removeHalf(h, uuid)
			return nil
		})
		return done, cause
	}
	if err := v.finish(after, src, dst, uuid, paused); err != nil {
		return done, err
	}
	ram := int64(live.RAMMiB) << 20
	done = baadal.MigrationProgress{Total: ram, Processed: ram, Downtime: 50 * time.Millisecond, PostCopy: opt.PostCopy}
	return done, v.w.call(after, "hypervisor.migrate_confirm", src, func(h *host) error {
		if d := h.Domains[uuid]; d != nil {
			v.w.stop(d, baadal.VMOff, v.w.now())
		}
		return nil
	})
}

// prepare makes the half that waits on the destination.
func (v *Hypervisor) prepare(ctx context.Context, dst baadal.Host, def, live baadal.Domain) error {
	return v.w.call(ctx, "hypervisor.migrate_prepare", dst, func(h *host) error {
		if h.Domains[def.UUID] != nil {
			return baadal.Errorf(baadal.Conflict, "%s has the domain %s already", h.Name, def.Name).WithCode("domain_exists")
		}
		for _, disk := range live.Disks {
			if _, err := v.w.usable(h, disk.Path); err != nil {
				return err
			}
		}
		d := &domain{Def: def, Live: &live, State: baadal.VMPaused, Migrating: true, Since: v.w.now(), host: h}
		h.Domains[def.UUID] = d
		v.w.setState(d, baadal.VMPaused, d.Since)
		return nil
	})
}

// perform copies, and then lets the source stand still.
func (v *Hypervisor) perform(ctx context.Context, src, dst baadal.Host, uuid string, opt baadal.Migration, progress func(baadal.MigrationProgress)) error {
	const op, slices = "hypervisor.migrate_perform", 10
	return v.w.around(ctx, op, src, func() error {
		for i := range slices {
			ram, err := v.w.copying(ctx, op, src, dst, uuid)
			if err != nil {
				return err
			}
			took := v.w.cfg.MigrateTime
			if opt.BandwidthMiBs > 0 && took > 0 {
				took = max(took, time.Duration(ram>>20)*time.Second/time.Duration(opt.BandwidthMiBs))
			}
			if err := sleep(ctx, took/slices); err != nil {
				return interrupted(op, err)
			}
			p := baadal.MigrationProgress{Total: ram, Processed: ram * int64(i+1) / slices}
			p.Remaining, p.PostCopy = ram-p.Processed, opt.PostCopy && i > slices/2
			if took > 0 {
				p.Rate = int64(float64(ram) / took.Seconds())
			}
			progress(p)
			if opt.PostCopy && i == slices/2 {
				if err := v.postCopy(ctx, src, dst, uuid); err != nil {
					return err
				}
			}
		}
		if _, err := v.w.copying(ctx, op, src, dst, uuid); err != nil {
			return err
		}
		h, err := v.w.reach(ctx, op, src)
		if err != nil {
			return err
		}
		defer v.w.mu.Unlock()
		if d := h.Domains[uuid]; d != nil && !d.PostCopy {
			v.w.freeze(d)
		}
		return v.w.commit(nil)
	})
}

// postCopy lets the guest go on on the destination while a part of its memory
// is still on the source. From here on neither half is whole until finish.
func (v *Hypervisor) postCopy(ctx context.Context, src, dst baadal.Host, uuid string) error {
	err := v.w.call(ctx, "hypervisor.migrate_post_copy", src, func(h *host) error {
		if d := h.Domains[uuid]; d != nil {
			v.w.freeze(d)
			d.Migrating, d.PostCopy = false, true
		}
		return nil
	})
	if err != nil {
		return err
	}
	return v.w.call(ctx, "hypervisor.migrate_go_on", dst, func(h *host) error {
		d := h.Domains[uuid]
		if d == nil {
			return noDomain(h, uuid)
		}
		if err := v.w.thaw(d); err != nil {
			return err
		}
		d.PostCopy = true
		v.w.setState(d, baadal.VMRunning, v.w.now())
		return nil
	})
}

// copying checks that both sides of a migration are still there and returns the
// size of the memory. A silent destination is noticed after UnreachableDelay:
// nothing moves any more.
func (w *World) copying(ctx context.Context, op string, src, dst baadal.Host, uuid string) (ram int64, err error) {
	for _, bh := range []baadal.Host{dst, src} {
		h, err := w.reach(ctx, op, bh)
		if err != nil {
			return 0, err
		}
		d := h.Domains[uuid]
		if d == nil || !d.active() {
			err = baadal.Errorf(baadal.Conflict, "the migration failed: %s is not active on %s any more", uuid, h.Name).WithCode("migration_failed")
		} else {
			ram = int64(d.Live.RAMMiB) << 20
		}
		w.mu.Unlock()
		if err != nil {
			return 0, err
		}
	}
	return ram, nil
}

// finish lets the half on the destination be the domain.
func (v *Hypervisor) finish(ctx context.Context, src, dst baadal.Host, uuid string, paused bool) error {
	return v.w.call(ctx, "hypervisor.migrate_finish", dst, func(h *host) error {
		d := h.Domains[uuid]
		if d == nil || !d.Migrating && !d.PostCopy {
			return baadal.Errorf(baadal.Conflict, "the migration failed: nothing waits on %s", h.Name).WithCode("migration_failed")
		}
		var old *domain
		if from := v.w.find(src); from != nil {
			old = from.Domains[uuid]
		}
		if old != nil && old.State == baadal.VMPaused {
			v.w.unregister(old)
			old.Open = nil
		}
		if !d.PostCopy {
			if err := v.w.thaw(d); err != nil {
				return err
			}
		}
		d.Persistent, d.PostCopy = true, false
		if old != nil {
			d.Booted, d.OffAt, d.RebootAt, d.Deaf = old.Booted, old.OffAt, old.RebootAt, old.Deaf
			old.OffAt, old.RebootAt = time.Time{}, time.Time{}
			delete(old.host.pending, old)
			if !d.due().IsZero() {
				h.pending[d] = true
			}
		}
		state := baadal.VMRunning
		if paused {
			state = baadal.VMPaused
		}
		v.w.setState(d, state, v.w.now())
		v.w.arm(h)
		return nil
	})
}

// freeze makes a domain stand still: it writes to no disk and has no port. One
// that was paused already stays as it is until the destination has it.
func (w *World) freeze(d *domain) {
	if d.State == baadal.VMPaused {
		return
	}
	w.unregister(d)
	d.Open, d.Migrating = nil, true
	w.setState(d, baadal.VMPaused, w.now())
}

// thaw opens the disks of a domain that stood still; QEMU refuses if another
// has them open.
func (w *World) thaw(d *domain) error {
	open, err := w.openDisks(d, d.Live)
	if err != nil {
		return err
	}
	d.Open, d.Migrating = open, false
	w.register(d)
	return nil
}

func (w *World) removeHalf(h *host, uuid string) {
	if d := h.Domains[uuid]; d != nil && d.Migrating && !d.Persistent {
		w.stop(d, baadal.VMOff, w.now())
	}
}

// AbortMigration has nothing to do: a migration ends with the call that makes it.
func (v *Hypervisor) AbortMigration(ctx context.Context, bh baadal.Host, _ string) error {
	return v.w.call(ctx, "hypervisor.migrate_abort", bh, func(*host) error { return nil })
}

// Half looks at what a host has of a domain.
func (v *Hypervisor) Half(ctx context.Context, bh baadal.Host, uuid string) (half baadal.DomainHalf, err error) {
	err = v.w.call(ctx, "hypervisor.half", bh, func(h *host) error {
		if d := h.Domains[uuid]; d != nil {
			half = baadal.DomainHalf{There: true, State: d.State, Persistent: d.Persistent, Migrating: d.Migrating, PostCopy: d.PostCopy, Saved: d.Saved != nil}
		}
		return nil
	})
	return half, err
}

// ResumeMigrated lets a domain run on that a broken migration left standing.
func (v *Hypervisor) ResumeMigrated(ctx context.Context, bh baadal.Host, uuid string) error {
	return v.withDomain(ctx, "hypervisor.migrate_resume", bh, uuid, func(d *domain) error {
		switch {
		case d.State == baadal.VMRunning:
			return nil
		case !d.active() || d.PostCopy:
			return baadal.Errorf(baadal.Conflict, "%s is not whole", d.Def.Name).WithCode("domain_state")
		}
		if err := v.w.thaw(d); err != nil {
			return err
		}
		v.w.setState(d, baadal.VMRunning, v.w.now())
		return nil
	})
}
