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

// moveTries is how often the guest may start or stop while its disks move.
const moveTries = 6

// copied is the journal of the copying: for each disk that was copied while
// nobody used it, what its old file looked like before that. A disk that has
// changed since is copied again.
type copied struct {
	Stamps map[int64]string `json:"stamps"`
}

// moveDisks copies the disks and makes the VM use the copies. It begins with
// asking the domain, so that it may be repeated at any point; so does each
// round, for the guest may start or stop meanwhile.
func (w *Workflows) moveDisks(ctx context.Context, r *task.Run) error {
	m, err := w.loadRemoval(ctx, r)
	if err != nil {
		return err
	}
	var j copied
	if _, err := r.Output("move", &j); err != nil {
		return err
	}
	if j.Stamps == nil {
		j.Stamps = map[int64]string{}
	}
	for try := 1; ; try++ {
		err := w.copyMoving(ctx, r, &m, &j)
		if err == nil {
			err = w.useCopies(ctx, &m, &j)
		}
		if err == nil {
			break
		}
		if baadal.CodeOf(err) != "domain_state" || try == moveTries {
			return w.whyBroken(ctx, &m, err)
		}
		r.Detail("it was started or stopped meanwhile")
		if err := sleep(ctx, time.Duration(try)*50*time.Millisecond); err != nil {
			return err
		}
	}
	return w.settleIn(ctx, r)
}

// whyBroken finds out why a copy was broken off: QEMU does not say.
func (w *Workflows) whyBroken(ctx context.Context, m *removal, cause error) error {
	if baadal.CodeOf(cause) != "copy_failed" {
		return cause
	}
	if err := w.usableTarget(ctx, m); err != nil {
		return err
	}
	const little = 4 << 20
	u, err := w.sys.Disks.Usage(ctx, m.host, m.to)
	if err != nil {
		return err
	}
	if u.Free >= little {
		return cause
	}
	return (&baadal.Error{Kind: baadal.Exhausted, Code: "datastore_full", Title: "datastore " + m.to.Name + " is full", Err: cause}).
		WithDetail("%d of %d MiB were free when the copying was broken off; %s stays on %s", u.Free>>20, u.Capacity>>20, m.vm.Name, m.from.Name).
		WithNext("Purge deleted VMs or add room", "baadal datastore list")
}

// copyMoving makes a copy of each disk that is not used at its new place yet: one
// that follows the disk if the domain runs.
func (w *Workflows) copyMoving(ctx context.Context, r *task.Run, m *removal, j *copied) error {
	s, err := w.sight(ctx, m)
	if err != nil {
		return err
	}
	if s.active && m.before.whole() {
		return baadal.MoveNeedsOff(m.vm.Name, len(m.before.Snapshots))
	}
	var done, total int64
	for _, k := range m.moving {
		total += m.before.Bytes[k.ID]
	}
	for _, k := range m.moving {
		size := m.before.Bytes[k.ID]
		progress := func(p baadal.CopyProgress) {
			sum := baadal.CopyProgress{Done: done + int64(p.Share()*float64(size)), Total: total}
			words := fmt.Sprintf("%s: %d of %d MiB", k.Name, p.Done>>20, p.Total>>20)
			if p.Rate > 0 {
				words += fmt.Sprintf(", %d MiB/s", p.Rate>>20)
			}
			r.Progress(sum.Share(), words)
		}
		switch {
		case m.arrived(s, k):
		case s.active && plugged(k):
			err = w.copyLive(ctx, r, m, j, s, k, progress)
		default:
			err = w.copyStill(ctx, r, m, j, k, progress)
		}
		if err != nil {
			return err
		}
		done += size
	}
	return nil
}

// copyLive returns once the copy is like the disk, and follows it.
func (w *Workflows) copyLive(ctx context.Context, r *task.Run, m *removal, j *copied, s sighting, k diskAt, progress func(baadal.CopyProgress)) error {
	way := m.move(k)
	if s.at[way.From.Path()].To != way.To.Path() { // nothing copies to it: what is there is of an earlier attempt
		delete(j.Stamps, k.ID)
		if err := r.Record(*j); err != nil {
			return err
		}
		if err := w.sys.Mover.EmptyMove(ctx, m.host, way); err != nil {
			return err
		}
	}
	return w.sys.Copier.CopyDisk(ctx, m.host, m.vm.UUID, k.Target, way.To.Path(), m.params.Wish.BytesPerSecond(), progress)
}

// copyStill copies a disk that nobody uses, unless that was done and the disk is
// as it was then.
func (w *Workflows) copyStill(ctx context.Context, r *task.Run, m *removal, j *copied, k diskAt, progress func(baadal.CopyProgress)) error {
	way := m.move(k)
	stamp, err := w.sys.Mover.MoveStamp(ctx, m.host, way)
	if err != nil || stamp == j.Stamps[k.ID] {
		return err
	}
	err = w.sys.Mover.CopyMove(ctx, m.host, way, m.before.whole(), m.params.Wish.BytesPerSecond(), progress)
	if baadal.CodeOf(err) == "disk_in_use" {
		return baadal.Errorf(baadal.Conflict, "%s was started meanwhile: %w", m.vm.Name, err).WithCode("domain_state")
	}
	if err != nil {
		return err
	}
	j.Stamps[k.ID] = stamp
	return r.Record(*j)
}

// useCopies makes the domain use the copies: one that runs goes over disk by
// disk, one that is off is defined with all of them. Conflict (code
// domain_state) if a copy is not what its disk is.
func (w *Workflows) useCopies(ctx context.Context, m *removal, j *copied) error {
	s, err := w.sight(ctx, m)
	if err != nil {
		return err
	}
	changed := baadal.Errorf(baadal.Conflict, "%s was started or stopped while its disks were copied", m.vm.Name).WithCode("domain_state")
	there := m.place // as it will be
	there.disks = append([]diskAt(nil), m.disks...)
	waits := false
	for _, k := range m.moving {
		if !plugged(k) || m.arrived(s, k) {
			continue
		}
		waits = true
		way := m.move(k)
		if c := s.at[way.From.Path()]; s.active && (c.To != way.To.Path() || !c.Ready) {
			return changed
		}
		if s.active {
			continue
		}
		stamp, err := w.sys.Mover.MoveStamp(ctx, m.host, way)
		if err != nil {
			return err
		}
		if stamp != j.Stamps[k.ID] {
			return changed
		}
	}
	switch {
	case !waits:
		return nil
	case !s.active:
		m.put(&there)
		if err := w.sys.Hypervisor.Define(ctx, m.host, w.domain(there)); err != nil {
			return err
		}
		// Somebody may have started it on its old files in that moment.
		if s, err = w.sight(ctx, m); err != nil {
			return err
		}
		for _, k := range m.moving {
			if !m.arrived(s, k) && plugged(k) {
				return changed
			}
		}
		return nil
	}
	for _, k := range m.moving {
		if plugged(k) && !m.arrived(s, k) {
			way := m.move(k)
			if err := w.sys.Copier.PivotDisk(ctx, m.host, m.vm.UUID, k.Target, way.To.Path()); err != nil {
				return err
			}
		}
	}
	return nil
}

// put places the disks that move on their new datastore.
func (m *removal) put(p *place) {
	for i := range p.disks {
		for _, k := range m.moving {
			if p.disks[i].ID == k.ID {
				p.disks[i].store, p.disks[i].DatastoreID = m.to, m.to.ID
			}
		}
		if p.disks[i].First() && p.disks[i].store.ID == m.to.ID {
			p.store = m.to
		}
	}
}

// settleIn writes down which disks are at their new place, and brings the rest
// in line: the definition, the seed in the drive, the snapshots.
func (w *Workflows) settleIn(ctx context.Context, r *task.Run) error {
	m, err := w.loadRemoval(ctx, r)
	if err != nil {
		return err
	}
	s, err := w.sight(ctx, &m)
	if err != nil {
		return err
	}
	var snaps []baadal.DomainSnapshot
	for _, snap := range m.before.Snapshots {
		snap.XML = m.repath(s, snap.XML)
		snaps = append(snaps, snap)
	}
	var j copied
	if _, err := r.Output("move", &j); err != nil {
		return err
	}
	err = w.db.Update(ctx, func(tx *store.Tx) error {
		for _, k := range m.moving {
			if !m.arrived(s, k) && (plugged(k) || j.Stamps[k.ID] == "") {
				continue
			}
			if _, err := tx.ArriveDisk(m.vm.ID, k.ID, m.to.ID); err != nil {
				return err
			}
		}
		if len(snaps) == 0 {
			return nil
		}
		return tx.SeeSnapshots(m.vm.ID, snaps)
	})
	if err != nil {
		return err
	}
	if err := w.define(ctx, r); err != nil {
		return err
	}
	for _, k := range m.moving {
		if k.First() && m.arrived(s, k) {
			if err := w.sys.Copier.SwapSeed(ctx, m.host, m.vm.UUID, m.from.SeedFile(m.vm.Identity), m.to.SeedFile(m.vm.Identity)); err != nil {
				return err
			}
		}
	}
	return w.sys.Snapshots.RedefineSnapshots(ctx, m.host, m.vm.UUID, snaps)
}

var inXML = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// repath puts the new places of disks into the description of a snapshot: it
// brings its machine back with the paths that it holds.
func (m *removal) repath(s sighting, text string) string {
	for _, k := range m.moving {
		if !m.arrived(s, k) {
			continue
		}
		way := m.move(k)
		text = strings.ReplaceAll(text, inXML.Replace(way.From.Path()), inXML.Replace(way.To.Path()))
		if k.First() {
			text = strings.ReplaceAll(text, inXML.Replace(m.from.SeedFile(m.vm.Identity)), inXML.Replace(m.to.SeedFile(m.vm.Identity)))
		}
	}
	return text
}

// settleMove is the undo of the copying. If no disk is used at its new place the
// copying ends and all is as before. Otherwise the VM is made whole with what
// has arrived: a copy that is ready is used too, another one is given up.
func (w *Workflows) settleMove(ctx context.Context, r *task.Run) error {
	m, err := w.loadRemoval(ctx, r)
	if err != nil {
		return err
	}
	s, err := w.sight(ctx, &m)
	if baadal.KindOf(err) == baadal.NotFound { // what it used last cannot be asked any more
		return baadal.Errorf(baadal.Conflict, "%s does not know the domain of %s: nothing was touched", m.host.Name, m.vm.Name).WithCode("vm_missing").
			WithDetail("its disks are on %s, or on %s if they were written to later there", m.from.Name, m.to.Name)
	}
	if err != nil {
		return err
	}
	some := false
	for _, k := range m.moving {
		some = some || m.arrived(s, k)
	}
	for _, k := range m.moving {
		way := m.move(k)
		c := s.at[way.From.Path()]
		switch {
		case m.arrived(s, k) || !plugged(k) || c.To == "":
		case some && c.Ready:
			err = w.sys.Copier.PivotDisk(ctx, m.host, m.vm.UUID, k.Target, way.To.Path())
		default:
			err = w.sys.Copier.StopCopy(ctx, m.host, m.vm.UUID, k.Target)
		}
		if err != nil {
			return err
		}
	}
	if !some {
		return nil
	}
	if err := w.settleIn(ctx, r); err != nil {
		return err
	}
	if m, err = w.loadRemoval(ctx, r); err != nil {
		return err
	}
	_, err = w.leave(ctx, &m)
	return err
}
