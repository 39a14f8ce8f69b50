// Package workflow says what tasks do: one file per operation, its table of
// steps first. It reaches the world only through the interfaces in this file,
// which the real packages (libvirt, disk, dhcp, probe) and the simulator
// implement alike. It starts nothing by itself and answers no request.
package workflow

import (
	"context"
	"io"

	"baadal"
)

// Hypervisor is libvirt on the hosts. Domains are known by UUID. Every method
// may be called again after any failure, ends at ctx's deadline (and has one of
// its own), and returns Unavailable when the host does not answer: what it did
// is then unknown, and the caller looks or calls again.
type Hypervisor interface {
	// Define makes or replaces the persistent definition; a running domain keeps running.
	Define(ctx context.Context, host baadal.Host, d baadal.Domain) error
	// Undefine removes the definition with managed save, NVRAM and snapshot metadata. No such domain is success. A running domain is refused with Conflict.
	Undefine(ctx context.Context, host baadal.Host, uuid string) error
	// Start returns once the domain runs; a running one is success.
	Start(ctx context.Context, host baadal.Host, uuid string) error
	// Shutdown asks the guest (agent, then ACPI) and returns at once; a domain that is off is success.
	Shutdown(ctx context.Context, host baadal.Host, uuid string) error
	// Reboot asks the guest (agent, then ACPI) and returns at once.
	Reboot(ctx context.Context, host baadal.Host, uuid string) error
	// Destroy cuts the power; no such domain, or one that is off, is success.
	Destroy(ctx context.Context, host baadal.Host, uuid string) error
	// DropAutostart makes libvirt leave the domain alone when its host boots; it is left alone already, or not there, is success.
	DropAutostart(ctx context.Context, host baadal.Host, uuid string) error
	// Domain looks at one domain; NotFound if the host answers and does not know it.
	Domain(ctx context.Context, host baadal.Host, uuid string) (baadal.DomainInfo, error)
	// Domains looks at all domains of a host, foreign ones included.
	Domains(ctx context.Context, host baadal.Host) ([]baadal.DomainInfo, error)
	// Watch calls fn for each event until ctx ends or the connection is lost; it
	// then returns the reason. fn is first called with an empty UUID, must not
	// block, and is never called after Watch returned. The caller calls Watch again.
	Watch(ctx context.Context, host baadal.Host, fn func(baadal.DomainEvent)) error
}

// Snapshots are the internal snapshots of domains: their data lies in the
// images, the host keeps their description. Every method may be called again
// after any failure, returns NotFound for a domain that the host does not know
// unless it says otherwise, and Unavailable when the host does not answer.
type Snapshots interface {
	// Snapshots lists a domain's snapshots, parents first.
	Snapshots(ctx context.Context, host baadal.Host, uuid string) ([]baadal.DomainSnapshot, error)
	// CreateSnapshot snapshots all disks, with the memory if the domain is active, which stands still meanwhile. One of that name is success.
	CreateSnapshot(ctx context.Context, host baadal.Host, uuid, name, description string) error
	// CheckRevert changes nothing: Conflict with the reason if RevertSnapshot would fail half-way, NotFound if there is no such snapshot.
	CheckRevert(ctx context.Context, host baadal.Host, uuid, name string) error
	// RevertSnapshot brings back disks, memory, definition and power state. A failure can leave the domain off; the same again is harmless.
	RevertSnapshot(ctx context.Context, host baadal.Host, uuid, name string) error
	// DeleteSnapshot removes a snapshot with its data; its children move up. No snapshot and no domain is success.
	DeleteSnapshot(ctx context.Context, host baadal.Host, uuid, name string) error
	// ForgetSnapshots removes the descriptions only, children first; the data stays in the images. None is success.
	ForgetSnapshots(ctx context.Context, host baadal.Host, uuid string) error
	// RedefineSnapshots gives the descriptions back, parents first. The same again is harmless.
	RedefineSnapshots(ctx context.Context, host baadal.Host, uuid string, snaps []baadal.DomainSnapshot) error
}

// Migrator moves domains between two hosts that see the same disks, over the
// controller's connections to both: the hosts need not trust each other. The
// rules of Hypervisor hold; half of a domain on the second host is no domain yet.
type Migrator interface {
	// Migrate moves an active domain with its memory; one that is paused stays paused. Snapshots must be forgotten before: Conflict. Its definition stays, shut off, on src.
	// progress is called now and then, from the caller's goroutine. When ctx ends, and when nothing moves for half a minute, it is aborted unless it is over already.
	// After an error, or a crash, nothing is known: AbortMigration, then Half on both hosts, tell where the domain is.
	Migrate(ctx context.Context, src, dst baadal.Host, uuid string, opt baadal.Migration, progress func(baadal.MigrationProgress)) (baadal.MigrationProgress, error)
	// Fits changes nothing: Conflict (code host_unfit), with every reason, if dst could not take the domain over: its CPU, if the domain is active, its networks, the files of its disks. NotFound if src does not know it.
	Fits(ctx context.Context, src, dst baadal.Host, uuid string) error
	// AbortMigration ends a migration out of the host that nobody looks after any more; it returns when the domain has no job. None, and no such domain, is success.
	AbortMigration(ctx context.Context, host baadal.Host, uuid string) error
	// Half looks at what a host has of a domain; nothing is no error.
	Half(ctx context.Context, host baadal.Host, uuid string) (baadal.DomainHalf, error)
	// ResumeMigrated lets a domain run on that a broken migration left standing; one that runs is success. Refused with Conflict if its disks are written to elsewhere.
	ResumeMigrated(ctx context.Context, host baadal.Host, uuid string) error
}

// Power is what else can be done to a domain that runs. The rules of Hypervisor
// hold.
type Power interface {
	// Suspend stops its CPUs; a paused one is success, one that is off is Conflict.
	Suspend(ctx context.Context, host baadal.Host, uuid string) error
	// Resume lets a paused domain go on; a running one is success, one that is off is Conflict.
	Resume(ctx context.Context, host baadal.Host, uuid string) error
	// Reset presses the reset button; one that is off is Conflict.
	Reset(ctx context.Context, host baadal.Host, uuid string) error
	// Save writes its memory to the host's disk and returns once it is off; Start goes on from there, running. One that is saved already is success, one that is only off is Conflict. When ctx ends early it is given up, if the host can still be told.
	Save(ctx context.Context, host baadal.Host, uuid string) error
	// Discard drops what Save wrote; nothing saved, or no such domain, is success.
	Discard(ctx context.Context, host baadal.Host, uuid string) error
}

// Resizer changes the size of active domains until their next start; their
// definition stays. The rules of Hypervisor hold, a domain that is off is
// Conflict.
type Resizer interface {
	// Size tells what a domain has and can have.
	Size(ctx context.Context, host baadal.Host, uuid string) (baadal.DomainSize, error)
	// PlugVCPUs gives it more vCPUs; having them is success, fewer or more than it has room for is Invalid.
	PlugVCPUs(ctx context.Context, host baadal.Host, uuid string, n int) error
	// SetBalloon asks the guest to make do with so much memory, or gives it some of its head-room, and returns at once; more than Size's Most is Invalid.
	SetBalloon(ctx context.Context, host baadal.Host, uuid string, mib int) error
}

// Stats counts what domains use.
type Stats interface {
	// Stats counts for all active domains of a host, foreign ones included. It waits for no domain.
	Stats(ctx context.Context, host baadal.Host) ([]baadal.DomainStats, error)
}

// Disks works on a datastore through a host that mounts it. A folder carries
// the mark (the UUID) of the VM that made it; a folder with another mark, or
// without one, is never changed or removed: Conflict. Methods may be called
// again after any failure; a full datastore is Exhausted, a read-only
// one, or one that is not mounted, a Conflict with the fix in its words.
type Disks interface {
	// CreateImage makes the VM's folder with its first disk and its seed, as a whole or not at all. The same again is success.
	CreateImage(ctx context.Context, host baadal.Host, img baadal.VMImage) error
	// RemoveImage removes the VM's folder from vm_images. None is success.
	RemoveImage(ctx context.Context, host baadal.Host, ds baadal.Datastore, identity, uuid string) error
	// ArchiveImage moves the VM's folder to vm_deleted. Already there is success; nowhere is NotFound; a disk that is open on some host is Conflict (code disk_in_use).
	ArchiveImage(ctx context.Context, host baadal.Host, ds baadal.Datastore, identity, uuid string) error
	// RestoreImage moves it back. Already back is success; nowhere is NotFound.
	RestoreImage(ctx context.Context, host baadal.Host, ds baadal.Datastore, identity, uuid string) error
	// PurgeImage removes the VM's folder from vm_deleted. None is success.
	PurgeImage(ctx context.Context, host baadal.Host, ds baadal.Datastore, identity, uuid string) error
	// ImportTemplate copies r (size bytes; -1 if unknown) to vm_templates/file by way of a temporary name, checks that it is a disk image
	// without backing file, or a CD image if file ends in baadal.ISOSuffix, makes it read-only, and tells its facts. progress is called now and then with the bytes written. The same again replaces an unfinished one; a finished one is success and r is not read.
	ImportTemplate(ctx context.Context, host baadal.Host, ds baadal.Datastore, file string, r io.Reader, size int64, progress func(written int64)) (baadal.ImageInfo, error)
	// RemoveTemplate removes vm_templates/file and what an unfinished import left. None is success.
	RemoveTemplate(ctx context.Context, host baadal.Host, ds baadal.Datastore, file string) error
	// Usage measures the datastore as the host sees it and makes its folders if it is mounted and writable.
	Usage(ctx context.Context, host baadal.Host, ds baadal.Datastore) (baadal.DatastoreUsage, error)
	// Entries lists what lies in vm_templates, vm_images and vm_deleted, for the audit.
	Entries(ctx context.Context, host baadal.Host, ds baadal.Datastore) ([]baadal.DatastoreEntry, error)
}

// Bases keeps frozen disks that several VMs stand on. Each lies in a folder of
// vm_bases that carries the base's UUID as its mark. The rules of Disks hold.
type Bases interface {
	// DiskChain looks at a VM's disk, also while it runs.
	DiskChain(ctx context.Context, host baadal.Host, f baadal.DiskFreeze) (baadal.DiskChain, error)
	// ShareDisk makes the disk's file the base's too (one file with two names) and an empty overlay on it, which nobody uses yet. The disk is not touched. Whatever of it is there already stays.
	ShareDisk(ctx context.Context, host baadal.Host, f baadal.DiskFreeze) error
	// SealBase makes the base read-only. off says that the VM does not run: the base's name in the VM's folder is then removed.
	SealBase(ctx context.Context, host baadal.Host, f baadal.DiskFreeze, off bool) error
	// MergeDisk writes back into the base what the overlay of a VM that is off holds, and gives the base its name in the VM's folder again. No overlay is success.
	MergeDisk(ctx context.Context, host baadal.Host, f baadal.DiskFreeze) error
	// UnshareDisk removes the overlay, which nobody uses any more: the base's file is the VM's disk again, and writable.
	UnshareDisk(ctx context.Context, host baadal.Host, f baadal.DiskFreeze) error
	// PrepareCopy makes the base's folder for a copy that a running VM's host writes to f.BaseCopy(), and removes an unfinished one.
	PrepareCopy(ctx context.Context, host baadal.Host, f baadal.DiskFreeze) error
	// CopyDisk makes f.BaseCopy() a flat copy of the disk of a VM that is off.
	CopyDisk(ctx context.Context, host baadal.Host, f baadal.DiskFreeze) error
	// KeepCopy gives a finished copy the base's name and makes it read-only. Done already is success.
	KeepCopy(ctx context.Context, host baadal.Host, f baadal.DiskFreeze) error
	// FlattenDisk copies into the disk of a VM that is off what it has of the files between it and onto, a template of a format, or of all if onto is empty; at no more than so many bytes a second. The guest sees no difference at any moment. Done already is success.
	FlattenDisk(ctx context.Context, host baadal.Host, f baadal.DiskFile, onto, format string, bytesPerSecond int64) error
	// DropNames removes the names that bases have in the folder of a disk that stands on none of them any more.
	DropNames(ctx context.Context, host baadal.Host, f baadal.DiskFile) error
	// ForkDisks makes the folders of many VMs with disks on bases, each as a whole or not at all, and tells the UUIDs of those whose folders are there. An earlier call of the same turn that is still at work is ended first, also if there is nothing to make.
	ForkDisks(ctx context.Context, host baadal.Host, in baadal.DiskForks) (made []string, err error)
	// RemoveBase removes a base's folder. It is a Conflict (code base_in_use) while any disk on the datastore names it. None is success.
	RemoveBase(ctx context.Context, host baadal.Host, ds baadal.Datastore, base string) error
}

// Freezer changes which file a running domain writes to. The rules of
// Hypervisor hold; a domain that is off is a Conflict.
type Freezer interface {
	// SwitchDisks makes the domain write to other files, overlays on its present disks by target, all from one moment on; the guest's file systems are quiesced if its agent answers. Done already is success.
	SwitchDisks(ctx context.Context, host baadal.Host, uuid string, to map[string]string) error
	// RejoinDisk writes back what the domain wrote to from since SwitchDisks and makes it write to the file to again. Done already is success.
	RejoinDisk(ctx context.Context, host baadal.Host, uuid, target, from, to string) error
	// BackupDisks makes files, by target, which must not exist, flat copies of the disks as all of them are at the call; the domain runs on. progress is called now and then with the share done.
	BackupDisks(ctx context.Context, host baadal.Host, uuid string, to map[string]string, progress func(share float64)) error
	// PullDisk copies into the disk what it has of the files between it and onto, or of all if onto is empty, at no more than so many bytes a second; it stands on onto alone then. The guest sees no difference at any moment. A pull of an earlier call is followed; when ctx ends it is broken off. Done already is success.
	PullDisk(ctx context.Context, host baadal.Host, uuid, target, onto string, bytesPerSecond int64, progress func(share float64)) error
	// BackupDisk is BackupDisks of one disk: it makes the file to, which must not exist, a flat copy of the disk as it is at the call; the domain runs on. progress is called now and then with the share done.
	BackupDisk(ctx context.Context, host baadal.Host, uuid, target, to string, progress func(share float64)) error
}

// Images makes flat images of disks, and disks of images. A copy is written to
// c.Part() and becomes c.Path() when it is whole; both are on the datastore. The
// rules of Disks hold.
type Images interface {
	// PrepareImage removes an unfinished copy, and tells whether the finished one is there.
	PrepareImage(ctx context.Context, host baadal.Host, c baadal.ImageCopy) (done bool, err error)
	// CopyImage writes the part from the disk (an absolute path) of a VM (uuid) that is off. progress is called now and then with the share done.
	CopyImage(ctx context.Context, host baadal.Host, c baadal.ImageCopy, uuid, from string, progress func(share float64)) error
	// KeepImage checks the part, makes it read-only and names it; it tells its facts. Done already is success.
	KeepImage(ctx context.Context, host baadal.Host, c baadal.ImageCopy) (baadal.ImageInfo, error)
	// RemoveImageCopy removes the image and its part. None is success.
	RemoveImageCopy(ctx context.Context, host baadal.Host, c baadal.ImageCopy) error
	// TakeUpload makes a template of an upload (the uuid of its transfer) on the same datastore, with the checks of ImportTemplate; the upload stays. Done already is success.
	TakeUpload(ctx context.Context, host baadal.Host, ds baadal.Datastore, uuid, file string) (baadal.ImageInfo, error)
	// WriteUpload writes r to the file of an upload, as a whole or not at all, and tells its length and SHA-256. ReadImage writes an image's bytes from an offset on to w. Requests use them, tasks do not.
	WriteUpload(ctx context.Context, host baadal.Host, ds baadal.Datastore, uuid string, r io.Reader) (baadal.ImageInfo, error)
	ReadImage(ctx context.Context, host baadal.Host, c baadal.ImageCopy, offset int64, w io.Writer) error
	// InspectImage looks at an image file anywhere on the host. One that is not trusted must be whole: what would make QEMU open other files is Invalid (code bad_image). None is NotFound.
	InspectImage(ctx context.Context, host baadal.Host, path string, trusted bool) (baadal.ImageInfo, error)
}

// Adopter deals with domains that are not ours. The rules of Hypervisor hold.
type Adopter interface {
	// ForeignDomain looks at a domain by its UUID or name; NotFound if the host answers and does not know it.
	ForeignDomain(ctx context.Context, host baadal.Host, ref string) (baadal.ForeignDomain, error)
	// DefineForeign gives a domain back the definition that it had. The same again is harmless.
	DefineForeign(ctx context.Context, host baadal.Host, xml string) error
}

// DiskPlugs changes the disks of domains. The rules of Hypervisor hold; a disk
// is known by its path.
type DiskPlugs interface {
	// Targets tells which file is at which target of a domain (vda …), in its definition and as it runs.
	Targets(ctx context.Context, host baadal.Host, uuid string) (map[string]string, error)
	// AttachDisk gives the domain a disk, in its definition and, if it is active, at once. One that it has is success; a target that something else has is Conflict.
	AttachDisk(ctx context.Context, host baadal.Host, uuid string, d baadal.DomainDisk) error
	// DetachDisk takes it away from the running domain, waiting until the guest lets go, then from the definition. A domain without it is success; a guest that does not let go is Conflict (code disk_held).
	DetachDisk(ctx context.Context, host baadal.Host, uuid string, d baadal.DomainDisk) error
	// ResizeDisk makes a disk of an active domain larger; the guest sees it at once. The size it has is success, a smaller one Invalid, a domain that is off Conflict.
	ResizeDisk(ctx context.Context, host baadal.Host, uuid string, d baadal.DomainDisk, bytes int64) error
	// LimitDisk sets the limits in d, in the definition and, if it is active, at once. A domain without the disk is NotFound.
	LimitDisk(ctx context.Context, host baadal.Host, uuid string, d baadal.DomainDisk) error
}

// ExtraDisks works on the files of disks beside a VM's first one. The rules of
// Disks hold; beside the folder's mark each file carries its disk's.
type ExtraDisks interface {
	// CreateDisk makes the file, empty, of so many bytes. The same again is success; a file that is not the disk's is Conflict.
	CreateDisk(ctx context.Context, host baadal.Host, f baadal.DiskFile, bytes int64) error
	// ForkDisk makes the file as CreateDisk does, an overlay on a base of its datastore, or a copy of it.
	ForkDisk(ctx context.Context, host baadal.Host, f baadal.DiskFile, base string, full bool) error
	// RemoveDisk removes the file from its place. None is success.
	RemoveDisk(ctx context.Context, host baadal.Host, f baadal.DiskFile) error
	// ArchiveDisk moves the file to vm_deleted, RestoreDisk moves it back. Done already is success; nowhere is NotFound; one that is open on some host is not archived: Conflict (code disk_in_use).
	ArchiveDisk(ctx context.Context, host baadal.Host, f baadal.DiskFile) error
	RestoreDisk(ctx context.Context, host baadal.Host, f baadal.DiskFile) error
	// PurgeDisk removes the file from vm_deleted. None is success.
	PurgeDisk(ctx context.Context, host baadal.Host, f baadal.DiskFile) error
	// ArchiveDisks, RestoreDisks and PurgeDisks do the same to all files of a VM that its datastore holds and that were not archived one by one.
	ArchiveDisks(ctx context.Context, host baadal.Host, ds baadal.Datastore, identity, uuid string) error
	RestoreDisks(ctx context.Context, host baadal.Host, ds baadal.Datastore, identity, uuid string) error
	PurgeDisks(ctx context.Context, host baadal.Host, ds baadal.Datastore, identity, uuid string) error
}

// Sizer looks at the files of disks, first ones too, and makes them larger. The
// rules of Disks hold.
type Sizer interface {
	// DiskInfo looks at the file of a disk, also while it is in use. None is NotFound.
	DiskInfo(ctx context.Context, host baadal.Host, f baadal.DiskFile) (baadal.ImageInfo, error)
	// GrowDisk makes a disk that nobody uses larger. The size it has is success, a smaller one Invalid.
	GrowDisk(ctx context.Context, host baadal.Host, f baadal.DiskFile, bytes int64) error
	// DiskSizes tells what the files of all disks on the datastore occupy, archived ones aside.
	DiskSizes(ctx context.Context, host baadal.Host, ds baadal.Datastore) ([]baadal.DiskSize, error)
}

// Copier copies disks of domains that run to other files, while they write to
// them. The rules of Hypervisor hold; a domain that is off is a Conflict (code
// domain_state) unless a method says otherwise.
type Copier interface {
	// DiskCopies tells which file each disk of the domain is and what it is being copied to: as it runs, or as it is defined if it does not.
	DiskCopies(ctx context.Context, host baadal.Host, uuid string) (active bool, all []baadal.DiskCopy, err error)
	// CopyDisk copies a disk to the file to, which is there, empty, and as large, and returns once both are alike and every write goes to both. A copy to that file that is at work is joined, one to
	// another file is Conflict. It goes on when ctx ends. limit is in bytes per second, 0 is none. One that breaks off, as on a full datastore, is Conflict (code copy_failed): the domain writes on to the file that it has.
	CopyDisk(ctx context.Context, host baadal.Host, uuid, target, to string, limit int64, progress func(baadal.CopyProgress)) error
	// PivotDisk makes the domain write to the copy from one moment on, in its definition too. Done already is success; one that is not ready is Conflict (code copy_failed).
	PivotDisk(ctx context.Context, host baadal.Host, uuid, target, to string) error
	// StopCopy ends a copy; the domain keeps its file. None, a domain that is off, and no such domain is success.
	StopCopy(ctx context.Context, host baadal.Host, uuid, target string) error
	// SwapSeed puts a copy of its seed into a domain's drive until its next start. Done already, another CD in it, and a domain that is off is success.
	SwapSeed(ctx context.Context, host baadal.Host, uuid, from, to string) error
}

// Mover copies the files of disks to other datastores, through a host that
// mounts both. The rules of Disks hold for the new place; the old file is never
// changed.
type Mover interface {
	// PrepareMove makes the VM's folder at the new place, with the disk's mark or, for the first disk, a copy of the VM's seed. The same again is success.
	PrepareMove(ctx context.Context, host baadal.Host, m baadal.DiskMove) error
	// EmptyMove makes the new file, empty, in place of what an earlier attempt left. Nobody may use that.
	EmptyMove(ctx context.Context, host baadal.Host, m baadal.DiskMove) error
	// CopyMove copies the file of a disk that nobody uses, compares both, and replaces what an earlier attempt left: whole, with its snapshots and what it stands on, or flat. One that is in use is Conflict (code disk_in_use).
	CopyMove(ctx context.Context, host baadal.Host, m baadal.DiskMove, whole bool, limit int64, progress func(baadal.CopyProgress)) error
	// MoveStamp returns words that are others after the old file was written to.
	MoveStamp(ctx context.Context, host baadal.Host, m baadal.DiskMove) (string, error)
}

// Backups copies disks of active domains, and has domains record what is
// written to them since. The rules of Hypervisor hold. The records are
// checkpoints of ours: a domain that has one does not go with snapshots, with
// other files under its disks, nor to another host.
type Backups interface {
	// BackupDomain makes new files, in folders that are there, copies of the domain's disks as they all are at the call; it runs on. They are flat, or hold only what was written since a checkpoint: if that or
	// its records are gone it is Conflict (code checkpoint_lost) before anything is done. A full datastore is Exhausted. progress is called now and then. When ctx ends the copying is ended; after an error call AbortBackup and drop the new checkpoint.
	BackupDomain(ctx context.Context, host baadal.Host, uuid string, job baadal.BackupJob, progress func(share float64)) error
	// AbortBackup ends copying that nobody looks after any more, and returns when it is over. None, a domain that is off, and no such domain is success.
	AbortBackup(ctx context.Context, host baadal.Host, uuid string) error
	// Checkpoints lists the domain's checkpoints of ours, oldest first.
	Checkpoints(ctx context.Context, host baadal.Host, uuid string) ([]string, error)
	// DropCheckpoints removes these, or all of ours; the one before a dropped one records what was written since itself. A domain that is off only forgets them: see ForgetBitmaps. None, and no such domain, is success.
	DropCheckpoints(ctx context.Context, host baadal.Host, uuid string, names ...string) error
}

// BackupFiles keeps backups, each in a folder of vm_backups that carries the
// backup's UUID as its mark. Until it is sealed it has a temporary name. The
// rules of Disks hold.
type BackupFiles interface {
	// PrepareBackup makes the unsealed folder, in place of what an earlier attempt left.
	PrepareBackup(ctx context.Context, host baadal.Host, ds baadal.Datastore, uuid string) error
	// CopyToBackup makes a file of the unsealed folder a flat copy of a disk that nobody writes to.
	CopyToBackup(ctx context.Context, host baadal.Host, ds baadal.Datastore, uuid string, disk baadal.DiskFile, file string, progress func(share float64)) error
	// SealBackup has the files stand on those of the same name in the parent's folder, if there is a parent, checks them, writes their sums and the description beside them and gives the folder its name. Done already is success.
	SealBackup(ctx context.Context, host baadal.Host, ds baadal.Datastore, uuid, parent string, files []string, description []byte) ([]baadal.BackupFile, error)
	// VerifyBackup reads the files; one that is missing, or not as it was, is Conflict (code backup_damaged). progress tells the bytes read.
	VerifyBackup(ctx context.Context, host baadal.Host, ds baadal.Datastore, uuid string, files []baadal.BackupFile, progress func(read int64)) error
	// HasBackup tells whether there is a sealed folder.
	HasBackup(ctx context.Context, host baadal.Host, ds baadal.Datastore, uuid string) (bool, error)
	// RemoveBackup removes the backup's folder, sealed or not. None is success.
	RemoveBackup(ctx context.Context, host baadal.Host, ds baadal.Datastore, uuid string) error
}

// Refiller gives disks that nobody uses another content. What belongs to one
// change is told from others by its tag, a UUID. The rules of Disks hold.
type Refiller interface {
	// StageDisk makes a flat copy of the file from, on any datastore that the host mounts, beside the disk. The same again is success.
	StageDisk(ctx context.Context, host baadal.Host, f baadal.DiskFile, tag, from string, progress func(share float64)) error
	// SwapDisk puts the disk's file aside and the staged one in its place. Done already is success.
	SwapDisk(ctx context.Context, host baadal.Host, f baadal.DiskFile, tag string) error
	// UnswapDisk brings back what was put aside, if anything was, and removes what was staged. Nothing of it is success.
	UnswapDisk(ctx context.Context, host baadal.Host, f baadal.DiskFile, tag string) error
	// DropOldDisk removes what was put aside. None is success.
	DropOldDisk(ctx context.Context, host baadal.Host, f baadal.DiskFile, tag string) error
	// ForgetBitmaps removes the bitmaps of our checkpoints from the disk's file. None, and no file, is success.
	ForgetBitmaps(ctx context.Context, host baadal.Host, f baadal.DiskFile) error
}

// DHCP is the server that gives VMs their addresses. Its reservations are
// rendered whole from the store, checked by the server's own parser, and
// swapped atomically; nothing of anyone else's in its configuration is touched.
type DHCP interface {
	// Apply makes the server hold exactly these reservations. The same again changes nothing and does not restart it. Concurrent calls are put in a row.
	Apply(ctx context.Context, rs []baadal.Reservation) error
	// Reservations reads back what the server's file of ours holds. What is none is Conflict (code dhcp_file_changed); the next Apply replaces it. A server that does not run is Unavailable.
	Reservations(ctx context.Context) ([]baadal.Reservation, error)
}

// Names is the server that answers for the names of VMs. They are rendered whole
// from the store and swapped atomically; nothing of anyone else's is touched.
type Names interface {
	// Apply makes the server answer with exactly these names, below the cloud's domain, and returns once it does. The same again changes nothing.
	Apply(ctx context.Context, records []baadal.NameRecord) error
	// NameRecords reads back what the server's file of ours holds, in the order of addresses; Unavailable if the server does not answer with it.
	NameRecords(ctx context.Context) ([]baadal.NameRecord, error)
}

// Flows are the rules on the ports of VMs: each may send only with its own MAC
// and addresses. They are rendered whole from what read tells and replaced in one
// transaction of the host's switch; bridges that carry no VM are not touched.
type Flows interface {
	// Keep lays the rules and keeps them, whatever comes, goes or is lost, until ctx ends or the host is lost, and returns the reason. A wake has read asked again.
	Keep(ctx context.Context, host baadal.Host, wake <-chan struct{}, read baadal.FlowRead) error
	// Apply lays the rules once. The same again changes nothing.
	Apply(ctx context.Context, host baadal.Host, read baadal.FlowRead) error
	// Clear takes them off and lets everything pass, for a host that is ours no more. No bridge, or no rules, is success.
	Clear(ctx context.Context, host baadal.Host, read baadal.FlowRead) error
	// Differences says in words where the switch has not what it should have; what is only in motion is none.
	Differences(ctx context.Context, host baadal.Host, read baadal.FlowRead) ([]string, error)
}

// HostNetworks are the libvirt networks that VMs' NICs are plugged into.
type HostNetworks interface {
	// HostNetworks looks at networks by name; those that the host does not have are left out.
	HostNetworks(ctx context.Context, host baadal.Host, names []string) (map[string]baadal.HostNetwork, error)
	// KeepHostNetwork makes the network, on n.Bridge, if the host has none of that name, sees that it is active now and after a boot, gives
	// it n.Portgroups and takes those in drop from it. Its other portgroups, the bridge of one that is there, and the NICs in it stay as
	// they are. The same again is success.
	KeepHostNetwork(ctx context.Context, host baadal.Host, n baadal.HostNetwork, drop []string) error
}

// Prober looks at a host as a whole.
type Prober interface {
	// Fingerprint asks an sshd (host:port) for its host key without trusting it.
	Fingerprint(ctx context.Context, addr string) (hostKey, fingerprint string, err error)
	// Probe checks everything a host needs and reads its facts. It returns an
	// error only when nothing could be looked at; failed checks are in the facts.
	Probe(ctx context.Context, host baadal.Host, stores []baadal.Datastore) (baadal.HostFacts, error)
	// Alive makes one round trip over the host's connection.
	Alive(ctx context.Context, host baadal.Host) error
	// Boot returns a word that is another one after each boot of the host.
	Boot(ctx context.Context, host baadal.Host) (string, error)
	// VLANs returns the VLAN tag of each port with a VM's NIC on the host's bridge, by MAC address in upper case; 0 is a trunk.
	VLANs(ctx context.Context, host baadal.Host) (map[string]int, error)
	// SetVLAN gives the port with a VM's NIC a tag. NotFound if there is no such port.
	SetVLAN(ctx context.Context, host baadal.Host, mac string, tag int) error
}

// Guests reaches guests over the network.
type Guests interface {
	// Answers reports whether the address answers a ping or a TCP connection to port 22, within about a second.
	Answers(ctx context.Context, address string) bool
}

// Systems is the whole outside world.
type Systems struct {
	Hypervisor  Hypervisor
	Power       Power
	Resizer     Resizer
	Stats       Stats
	Snapshots   Snapshots
	Migrator    Migrator
	Disks       Disks
	DiskPlugs   DiskPlugs
	CDDrives    CDDrives
	NICPlugs    NICPlugs
	ExtraDisks  ExtraDisks
	Sizer       Sizer
	Copier      Copier
	Mover       Mover
	Backups     Backups
	BackupFiles BackupFiles
	Refiller    Refiller
	Bases       Bases
	Freezer     Freezer
	Images      Images
	Adopter     Adopter
	Networks    HostNetworks
	DHCP        DHCP
	Names       Names
	Flows       Flows
	Neighbours  Neighbours
	NAT         NAT
	Prober      Prober
	Guests      Guests
}

// OnHosts is everything that is done to domains. One type does it all.
type OnHosts interface {
	Hypervisor
	Power
	Resizer
	Stats
	Snapshots
	Migrator
	Freezer
	DiskPlugs
	CDDrives
	NICPlugs
	Copier
	Backups
	Adopter
	HostNetworks
}

// OnDatastores is everything that is done to files. One type does it all.
type OnDatastores interface {
	Disks
	Bases
	Images
	ExtraDisks
	Sizer
	Mover
	BackupFiles
	Refiller
}

// SystemsOf puts the outside world together, without the boxes and rules that need not be.
func SystemsOf(hosts OnHosts, files OnDatastores, prober Prober, guests Guests) Systems {
	return Systems{
		Hypervisor:  hosts,
		Power:       hosts,
		Resizer:     hosts,
		Stats:       hosts,
		Snapshots:   hosts,
		Migrator:    hosts,
		Freezer:     hosts,
		DiskPlugs:   hosts,
		CDDrives:    hosts,
		NICPlugs:    hosts,
		Copier:      hosts,
		Backups:     hosts,
		Adopter:     hosts,
		Networks:    hosts,
		Disks:       files,
		Bases:       files,
		Images:      files,
		ExtraDisks:  files,
		Sizer:       files,
		Mover:       files,
		BackupFiles: files,
		Refiller:    files,
		Prober:      prober, Guests: guests,
	}
}
