package service

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"baadal"
	"baadal/internal/placement"
	"baadal/internal/store"
)

// Files is what requests do with files on datastores: they look at images, and
// carry bytes in and out. Everything else that changes a host is a task's.
type Files interface {
	// InspectImage looks at an image file anywhere on a host; workflow's Images has the contract.
	InspectImage(ctx context.Context, host baadal.Host, path string, trusted bool) (baadal.ImageInfo, error)
	// WriteUpload writes r to an upload's file, as a whole or not at all, and tells its length and SHA-256.
	WriteUpload(ctx context.Context, host baadal.Host, ds baadal.Datastore, uuid string, r io.Reader) (baadal.ImageInfo, error)
	// ReadImage writes an image's bytes from an offset on to w, until the end or until w or ctx ends.
	ReadImage(ctx context.Context, host baadal.Host, c baadal.ImageCopy, offset int64, w io.Writer) error
	// RemoveImageCopy removes an image. None is success.
	RemoveImageCopy(ctx context.Context, host baadal.Host, c baadal.ImageCopy) error
}

// Foreign looks at domains that are not ours.
type Foreign interface {
	// ForeignDomain looks at a domain by its UUID or name; NotFound if the host answers and does not know it.
	ForeignDomain(ctx context.Context, host baadal.Host, ref string) (baadal.ForeignDomain, error)
}

func transferSubject(f baadal.Transfer) baadal.Subject {
	return baadal.Subject{Kind: "transfer", ID: f.ID, Name: f.Name}
}

// Upload is a file that waits on a datastore for what it is used for.
type Upload struct {
	ID     string `json:"upload_id"`
	Size   int64  `json:"size_bytes"`
	SHA256 string `json:"sha256"`
}

// Upload writes r to a datastore, the best one if none is named, through a host
// that mounts it: so that every controller can go on with it, and none keeps it.
// A broken upload leaves nothing behind.
func (s *Service) Upload(ctx context.Context, a baadal.Actor, datastore string, r io.Reader) (u Upload, err error) {
	if err := may(a, baadal.ActionUpload); err != nil {
		return u, err
	}
	f := baadal.Transfer{UUID: newUUID(), Kind: baadal.TransferUpload, Name: "upload", OwnerID: a.User.ID, RequesterID: a.User.ID}
	var ds baadal.Datastore
	var host baadal.Host
	room := int64(math.MaxInt64)
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		if ds, err = importTarget(tx, datastore); err != nil {
			return fieldOf(err, "datastore")
		}
		if host, err = fileHost(tx, ds); err != nil {
			return err
		}
		settings, err := tx.SettingValues()
		if err != nil {
			return err
		}
		if ds.MeasuredAt != nil {
			room = ds.Free - placement.LimitsOf(settings).DiskReserve
		}
		f.DatastoreID = ds.ID
		return tx.CreateTransfer(&f)
	})
	if err != nil {
		return u, hideHosts(a, err)
	}
	in := &uploadReader{ctx: ctx, s: s, r: r, id: f.ID, used: s.db.Now(), datastore: ds.Name, room: room}
	info, err := s.opt.Files.WriteUpload(ctx, host, ds, f.UUID, in)
	if err == nil {
		err = s.db.Update(ctx, func(tx *store.Tx) error { return tx.SetTransfer(f.ID, baadal.TransferReady, info) })
	}
	if err != nil {
		s.dropUpload(ctx, host, ds, f)
		return u, hideHosts(a, err)
	}
	return Upload{ID: f.UUID, Size: info.FileSize, SHA256: info.SHA256}, nil
}

// dropUpload removes what is left of a broken upload. What cannot be removed now
// goes with the transfers that nobody uses.
func (s *Service) dropUpload(ctx context.Context, host baadal.Host, ds baadal.Datastore, f baadal.Transfer) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer stop()
	err := s.opt.Files.RemoveImageCopy(ctx, host, baadal.ImageCopy{Datastore: ds, Area: baadal.DirMigration, File: f.UUID})
	if err == nil {
		err = s.db.Update(ctx, func(tx *store.Tx) error { return tx.DeleteTransfer(f.ID) })
	}
	if err != nil {
		s.log.WarnContext(ctx, "broken upload stays for a while", "datastore", ds.Name, "file", f.UUID, "error", err)
	}
}

// fileHost is a host through which files of a datastore are reached: of those
// that are up and mount it, the one with the fewest VMs.
func fileHost(tx *store.Tx, ds baadal.Datastore) (best baadal.Host, err error) {
	hosts, err := tx.AllHosts()
	if err != nil {
		return best, err
	}
	for _, h := range hosts {
		if h.State == baadal.HostUp && (len(ds.Hosts) == 0 || slices.Contains(ds.Hosts, h.Name)) && (best.ID == 0 || h.VMs < best.VMs) {
			best = h
		}
	}
	if best.ID == 0 {
		return best, baadal.Errorf(baadal.Unavailable, "no host that is up mounts datastore %s", ds.Name).WithCode("no_host").
			WithNext("See what is wrong with the hosts", "baadal host list")
	}
	return best, nil
}

// uploadReader ends an upload when its context does, and before it fills up the
// datastore: every VM there would stand still. One that takes days is no upload
// that nobody uses.
type uploadReader struct {
	ctx       context.Context //nolint:containedctx // it lives as long as one copy
	s         *Service
	r         io.Reader
	id        int64
	used      time.Time // when the store was told last that it is written
	datastore string
	room      int64 // bytes that may still come
}

func (u *uploadReader) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := u.r.Read(p)
	if u.room -= int64(n); u.room < 0 {
		return 0, baadal.Errorf(baadal.Exhausted, "datastore %s has too little room for the file", u.datastore).WithCode("datastore_full").
			WithNext("Empty it or choose another", "baadal datastore list")
	}
	if now := u.s.db.Now(); err == nil && now.Sub(u.used) > time.Hour {
		u.used = now
		if err := u.s.db.Update(u.ctx, func(tx *store.Tx) error { return tx.UseTransfer(u.id) }); err != nil {
			u.s.log.WarnContext(u.ctx, "upload not noted as in use", "transfer_id", u.id, "error", err)
		}
	}
	return n, err
}

// takeUpload finds an upload for whoever may use it, and takes it: nobody else
// gets it from here on.
func takeUpload(tx *store.Tx, a baadal.Actor, id string) (baadal.Transfer, error) {
	f, err := findUpload(tx, a, id)
	if err != nil {
		return f, err
	}
	return f, tx.SetTransfer(f.ID, baadal.TransferTaken, baadal.ImageInfo{FileSize: f.Size, VirtualSize: f.VirtualSize, SHA256: f.SHA256})
}

// findUpload finds an upload that waits to be used.
func findUpload(tx *store.Tx, a baadal.Actor, id string) (baadal.Transfer, error) {
	gone := baadal.Errorf(baadal.NotFound, "there is no upload %q", id).WithField("upload_id")
	f, err := tx.TransferByUUID(id, a.Sees(baadal.ActionUpload))
	if baadal.KindOf(err) == baadal.NotFound || err == nil && f.Kind != baadal.TransferUpload {
		return f, gone
	}
	if err != nil {
		return f, err
	}
	if f.State != baadal.TransferReady || f.Task != nil {
		return f, baadal.Errorf(baadal.Conflict, "upload %s is %s", id, f.State).WithCode("upload_taken").WithField("upload_id").WithNext("Upload it again", "")
	}
	return f, nil
}

// ExportVM makes the task that makes a flat copy of a VM's disk to be fetched.
func (s *Service) ExportVM(ctx context.Context, a baadal.Actor, ref string, opt baadal.ChangeOptions) (c baadal.Change[baadal.Transfer], err error) {
	var vm baadal.VM
	var f baadal.Transfer
	var t baadal.Task
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		if vm, err = tx.VMForUpdate(ref, a.Sees(baadal.ActionVMRead)); err != nil {
			return err
		}
		if err := first(checkGeneration(opt, vm.Generation), allowed(a, baadal.ActionVMExport, &vm)); err != nil {
			return err
		}
		f = baadal.Transfer{
			UUID: newUUID(), Kind: baadal.TransferExport, Name: vm.Name + ".qcow2", DatastoreID: vm.DatastoreID, VMID: vm.ID,
			OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID, RequesterID: a.User.ID,
		}
		if err := tx.CreateTransfer(&f); err != nil {
			return err
		}
		if t, err = newVMTask(a, baadal.TaskVMExport, vm, 2, map[string]any{"transfer": f.ID}); err != nil {
			return err
		}
		if err := tx.InsertTask(&t); err != nil {
			return err
		}
		if opt.DryRun {
			return errDryRun
		}
		if f, err = tx.Transfer(f.ID, baadal.Visibility{Scope: baadal.ScopeAny}); err != nil {
			return err
		}
		return event(tx, a, baadal.Event{Subject: vmSubject(vm), Version: vm.Generation, What: "being exported", OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID}, nil)
	})
	if isDryRun(err) {
		return baadal.Change[baadal.Transfer]{Plan: presentPlan(a, &baadal.Plan{
			Summary: "copy the disk of " + vm.Name + " to be fetched", Host: vm.Host, Datastore: vm.Datastore, Effects: copyEffects(vm),
			Steps: s.queue.StepNames(baadal.TaskVMExport),
		})}, nil
	}
	if err != nil {
		return c, hideHosts(a, err)
	}
	return baadal.Change[baadal.Transfer]{Resource: &f, Task: &t}, nil
}

// copyEffects says what a copy of a VM's disk is and is not.
func copyEffects(vm baadal.VM) []string {
	all := []string{"only its first disk is copied, as it is now: without snapshots, on nothing that it stands on", vm.Name + " stays as it is"}
	if vm.State == baadal.VMRunning {
		all = append(all, "it runs: the copy is as if its cord had been pulled; shut it down before if that is not good enough")
	}
	return all
}

// Export returns an export.
func (s *Service) Export(ctx context.Context, a baadal.Actor, id int64) (f baadal.Transfer, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error { f, err = findExport(tx, a, id); return err })
	return f, err
}

func findExport(tx *store.Tx, a baadal.Actor, id int64) (baadal.Transfer, error) {
	f, err := tx.Transfer(id, a.Sees(baadal.ActionVMExport))
	if err == nil && f.Kind != baadal.TransferExport || baadal.KindOf(err) == baadal.NotFound {
		return baadal.Transfer{}, baadal.Errorf(baadal.NotFound, "there is no export %d", id)
	}
	return f, err
}

// RemoveExport makes the task that removes an export's file.
func (s *Service) RemoveExport(ctx context.Context, a baadal.Actor, id int64, opt baadal.ChangeOptions) (c baadal.Change[baadal.Transfer], err error) {
	var f baadal.Transfer
	var t baadal.Task
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		if f, err = findExport(tx, a, id); err != nil {
			return err
		}
		if f.State == baadal.TransferMaking {
			return baadal.Errorf(baadal.Conflict, "export %d is being made", id).WithCode("export_not_ready").WithNext("Cancel the task that makes it", "baadal task list")
		}
		if t, err = newTask(a, baadal.TaskTransferRemove, transferSubject(f), struct{}{}); err != nil {
			return err
		}
		t.OwnerID, t.OrganisationID = f.OwnerID, f.OrganisationID
		if err := tx.InsertTask(&t); err != nil {
			return err
		}
		if opt.DryRun {
			return errDryRun
		}
		return tx.SetTransfer(f.ID, baadal.TransferRemoving, baadal.ImageInfo{FileSize: f.Size, VirtualSize: f.VirtualSize, SHA256: f.SHA256})
	})
	if isDryRun(err) {
		return baadal.Change[baadal.Transfer]{Plan: &baadal.Plan{Summary: "remove the copy " + f.Name, Steps: s.queue.StepNames(baadal.TaskTransferRemove)}}, nil
	}
	if err != nil {
		return c, err
	}
	return baadal.Change[baadal.Transfer]{Resource: &f, Task: &t}, nil
}

// OpenExport opens the file of an export that is ready. The reader must be
// closed; nothing of it is left then.
func (s *Service) OpenExport(ctx context.Context, a baadal.Actor, id int64) (f baadal.Transfer, r io.ReadSeekCloser, err error) {
	x := &exportReader{ctx: ctx, s: s, id: id}
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		if f, err = findExport(tx, a, id); err != nil {
			return err
		}
		if f.State != baadal.TransferReady {
			return baadal.Errorf(baadal.Conflict, "export %d is not ready: it is %s", id, f.State).WithCode("export_not_ready")
		}
		x.image = baadal.ImageCopy{Area: baadal.DirMigration, File: f.UUID}
		if x.image.Datastore, err = tx.Datastore(f.DatastoreID); err != nil {
			return err
		}
		if x.host, err = fileHost(tx, x.image.Datastore); err != nil {
			return err
		}
		return tx.UseTransfer(id)
	})
	x.size, x.used = f.Size, s.db.Now()
	if err != nil {
		return f, nil, hideHosts(a, err)
	}
	return f, x, nil
}

// exportReader reads an export from a host, from any place on.
type exportReader struct {
	ctx   context.Context //nolint:containedctx // it lives as long as one request
	s     *Service
	id    int64
	host  baadal.Host
	image baadal.ImageCopy
	size  int64
	at    int64
	used  time.Time // when the store was told last that it is read

	from *io.PipeReader // nil while nothing is read
	stop context.CancelFunc
	over chan struct{}
}

func (x *exportReader) Read(p []byte) (int, error) {
	if x.at >= x.size {
		return 0, io.EOF
	}
	if x.from == nil {
		x.begin()
	}
	n, err := x.from.Read(p)
	x.at += int64(n)
	if err == io.EOF { //nolint:errorlint // a pipe's
		err = io.ErrUnexpectedEOF
		if x.at >= x.size {
			err = nil
		}
	}
	if now := x.s.db.Now(); err == nil && now.Sub(x.used) > time.Minute {
		x.used = now
		err = x.s.db.Update(x.ctx, func(tx *store.Tx) error { return tx.UseTransfer(x.id) })
	}
	return n, err
}

func (x *exportReader) begin() {
	ctx, stop := context.WithCancel(x.ctx)
	from, to := io.Pipe()
	x.from, x.stop, x.over = from, stop, make(chan struct{})
	go func(at int64, over chan struct{}) {
		defer close(over)
		_ = to.CloseWithError(x.s.opt.Files.ReadImage(ctx, x.host, x.image, at, to)) // nil is the end
	}(x.at, x.over)
}

// Seek makes the next Read begin elsewhere.
func (x *exportReader) Seek(offset int64, whence int) (int64, error) {
	at := offset
	switch whence {
	case io.SeekCurrent:
		at += x.at
	case io.SeekEnd:
		at += x.size
	}
	if at < 0 {
		return x.at, fmt.Errorf("seek to %d", at)
	}
	if at != x.at {
		_ = x.Close()
		x.at = at
	}
	return at, nil
}

// Close ends the reading on the host and waits until it is over.
func (x *exportReader) Close() error {
	if x.from != nil {
		x.stop()
		_ = x.from.Close()
		<-x.over
		x.from = nil
	}
	return nil
}
