package simulator

import (
	"context"
	"slices"

	"baadal"
)

// Targets tells which file is at which target of a domain, in its definition
// and as it runs.
func (v *Hypervisor) Targets(ctx context.Context, bh baadal.Host, uuid string) (all map[string]string, err error) {
	err = v.onDomain(ctx, "hypervisor.targets", bh, uuid, func(d *domain) error {
		all = map[string]string{}
		for _, def := range d.sides() {
			for _, k := range def.Disks {
				all[k.Target] = k.Path
			}
			if def.Seed != "" {
				all["hda"] = def.Seed
			}
			all["hdb"] = def.CDROM
		}
		return nil
	})
	return all, err
}

// onDomain does something to a domain; NotFound if the host does not know it.
func (v *Hypervisor) onDomain(ctx context.Context, op string, bh baadal.Host, uuid string, fn func(d *domain) error) error {
	return v.w.call(ctx, op, bh, func(h *host) error {
		d := h.Domains[uuid]
		if d == nil {
			return noDomain(h, uuid)
		}
		return fn(d)
	})
}

// sides returns the definition and, if it runs, what it runs with.
func (d *domain) sides() []*baadal.Domain {
	if d.active() {
		return []*baadal.Domain{&d.Def, d.Live}
	}
	return []*baadal.Domain{&d.Def}
}

func diskAt(def *baadal.Domain, file string) *baadal.DomainDisk {
	i := slices.IndexFunc(def.Disks, func(k baadal.DomainDisk) bool { return k.Path == file })
	if i < 0 {
		return nil
	}
	return &def.Disks[i]
}

// AttachDisk gives a domain a disk, in its definition and, if it runs, at once.
func (v *Hypervisor) AttachDisk(ctx context.Context, bh baadal.Host, uuid string, k baadal.DomainDisk) error {
	return v.onDomain(ctx, "hypervisor.attach_disk", bh, uuid, func(d *domain) error {
		for _, def := range d.sides() {
			taken := slices.ContainsFunc(def.Disks, func(o baadal.DomainDisk) bool { return o.Target == k.Target && o.Path != k.Path })
			if taken {
				return baadal.Errorf(baadal.Conflict, "another disk of %s is at %s", def.Name, k.Target).WithCode("target_taken")
			}
		}
		f, err := v.w.usable(d.host, k.Path)
		if err != nil {
			return err
		}
		if d.active() && diskAt(d.Live, k.Path) == nil {
			if by := v.w.writer(f.Inode); by != nil {
				return baadal.Errorf(baadal.Conflict, "%s is in use", k.Path).WithCode("disk_in_use").
					WithDetail("another process has it open for writing (domain %s on %s)", by.Def.Name, by.host.Name)
			}
			d.Open = append(d.Open, f.Inode)
			v.w.writers[f.Inode] = d
		}
		for _, def := range d.sides() {
			if diskAt(def, k.Path) == nil {
				def.Disks = append(slices.Clone(def.Disks), k)
				v.w.dirty = true
			}
		}
		return nil
	})
}

// DetachDisk takes a disk away; a deaf guest does not let go of it.
func (v *Hypervisor) DetachDisk(ctx context.Context, bh baadal.Host, uuid string, k baadal.DomainDisk) error {
	return v.onDomain(ctx, "hypervisor.detach_disk", bh, uuid, func(d *domain) error {
		if d.active() && diskAt(d.Live, k.Path) != nil {
			if d.Deaf || d.State != baadal.VMRunning {
				return baadal.Errorf(baadal.Conflict, "the guest does not let go of %s", k.Target).WithCode("disk_held")
			}
			if _, f := v.w.lookup(k.Path); f != nil {
				delete(v.w.writers, f.Inode)
				d.Open = slices.DeleteFunc(slices.Clone(d.Open), func(i int64) bool { return i == f.Inode })
			}
		}
		for _, def := range d.sides() {
			def.Disks = slices.DeleteFunc(slices.Clone(def.Disks), func(o baadal.DomainDisk) bool { return o.Path == k.Path })
		}
		v.w.dirty = true
		return nil
	})
}

// ResizeDisk makes a disk of a running domain larger.
func (v *Hypervisor) ResizeDisk(ctx context.Context, bh baadal.Host, uuid string, k baadal.DomainDisk, bytes int64) error {
	return v.onDomain(ctx, "hypervisor.resize_disk", bh, uuid, func(d *domain) error {
		if !d.active() || diskAt(d.Live, k.Path) == nil {
			return baadal.Errorf(baadal.Conflict, "%s does not run with that disk", d.Def.Name).WithCode("domain_state")
		}
		_, f := v.w.lookup(k.Path)
		return v.w.grow(f, k.Path, bytes)
	})
}

// grow makes the disk in a file larger.
func (w *World) grow(f *file, name string, bytes int64) error {
	switch {
	case f == nil:
		return baadal.Errorf(baadal.NotFound, "there is no %s", name).WithCode("folder_missing")
	case f.Virtual > bytes:
		return baadal.Errorf(baadal.Invalid, "the disk has %d bytes and does not shrink", f.Virtual).WithCode("disk_shrink")
	}
	f.Virtual, w.dirty = bytes, true
	return nil
}

// LimitDisk sets a disk's limits; a domain without the disk is NotFound.
func (v *Hypervisor) LimitDisk(ctx context.Context, bh baadal.Host, uuid string, k baadal.DomainDisk) error {
	return v.onDomain(ctx, "hypervisor.limit_disk", bh, uuid, func(d *domain) error {
		found := false
		for _, def := range d.sides() {
			def.Disks = slices.Clone(def.Disks)
			if has := diskAt(def, k.Path); has != nil {
				has.BytesPerSecond, has.IOPS = k.BytesPerSecond, k.IOPS
				found, v.w.dirty = true, true
			}
		}
		if !found {
			return baadal.Errorf(baadal.NotFound, "domain %s has no disk %s", d.Def.Name, k.Path).WithCode("disk_unknown")
		}
		return nil
	})
}
