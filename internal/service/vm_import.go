package service

import (
	"context"
	"encoding/json"
	"fmt"
	"path"

	"baadal"
	"baadal/internal/placement"
	"baadal/internal/store"
)

// imageTask is what a task that makes a VM of an image is told.
type imageTask struct {
	Upload int64            `json:"upload,omitempty"`
	Path   string           `json:"path,omitempty"`
	Launch *baadal.VMLaunch `json:"launch,omitempty"` // the wish, for a retry
	Adopt  *baadal.VMAdopt  `json:"adopt,omitempty"`  // likewise
}

// newImage is a wish for a VM of an image that was looked at.
type newImage struct {
	action  baadal.Action
	kind    baadal.TaskKind
	wish    baadal.VMCreate
	told    imageTask
	uuid    string // of a domain that is adopted
	host    int64  // only there; 0 for any
	store   int64  // likewise
	bytes   int64  // virtual size of the image
	from    string // in words
	effects []string
	claim   func(tx *store.Tx) error // what else it takes; may be nil
}

// ImportVM makes a VM of an upload. The upload is looked at before anything is
// claimed: its size is the least of the disk's.
func (s *Service) ImportVM(ctx context.Context, a baadal.Actor, in baadal.VMImport, opt baadal.ChangeOptions) (c baadal.Change[baadal.VM], err error) {
	if err := may(a, baadal.ActionVMImport); err != nil {
		return c, err
	}
	wish, err := in.Validate()
	if err != nil {
		return c, err
	}
	var f baadal.Transfer
	var ds baadal.Datastore
	err = s.db.View(ctx, func(tx *store.Tx) error {
		if f, err = findUpload(tx, a, in.UploadID); err != nil {
			return err
		}
		ds, err = tx.Datastore(f.DatastoreID)
		return err
	})
	if err != nil {
		return c, err
	}
	file := ds.TransferFile(f.UUID)
	info, err := s.inspect(ctx, ds, file, false)
	if err != nil {
		return c, hideHosts(a, err)
	}
	return s.createOfImage(ctx, a, newImage{
		action: baadal.ActionVMImport, kind: baadal.TaskVMImport, wish: wish, told: imageTask{Upload: f.ID, Path: file}, store: ds.ID, bytes: info.VirtualSize,
		from: "an upload", claim: func(tx *store.Tx) error { _, err := takeUpload(tx, a, in.UploadID); return err },
	}, opt)
}

// LaunchVM makes a VM of an image that lies on a datastore, as one of a former
// installation. It is copied.
func (s *Service) LaunchVM(ctx context.Context, a baadal.Actor, in baadal.VMLaunch, opt baadal.ChangeOptions) (c baadal.Change[baadal.VM], err error) {
	if err := may(a, baadal.ActionVMLaunch); err != nil {
		return c, err
	}
	wish, err := in.Validate()
	if err != nil {
		return c, err
	}
	var ds baadal.Datastore
	err = s.db.View(ctx, func(tx *store.Tx) error { ds, err = tx.DatastoreByRef(in.Datastore); return fieldOf(err, "datastore") })
	if err != nil {
		return c, err
	}
	file := path.Join(ds.Path, in.Image)
	info, err := s.inspect(ctx, ds, file, true)
	if baadal.KindOf(err) == baadal.NotFound {
		return c, baadal.Errorf(baadal.Invalid, "there is no image %s on datastore %s", in.Image, ds.Name).WithCode("no_image").WithField("image")
	}
	if err != nil {
		return c, err
	}
	return s.createOfImage(ctx, a, newImage{
		action: baadal.ActionVMLaunch, kind: baadal.TaskVMLaunch, wish: wish, told: imageTask{Path: file, Launch: &in}, store: ds.ID, bytes: info.VirtualSize,
		from: file, effects: []string{file + " is copied and stays where it is: remove it when the VM is as you want it"},
	}, opt)
}

// AdoptVM makes a VM of a domain that exists on a host. Its definition and its
// disk are looked at before anything is claimed; a dry run shows what will be
// another than before.
func (s *Service) AdoptVM(ctx context.Context, a baadal.Actor, in baadal.VMAdopt, opt baadal.ChangeOptions) (c baadal.Change[baadal.VM], err error) {
	if err := may(a, baadal.ActionVMAdopt); err != nil {
		return c, err
	}
	var host baadal.Host
	err = s.db.View(ctx, func(tx *store.Tx) error { host, err = tx.HostByRef(in.Host); return fieldOf(err, "host") })
	if err != nil {
		return c, err
	}
	d, err := s.opt.Foreign.ForeignDomain(ctx, host, in.Domain)
	if baadal.KindOf(err) == baadal.NotFound {
		return c, baadal.Errorf(baadal.Invalid, "%s has no domain %q", host.Name, in.Domain).WithCode("no_domain").WithField("domain").
			WithNext("See those that are nobody's", "virsh list --all")
	}
	if err != nil {
		return c, err
	}
	if err := d.Adoptable(); err != nil {
		return c, err
	}
	disk := d.Disks[0]
	info, err := s.opt.Files.InspectImage(ctx, host, disk.Path, true)
	if err != nil {
		return c, err
	}
	// A guest can write the header of another format into a raw disk.
	if info.Format != disk.Format {
		return c, baadal.Errorf(baadal.Conflict, "domain %s cannot be adopted", d.Name).WithCode("not_adoptable").
			WithDetail("its disk %s is defined as %s and looks like %s", disk.Path, disk.Format, info.Format)
	}
	n := newImage{
		action: baadal.ActionVMAdopt, kind: baadal.TaskVMAdopt, told: imageTask{Adopt: &in}, uuid: d.UUID, host: host.ID, bytes: info.VirtualSize,
		wish: baadal.VMCreate{
			Name: in.Name, Template: "-", Owner: in.Owner, Network: in.Network, VCPUs: d.VCPUs, RAMMiB: max(d.RAMMiB, baadal.MinRAMMiB), Purpose: in.Purpose,
		},
		from: "domain " + d.Name + " on " + host.Name, effects: d.Differences(),
	}
	if n.wish.Name == "" {
		n.wish.Name = d.Name
	}
	if err := n.wish.Validate(); err != nil {
		return c, err
	}
	if in.Datastore != "" {
		var ds baadal.Datastore
		err := s.db.View(ctx, func(tx *store.Tx) (err error) {
			ds, err = tx.DatastoreByRef(in.Datastore)
			return fieldOf(err, "datastore")
		})
		if err != nil {
			return c, err
		}
		n.store = ds.ID
	}
	return s.createOfImage(ctx, a, n, opt)
}

// inspect looks at an image on a datastore.
func (s *Service) inspect(ctx context.Context, ds baadal.Datastore, file string, trusted bool) (info baadal.ImageInfo, err error) {
	var host baadal.Host
	if err := s.db.View(ctx, func(tx *store.Tx) (err error) { host, err = fileHost(tx, ds); return err }); err != nil {
		return info, err
	}
	return s.opt.Files.InspectImage(ctx, host, file, trusted)
}

// createOfImage places and claims a VM of an image and makes the task: one
// transaction, with the rules of CreateVM.
func (s *Service) createOfImage(ctx context.Context, a baadal.Actor, n newImage, opt baadal.ChangeOptions) (c baadal.Change[baadal.VM], err error) {
	least := int((n.bytes + 1<<30 - 1) >> 30)
	if n.wish.DiskGiB != 0 && n.wish.DiskGiB < least {
		return c, baadal.Errorf(baadal.Invalid, "a disk of %d GiB is smaller than the image", n.wish.DiskGiB).WithField("disk_gib").WithDetail("it needs %d GiB", least)
	}
	n.wish.DiskGiB = max(n.wish.DiskGiB, least)
	var vm baadal.VM
	var t baadal.Task
	var choice placement.Choice
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		if err := tx.Lock("placement"); err != nil {
			return err
		}
		if n.claim != nil {
			if err := n.claim(tx); err != nil {
				return err
			}
		}
		if vm, choice, err = claimImage(tx, a, n); err != nil {
			return err
		}
		if t, err = newVMTask(a, n.kind, vm, 2, n.told); err != nil {
			return err
		}
		if err := tx.InsertTask(&t); err != nil {
			return err
		}
		if vm, err = tx.VM(vm.ID); err != nil {
			return err
		}
		if opt.DryRun {
			return errDryRun
		}
		return event(tx, a, baadal.Event{Subject: vmSubject(vm), Version: vm.Generation, What: "created", OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID},
			map[string]any{
				"host": baadal.Changed{New: vm.Host}, "address": baadal.Changed{New: vm.Address}, "image": baadal.Changed{New: n.from},
				"vcpus": baadal.Changed{New: vm.VCPUs}, "ram_mib": baadal.Changed{New: vm.RAMMiB}, "disk_gib": baadal.Changed{New: vm.DiskGiB},
			})
	})
	if isDryRun(err) {
		plan := s.createPlan(vm, choice)
		plan.Summary, plan.Effects, plan.Steps = plan.Summary+" of "+n.from, n.effects, s.queue.StepNames(n.kind)
		return baadal.Change[baadal.VM]{Plan: presentPlan(a, plan)}, nil
	}
	if err != nil {
		return c, hideHosts(a, err)
	}
	present(a, &vm)
	return baadal.Change[baadal.VM]{Resource: &vm, Task: &t}, nil
}

func claimImage(tx *store.Tx, a baadal.Actor, n newImage) (vm baadal.VM, choice placement.Choice, err error) {
	cr := creation{uuid: n.uuid, want: placement.Want{
		VCPUs: n.wish.VCPUs, RAMMiB: n.wish.RAMMiB, DiskBytes: int64(n.wish.DiskGiB) << 30, Host: n.host, Datastore: n.store,
	}}
	if err := resolvePeople(tx, a, n.action, n.wish, &cr); err != nil {
		return vm, choice, err
	}
	if n.wish.Host != "" {
		h, err := tx.HostByRef(n.wish.Host)
		if err != nil {
			return vm, choice, fieldOf(err, "host")
		}
		cr.want.Host = h.ID
	}
	if choice, err = choose(tx, cr); err != nil {
		return vm, choice, err
	}
	vm, err = claim(tx, a, n.wish, cr, choice)
	return vm, choice, err
}

// repeatImage asks again for what a task about an image failed at.
func (s *Service) repeatImage(ctx context.Context, a baadal.Actor, t baadal.Task) (again *baadal.Task, err error) {
	var told imageTask
	var saved saveTemplateTask
	if err := json.Unmarshal(t.Params, &told); err != nil {
		return nil, fmt.Errorf("read task parameters: %w", err)
	}
	ref, none := fmt.Sprint(t.Subject.ID), baadal.ChangeOptions{}
	switch t.Kind {
	case baadal.TaskVMExport:
		c, err := s.ExportVM(ctx, a, ref, none)
		return c.Task, err
	case baadal.TaskVMSaveTemplate:
		if err := json.Unmarshal(t.Params, &saved); err != nil {
			return nil, fmt.Errorf("read task parameters: %w", err)
		}
		c, err := s.SaveVMAsTemplate(ctx, a, ref, saved.Wish, none)
		return c.Task, err
	}
	owner, err := s.ownerOf(ctx, t) // who retries it does not get it
	if err != nil {
		return nil, err
	}
	switch {
	case told.Launch != nil:
		told.Launch.Owner = owner
		c, err := s.LaunchVM(ctx, a, *told.Launch, none)
		return c.Task, err
	case told.Adopt != nil:
		told.Adopt.Owner = owner
		c, err := s.AdoptVM(ctx, a, *told.Adopt, none)
		return c.Task, err
	}
	return nil, baadal.Errorf(baadal.Conflict, "the upload is gone").WithCode("not_repeatable").WithNext("Upload the image again", "baadal vm import FILE --name NAME")
}
