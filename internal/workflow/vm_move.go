package workflow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// VMMoveParams are the parameters of a move to another datastore. Room there was
// claimed in the transaction that made the task.
type VMMoveParams struct {
	From  int64         `json:"from"` // datastore where all of these disks lie
	To    int64         `json:"to"`
	Disks []int64       `json:"disks"` // 0 is the first one
	Wish  baadal.VMMove `json:"wish"`
}

// vmMove moves a VM's disks to another datastore, while it runs if it does.
// Which file a disk is, is what the domain says: of one that runs the file that
// it writes to, of one that is off the file that it is defined with. The store
// follows. Before a disk is used at its new place everything can be taken back;
// from then on it is gone through with, and nothing is sent back. The old files
// go last.
func (w *Workflows) vmMove() task.Body {
	return task.Body{
		Kind: baadal.TaskVMMove,
		Steps: []task.Step{
			{Name: "preflight", Do: w.movePreflight},
			{Name: "prepare", Do: w.prepareMove, Undo: w.unprepareMove},
			{Name: "move", Do: w.endChainFirst(w.moveDisks), Undo: w.settleMove, Timeout: 25 * time.Hour},
			{Name: "remove old files", Do: w.removeOldFiles},
		},
		Done:   vmMoved,
		Undone: vmNotMoved,
	}
}

// removal is a move with everything around it.
type removal struct {
	place
	params   VMMoveParams
	from, to baadal.Datastore
	moving   []diskAt // as the store has them now
	before   stood
}

// stood is what the preflight found.
type stood struct {
	Snapshots []baadal.DomainSnapshot `json:"snapshots"`
	Depth     int                     `json:"depth"` // files that the deepest disk stands on
	Bytes     map[int64]int64         `json:"bytes"` // virtual size of each disk
}

// whole says that the files are copied as they are: with their snapshots, and
// standing on what they stand on. Otherwise the copies are flat.
func (s *stood) whole() bool { return len(s.Snapshots) > 0 }

func (w *Workflows) loadRemoval(ctx context.Context, r *task.Run) (m removal, err error) {
	if m.params, err = task.Params[VMMoveParams](r); err != nil {
		return m, err
	}
	if m.place, err = w.load(ctx, r); err != nil {
		return m, err
	}
	if _, err = r.Output("preflight", &m.before); err != nil {
		return m, err
	}
	err = w.db.View(ctx, func(tx *store.Tx) error {
		if m.from, err = tx.Datastore(m.params.From); err != nil {
			return err
		}
		m.to, err = tx.Datastore(m.params.To)
		return err
	})
	for _, id := range m.params.Disks {
		for _, k := range m.disks {
			if k.ID == id {
				m.moving = append(m.moving, k)
			}
		}
	}
	return m, err
}

// move is the way of a disk's file.
func (m *removal) move(k diskAt) baadal.DiskMove {
	way := baadal.DiskMove{From: m.file(k), To: m.file(k), Bytes: m.before.Bytes[k.ID]}
	way.From.Datastore, way.To.Datastore = m.from, m.to
	return way
}

// plugged says that the domain has the disk.
func plugged(k diskAt) bool { return k.First() || k.State == baadal.DiskAttached }

// sighting is what the domain says of its disks.
type sighting struct {
	active bool
	at     map[string]baadal.DiskCopy // by file
}

func (w *Workflows) sight(ctx context.Context, m *removal) (s sighting, err error) {
	var all []baadal.DiskCopy
	if s.active, all, err = w.sys.Copier.DiskCopies(ctx, m.host, m.vm.UUID); err != nil {
		return s, err
	}
	s.at = map[string]baadal.DiskCopy{}
	for _, c := range all {
		s.at[c.File] = c
	}
	return s, nil
}

// arrived reports whether a disk is used at its new place. Where one is that the
// domain does not have, only the store says.
func (m *removal) arrived(s sighting, k diskAt) bool {
	if !plugged(k) {
		return k.store.ID == m.to.ID
	}
	way := m.move(k)
	_, there := s.at[way.To.Path()]
	return there
}

// movePreflight looks at the domain, its disks and the datastore before anything
// is touched, and records what it found.
func (w *Workflows) movePreflight(ctx context.Context, r *task.Run) error {
	m, err := w.loadRemoval(ctx, r)
	if err != nil {
		return err
	}
	if known, err := r.Output("preflight", &stood{}); known || err != nil {
		return err
	}
	info, err := w.sys.Hypervisor.Domain(ctx, m.host, m.vm.UUID)
	if baadal.KindOf(err) == baadal.NotFound {
		return baadal.Errorf(baadal.Conflict, "%s does not know the domain of %s", m.host.Name, m.vm.Name).WithCode("vm_missing").
			WithNext("Define it again from the store", "baadal audit --repair")
	}
	if err != nil {
		return err
	}
	if info.Saved {
		return baadal.Errorf(baadal.Conflict, "%s is saved to disk: it goes on with the disks that it had", m.vm.Name).WithCode("vm_saved").
			WithNext("Start it first", "baadal vm start "+m.vm.Name)
	}
	if err := w.usableTarget(ctx, &m); err != nil {
		return err
	}
	s, err := w.sight(ctx, &m)
	if err != nil {
		return err
	}
	if err := m.known(s); err != nil {
		return err
	}
	if m.before.Snapshots, err = w.sys.Snapshots.Snapshots(ctx, m.host, m.vm.UUID); err != nil {
		return err
	}
	if err := w.measureMove(ctx, &m); err != nil {
		return err
	}
	if s.active && m.before.whole() {
		return baadal.MoveNeedsOff(m.vm.Name, len(m.before.Snapshots))
	}
	r.Detail("%s on %s, %d disks", info.State, m.host.Name, len(m.moving))
	return r.Record(m.before)
}

// usableTarget asks the VM's host whether it can write to the datastore.
func (w *Workflows) usableTarget(ctx context.Context, m *removal) error {
	u, err := w.sys.Disks.Usage(ctx, m.host, m.to)
	switch {
	case err != nil:
		return err
	case !u.Mounted:
		return baadal.Errorf(baadal.Conflict, "datastore %s is not mounted on %s, where %s is", m.to.Name, m.host.Name, m.vm.Name).WithCode("datastore_not_mounted").
			WithNext("Mount it there", "mount "+m.to.Path)
	case !u.Writable:
		return baadal.Errorf(baadal.Conflict, "%s cannot write to datastore %s", m.host.Name, m.to.Name).WithCode("datastore_read_only").
			WithNext("If it is mounted read-only, mount it for writing there", "mount -o remount,rw "+m.to.Path)
	}
	return nil
}

// known refuses a domain that does not use the files that the store knows of.
func (m *removal) known(s sighting) error {
	for _, k := range m.moving {
		way := m.move(k)
		if c, there := s.at[way.From.Path()]; plugged(k) && (!there || c.To != "") {
			return baadal.Errorf(baadal.Conflict, "%s does not use %s, or copies it already", m.vm.Name, way.From.Path()).WithCode("disk_missing").
				WithNext("See what differs", "baadal audit")
		}
	}
	return nil
}

// measureMove reads the sizes of the disks, and what they stand on.
func (w *Workflows) measureMove(ctx context.Context, m *removal) error {
	m.before.Bytes = map[int64]int64{}
	for _, k := range m.moving {
		chain, err := w.sys.Bases.DiskChain(ctx, m.host, baadal.DiskFreeze{DiskFile: m.move(k).From})
		if err != nil {
			return err
		}
		m.before.Bytes[k.ID], m.before.Depth = chain.Bytes, max(m.before.Depth, chain.Depth)
		if chain.Snapshots > 0 && !m.before.whole() {
			return baadal.Errorf(baadal.Conflict, "%s holds snapshots that the host of %s does not know", k.Name, m.vm.Name).WithCode("snapshot_unusable").
				WithDetail("a copy would lose them").WithNext("Tell the host of them again", "baadal audit --repair")
		}
	}
	return nil
}

// prepareMove makes the folders at the new place.
func (w *Workflows) prepareMove(ctx context.Context, r *task.Run) error {
	m, err := w.loadRemoval(ctx, r)
	if err != nil {
		return err
	}
	for _, k := range m.moving {
		if err := w.sys.Mover.PrepareMove(ctx, m.host, m.move(k)); err != nil {
			return err
		}
	}
	return nil
}

// unprepareMove removes what was made at the new place for disks that are not
// used there. Nothing copies them any more: that was undone before.
func (w *Workflows) unprepareMove(ctx context.Context, r *task.Run) error {
	m, err := w.loadRemoval(ctx, r)
	if err != nil {
		return err
	}
	for _, k := range m.moving {
		if k.store.ID == m.to.ID {
			continue
		}
		if err := w.removeFile(ctx, &m, m.move(k).To); err != nil {
			return err
		}
	}
	return nil
}

// removeFile removes a disk's file; with the first one the VM's whole folder.
func (w *Workflows) removeFile(ctx context.Context, m *removal, f baadal.DiskFile) error {
	if f.DiskID == 0 {
		return w.sys.Disks.RemoveImage(ctx, m.host, f.Datastore, m.vm.Identity, m.vm.UUID)
	}
	return w.sys.ExtraDisks.RemoveDisk(ctx, m.host, f)
}

// left is what the last step could not remove.
type left struct {
	Words string `json:"words"`
}

// refusals are why old files may have to stay.
var refusals = []string{"datastore_read_only", "datastore_not_mounted", "folder_exists"}

// removeOldFiles removes what the disks left. A datastore that refuses that, as
// one that became read-only, does not spoil the move: the audit shows the rest.
func (w *Workflows) removeOldFiles(ctx context.Context, r *task.Run) error {
	m, err := w.loadRemoval(ctx, r)
	if err != nil {
		return err
	}
	words, err := w.leave(ctx, &m)
	if err != nil || words == "" {
		return err
	}
	return r.Record(left{words})
}

// leave removes the old files of the disks that are used at their new place, by
// the domain and by the store; words say what refused to go.
func (w *Workflows) leave(ctx context.Context, m *removal) (words string, err error) {
	s, err := w.sight(ctx, m)
	if err != nil {
		return "", err
	}
	for _, k := range m.moving {
		way := m.move(k)
		if _, used := s.at[way.From.Path()]; used || !m.arrived(s, k) || k.store.ID != m.to.ID {
			continue
		}
		err := w.removeFile(ctx, m, way.From)
		switch {
		case slices.Contains(refusals, baadal.CodeOf(err)):
			words = baadal.Message(err)
		case err != nil:
			return words, err
		}
	}
	return words, nil
}

// vmMoved gives back the room where the disks were, and what they stood on.
func vmMoved(tx *store.Tx, r *task.Run) (string, error) {
	vm, there, err := endMove(tx, r)
	if err != nil {
		return "", err
	}
	var before stood
	var rest left
	if _, err := r.Output("preflight", &before); err != nil {
		return "", err
	}
	if _, err := r.Output("remove old files", &rest); err != nil {
		return "", err
	}
	words := fmt.Sprintf("%s is migrated to datastore %s successfully", vm.Name, there)
	switch {
	case before.Depth > 0 && before.whole():
		words += "; with its snapshots, it still stands on what it stood on"
	case before.Depth > 0:
		words += "; it is flat now and stands on nothing any more"
	}
	if rest.Words != "" {
		words += "; its old files could not be removed: " + rest.Words
	}
	return words, nil
}

// vmNotMoved gives back the room where disks are not used, and says so if some
// had arrived before the move was taken back.
func vmNotMoved(tx *store.Tx, r *task.Run) error {
	vm, there, err := endMove(tx, r)
	if err == nil && there != "" {
		r.Task.Message += fmt.Sprintf("; what had arrived of %s on %s by then stays there", vm.Name, there)
	}
	return err
}

// endMove writes what is true once nothing is on its way any more. there is the
// new datastore if a disk is on it.
func endMove(tx *store.Tx, r *task.Run) (vm baadal.VM, there string, err error) {
	params, err := task.Params[VMMoveParams](r)
	if err != nil {
		return vm, "", err
	}
	if vm, err = tx.VM(r.Task.Subject.ID); err != nil {
		return vm, "", err
	}
	if err := tx.ReleaseMoves(vm.ID); err != nil {
		return vm, "", err
	}
	from, err := tx.Datastore(params.From)
	if err != nil {
		return vm, "", err
	}
	var before stood
	if _, err := r.Output("preflight", &before); err != nil {
		return vm, "", err
	}
	for _, id := range params.Disks {
		k, err := tx.FirstDisk(vm)
		if err == nil && id != 0 {
			k, err = tx.Disk(id)
		}
		if err != nil {
			return vm, "", err
		}
		if k.DatastoreID != params.To {
			continue
		}
		if there, err = diskMoved(tx, r, vm, k.FileName(), from, params.To); err != nil {
			return vm, "", err
		}
		if before.whole() || k.BaseID == 0 {
			continue
		}
		if err := errors.Join(setDisk(tx, vm.ID, id, k.File, 0), freeBase(tx, k.BaseID)); err != nil {
			return vm, "", err
		}
	}
	return vm, there, nil
}

// diskMoved tells that a disk is on another datastore, and returns its name.
func diskMoved(tx *store.Tx, r *task.Run, vm baadal.VM, disk string, from baadal.Datastore, to int64) (string, error) {
	now, err := tx.Datastore(to)
	if err != nil {
		return "", err
	}
	changes, err := baadal.Changes{"datastore": {Old: from.Name, New: now.Name}}.JSON()
	if err != nil {
		return "", err
	}
	_, err = tx.AddEvent(baadal.Event{
		Topic: "vm", Subject: vmSubject(vm), Version: vm.Generation, What: "disk " + disk + " moved", ActorID: r.Task.RequesterID, Actor: r.Task.Requester,
		OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID, Changes: changes,
	})
	return now.Name, err
}
