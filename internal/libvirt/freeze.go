package libvirt

import (
	"context"
	"fmt"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"baadal"
)

const (
	blockJobLook = 100 * time.Millisecond // between looks at a block job
	blockJobWait = 30 * time.Minute       // for what an overlay holds to be written back
	quiesceWait  = 5                      // seconds that a guest's agent has for its answer
)

// SwitchDisks makes an active domain write to overlays that are there already,
// by target, all from one moment on. The guest's file systems are frozen for
// that moment if its agent answers. Done already is success.
func (h *Hypervisor) SwitchDisks(ctx context.Context, host baadal.Host, uuid string, to map[string]string) error {
	const op = "switch disks"
	l, dom, live, err := h.live(ctx, host, uuid, op)
	if err != nil {
		return err
	}
	done := 0
	for target, file := range to {
		now, err := fileOf(live, target)
		if err != nil {
			return err
		}
		if now == file {
			done++
		}
	}
	switch {
	case done == len(to):
		return nil
	case done > 0: // one call switches all
		return baadal.Errorf(baadal.Conflict, "%s writes to some of its new files and not to others", live.Name).WithCode("domain_state")
	}
	text, err := diskSnapshot(live, to)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	_, err = call(ctx, l, op, func(rpc *golibvirt.Libvirt) (struct{}, error) {
		flags := uint32(golibvirt.DomainSnapshotCreateDiskOnly | golibvirt.DomainSnapshotCreateNoMetadata |
			golibvirt.DomainSnapshotCreateAtomic | golibvirt.DomainSnapshotCreateReuseExt)
		if agentThere(live) {
			// A guest that froze and never thaws again would be worse than a clone
			// that replays its journal: the agent gets little time.
			if _, err := rpc.DomainAgentSetResponseTimeout(dom, quiesceWait, 0); err == nil {
				if _, err := rpc.DomainSnapshotCreateXML(dom, text, flags|uint32(golibvirt.DomainSnapshotCreateQuiesce)); err == nil {
					return struct{}{}, nil
				}
			}
		}
		_, err := rpc.DomainSnapshotCreateXML(dom, text, flags)
		return struct{}{}, err
	})
	return err
}

// RejoinDisk writes back what an active domain wrote to its overlay and makes
// it write to the file below again. Done already is success.
func (h *Hypervisor) RejoinDisk(ctx context.Context, host baadal.Host, uuid, target, from, to string) error {
	const op = "rejoin disk"
	for begun := time.Now(); ; {
		l, dom, live, err := h.live(ctx, host, uuid, op)
		if err != nil {
			return err
		}
		now, err := fileOf(live, target)
		if err != nil {
			return err
		}
		mirror := mirrorOf(live, target)
		switch {
		case now == to && mirror == nil:
			return nil
		case now != from:
			return baadal.Errorf(baadal.Conflict, "%s writes to %s, not to %s", live.Name, now, from).WithCode("domain_state")
		case mirror == nil:
			err = ask(ctx, l, op, func(rpc *golibvirt.Libvirt) error {
				return commitActive(rpc, dom, target, below(to))
			})
		case mirror.Ready == "yes":
			err = ask(ctx, l, op, func(rpc *golibvirt.Libvirt) error {
				return rpc.DomainBlockJobAbort(dom, target, golibvirt.DomainBlockJobAbortPivot)
			})
		case time.Since(begun) > blockJobWait:
			return baadal.Errorf(baadal.Unavailable, "%s has not written back its overlay within %s", live.Name, blockJobWait).WithCode("block_job")
		}
		if err != nil {
			return err
		}
		if err := pause(ctx); err != nil {
			return interrupted(ctx, host.Name, op)
		}
	}
}

// BackupDisk is BackupDisks of one disk.
func (h *Hypervisor) BackupDisk(ctx context.Context, host baadal.Host, uuid, target, to string, progress func(share float64)) error {
	return h.BackupDisks(ctx, host, uuid, map[string]string{target: to}, progress)
}

// BackupDisks makes new files, by target, flat copies of an active domain's
// disks as all of them are at the call. A backup of an earlier, broken call is
// ended first. It returns when the copies are whole; when ctx ends the backup is
// ended.
func (h *Hypervisor) BackupDisks(ctx context.Context, host baadal.Host, uuid string, to map[string]string, progress func(share float64)) error {
	const op = "copy disks"
	l, dom, live, err := h.live(ctx, host, uuid, op)
	if err != nil {
		return err
	}
	text, err := backupXML(live, to)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if err := h.endBackup(ctx, l, dom, op); err != nil {
		return err
	}
	if err := ask(ctx, l, op, func(rpc *golibvirt.Libvirt) error { return rpc.DomainBackupBegin(dom, text, nil, 0) }); err != nil {
		return err
	}
	err = followBackup(ctx, l, dom, op, progress)
	if err != nil && ctx.Err() != nil {
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortWait)
		defer cancel()
		_ = h.endBackup(after, l, dom, op)
	}
	return err
}

// endBackup ends a backup that is at work and waits until it is over.
func (h *Hypervisor) endBackup(ctx context.Context, l *link, dom golibvirt.Domain, op string) error {
	for {
		working, err := call(ctx, l, op, func(rpc *golibvirt.Libvirt) (bool, error) {
			if _, err := rpc.DomainBackupGetXMLDesc(dom, 0); err != nil {
				return false, nil //nolint:nilerr // there is none
			}
			return true, rpc.DomainAbortJob(dom)
		})
		if err != nil || !working {
			return err
		}
		if err := pause(ctx); err != nil {
			return interrupted(ctx, l.host.Name, op)
		}
	}
}

// followBackup waits until a backup is over and tells whether it is whole.
func followBackup(ctx context.Context, l *link, dom golibvirt.Domain, op string, progress func(share float64)) error {
	for {
		kind, params, err := jobStats(ctx, l, dom, op, 0)
		if err != nil {
			return err
		}
		if kind == golibvirt.DomainJobNone {
			break
		}
		if total := params["disk_total"]; total > 0 {
			progress(float64(params["disk_processed"]) / float64(total))
		}
		if err := pause(ctx); err != nil {
			return interrupted(ctx, l.host.Name, op)
		}
	}
	kind, params, err := jobStats(ctx, l, dom, op, golibvirt.DomainJobStatsCompleted|golibvirt.DomainJobStatsKeepCompleted)
	if err != nil {
		return err
	}
	if kind != golibvirt.DomainJobCompleted || params["operation"] != uint64(golibvirt.DomainJobOperationStrBackup) {
		return baadal.Errorf(baadal.Unavailable, "%s on %s was broken off", op, l.host.Name).WithCode("backup_failed")
	}
	return nil
}

// jobStats returns the kind of a domain's job and its figures.
func jobStats(ctx context.Context, l *link, dom golibvirt.Domain, op string, flags golibvirt.DomainGetJobStatsFlags) (golibvirt.DomainJobType, map[string]uint64, error) {
	type stats struct {
		kind   golibvirt.DomainJobType
		params map[string]uint64
	}
	s, err := call(ctx, l, op, func(rpc *golibvirt.Libvirt) (stats, error) {
		kind, params, err := rpc.DomainGetJobStats(dom, flags)
		s := stats{golibvirt.DomainJobType(kind), map[string]uint64{}}
		for _, p := range params {
			switch v := p.Value.I.(type) {
			case uint64:
				s.params[p.Field] = v
			case int32:
				s.params[p.Field] = uint64(v) //nolint:gosec // a kind of operation
			}
		}
		return s, err
	})
	return s.kind, s.params, err
}

// ask is call for what has no answer.
func ask(ctx context.Context, l *link, op string, f func(*golibvirt.Libvirt) error) error {
	_, err := call(ctx, l, op, func(rpc *golibvirt.Libvirt) (struct{}, error) { return struct{}{}, f(rpc) })
	return err
}

// pause waits until a block job is worth another look.
func pause(ctx context.Context) error {
	timer := time.NewTimer(blockJobLook)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// live finds an active domain and what it runs with.
func (h *Hypervisor) live(ctx context.Context, host baadal.Host, uuid, op string) (*link, golibvirt.Domain, *libvirtxml.Domain, error) {
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if err != nil {
		return nil, dom, nil, err
	}
	text, err := call(ctx, l, op, func(rpc *golibvirt.Libvirt) (string, error) {
		if active, err := rpc.DomainIsActive(dom); err != nil || active == 0 {
			if err == nil {
				err = golibvirt.Error{Code: uint32(golibvirt.ErrOperationInvalid), Message: "domain is not running"}
			}
			return "", err
		}
		return rpc.DomainGetXMLDesc(dom, 0)
	})
	if err != nil {
		return nil, dom, nil, err
	}
	var d libvirtxml.Domain
	if err := d.Unmarshal(text); err != nil || d.Devices == nil {
		return nil, dom, nil, fmt.Errorf("%s: read domain XML: %w", op, err)
	}
	return l, dom, &d, nil
}

func diskOf(d *libvirtxml.Domain, target string) *libvirtxml.DomainDisk {
	for i := range d.Devices.Disks {
		if t := d.Devices.Disks[i].Target; t != nil && t.Dev == target {
			return &d.Devices.Disks[i]
		}
	}
	return nil
}

// fileOf is the file that a domain writes to.
func fileOf(d *libvirtxml.Domain, target string) (string, error) {
	disk := diskOf(d, target)
	if disk == nil || disk.Source == nil || disk.Source.File == nil {
		return "", baadal.Errorf(baadal.Conflict, "%s has no file as its disk %s", d.Name, target).WithCode("disk_missing")
	}
	return disk.Source.File.File, nil
}

func mirrorOf(d *libvirtxml.Domain, target string) *libvirtxml.DomainDiskMirror {
	return diskOf(d, target).Mirror
}

// agentThere reports whether somebody listens on the agent's channel.
func agentThere(d *libvirtxml.Domain) bool {
	for _, c := range d.Devices.Channels {
		if c.Target != nil && c.Target.VirtIO != nil && c.Target.VirtIO.Name == "org.qemu.guest_agent.0" {
			return c.Target.VirtIO.State == "connected"
		}
	}
	return false
}

// diskSnapshot names every disk, so that libvirt does nothing to the others.
func diskSnapshot(d *libvirtxml.Domain, to map[string]string) (string, error) {
	s := libvirtxml.DomainSnapshot{Disks: &libvirtxml.DomainSnapshotDisks{}}
	for _, disk := range d.Devices.Disks {
		if disk.Target == nil || disk.Device != "disk" && disk.Device != "" {
			continue
		}
		one := libvirtxml.DomainSnapshotDisk{Name: disk.Target.Dev, Snapshot: "no"}
		if file, wanted := to[disk.Target.Dev]; wanted {
			one.Snapshot, one.Driver, one.Source = "external", &libvirtxml.DomainDiskDriver{Type: "qcow2"}, fileSource(file)
		}
		s.Disks.Disks = append(s.Disks.Disks, one)
	}
	return s.Marshal()
}

func backupXML(d *libvirtxml.Domain, to map[string]string) (string, error) {
	push := &libvirtxml.DomainBackupPush{Disks: &libvirtxml.DomainBackupPushDisks{}}
	for _, disk := range d.Devices.Disks {
		if disk.Target == nil || disk.Device != "disk" && disk.Device != "" {
			continue
		}
		one := libvirtxml.DomainBackupPushDisk{Name: disk.Target.Dev, Backup: "no"}
		if file, wanted := to[disk.Target.Dev]; wanted {
			one.Backup = "yes"
			one.Driver = &libvirtxml.DomainBackupDiskDriver{Type: "qcow2"}
			one.Target = &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: file}}
		}
		push.Disks.Disks = append(push.Disks.Disks, one)
	}
	b := libvirtxml.DomainBackup{Push: push}
	return b.Marshal()
}
