package libvirt

import (
	"context"
	"fmt"
	"slices"
	"strings"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"baadal"
)

// BackupDomain makes new files copies of an active domain's disks as they all
// are at the call, flat or with what was written since a checkpoint. A backup
// of an earlier, broken call is ended first. It returns when the copies are
// whole; when ctx ends the copying is ended.
func (h *Hypervisor) BackupDomain(ctx context.Context, host baadal.Host, uuid string, job baadal.BackupJob, progress func(share float64)) error {
	const op = "back up domain"
	l, dom, live, err := h.live(ctx, host, uuid, op)
	if err != nil {
		return err
	}
	text, checkpoint, err := backupJobXML(live, job)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if err := h.endBackup(ctx, l, dom, op); err != nil {
		return err
	}
	err = ask(ctx, l, op, func(rpc *golibvirt.Libvirt) error { return rpc.DomainBackupBegin(dom, text, checkpoint, 0) })
	if err != nil {
		if kind := baadal.KindOf(err); job.Since != "" && kind != baadal.Unavailable && kind != baadal.Exhausted && ctx.Err() == nil {
			return &baadal.Error{
				Kind: baadal.Conflict, Code: "checkpoint_lost", Title: fmt.Sprintf("%s on %s", op, host.Name), Err: err,
				Detail: "what was written since the checkpoint is not known",
			}
		}
		return err
	}
	err = followBackup(ctx, l, dom, op, progress)
	if err != nil && ctx.Err() != nil {
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortWait)
		defer cancel()
		_ = h.endBackup(after, l, dom, op)
	}
	if baadal.CodeOf(err) == "backup_failed" {
		return whyBroken(ctx, l, dom, op, err)
	}
	return err
}

// whyBroken asks why a backup was broken off.
func whyBroken(ctx context.Context, l *link, dom golibvirt.Domain, op string, broken error) error {
	words, err := call(ctx, l, op, func(rpc *golibvirt.Libvirt) (words string, err error) {
		_, params, err := rpc.DomainGetJobStats(dom, golibvirt.DomainJobStatsCompleted|golibvirt.DomainJobStatsKeepCompleted)
		for _, p := range params {
			if s, ok := p.Value.I.(string); ok && p.Field == "errmsg" {
				words = s
			}
		}
		return words, err
	})
	switch {
	case err != nil || words == "":
		return broken
	case strings.Contains(words, "No space left on device"):
		return baadal.Errorf(baadal.Exhausted, "the datastore of the backup is full").WithCode("datastore_full").WithDetail("no space is left, seen from %s", l.host.Name).
			WithNext("Delete backups or deleted VMs, or add room", "baadal datastore list")
	}
	return baadal.Errorf(baadal.Conflict, "%s on %s was broken off", op, l.host.Name).WithCode("backup_failed").WithDetail("%s", shorten(words))
}

// AbortBackup ends a backup and returns when it is over. None, a domain that is
// off, and no such domain is success.
func (h *Hypervisor) AbortBackup(ctx context.Context, host baadal.Host, uuid string) error {
	const op = "abort backup"
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if baadal.KindOf(err) == baadal.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	err = h.endBackup(ctx, l, dom, op)
	if kind := baadal.KindOf(err); kind == baadal.NotFound || kind == baadal.Conflict { // it ended by itself
		return nil
	}
	return err
}

// Checkpoints lists a domain's checkpoints of ours, oldest first.
func (h *Hypervisor) Checkpoints(ctx context.Context, host baadal.Host, uuid string) ([]string, error) {
	const op = "list checkpoints"
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if err != nil {
		return nil, err
	}
	list, err := call(ctx, l, op, func(rpc *golibvirt.Libvirt) ([]golibvirt.DomainCheckpoint, error) { return checkpoints(rpc, dom) })
	names := make([]string, len(list))
	for i, c := range list {
		names[i] = c.Name
	}
	return names, err
}

// checkpoints lists ours, parents first.
func checkpoints(rpc *golibvirt.Libvirt, dom golibvirt.Domain) ([]golibvirt.DomainCheckpoint, error) {
	list, _, err := rpc.DomainListAllCheckpoints(dom, listBuffer, uint32(golibvirt.DomainCheckpointListTopological))
	return slices.DeleteFunc(list, func(c golibvirt.DomainCheckpoint) bool { return !strings.HasPrefix(c.Name, baadal.CheckpointPrefix) }), err
}

// DropCheckpoints removes these checkpoints, or all of ours. Of a domain that
// is off, or whose bitmaps are spoiled, only the description can go. None, and
// no such domain, is success.
func (h *Hypervisor) DropCheckpoints(ctx context.Context, host baadal.Host, uuid string, names ...string) error {
	const op = "drop checkpoints"
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if err == nil {
		err = ask(ctx, l, op, func(rpc *golibvirt.Libvirt) error {
			list, err := checkpoints(rpc, dom)
			if err != nil {
				return err
			}
			for _, c := range list {
				if len(names) > 0 && !slices.Contains(names, c.Name) {
					continue
				}
				err := rpc.DomainCheckpointDelete(c, 0)
				if err != nil && !isCode(err, golibvirt.ErrNoDomainCheckpoint) {
					err = rpc.DomainCheckpointDelete(c, golibvirt.DomainCheckpointDeleteMetadataOnly)
				}
				if err != nil && !isCode(err, golibvirt.ErrNoDomainCheckpoint) {
					return err
				}
			}
			return nil
		})
	}
	if baadal.KindOf(err) == baadal.NotFound {
		return nil
	}
	return err
}

// backupJobXML names every disk, so that libvirt does nothing to the others.
func backupJobXML(d *libvirtxml.Domain, job baadal.BackupJob) (backup string, checkpoint golibvirt.OptString, err error) {
	push := &libvirtxml.DomainBackupPush{Disks: &libvirtxml.DomainBackupPushDisks{}}
	mark := libvirtxml.DomainCheckpoint{Name: job.Checkpoint, Disks: &libvirtxml.DomainCheckpointDisks{}}
	found := 0
	for _, disk := range d.Devices.Disks {
		if disk.Target == nil {
			continue
		}
		i := slices.IndexFunc(job.Disks, func(t baadal.BackupTarget) bool { return t.Target == disk.Target.Dev })
		one := libvirtxml.DomainBackupPushDisk{Name: disk.Target.Dev, Backup: "no"}
		note := libvirtxml.DomainCheckpointDisk{Name: disk.Target.Dev, Checkpoint: "no"}
		if i >= 0 {
			found++
			one.Backup, one.Driver = "yes", &libvirtxml.DomainBackupDiskDriver{Type: "qcow2"}
			one.Target = &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: job.Disks[i].File}}
			note.Checkpoint, note.Bitmap = "bitmap", job.Checkpoint
		} else if disk.Device != "disk" && disk.Device != "" {
			continue
		}
		push.Disks.Disks = append(push.Disks.Disks, one)
		mark.Disks.Disks = append(mark.Disks.Disks, note)
	}
	if found != len(job.Disks) || found == 0 {
		return "", nil, baadal.Errorf(baadal.Conflict, "%s runs with %d of the %d disks that are to be copied", d.Name, found, len(job.Disks)).WithCode("disk_missing")
	}
	b := libvirtxml.DomainBackup{Incremental: job.Since, Push: push}
	backup, err = b.Marshal()
	if err != nil || job.Checkpoint == "" {
		return backup, nil, err
	}
	text, err := mark.Marshal()
	return backup, golibvirt.OptString{text}, err
}
