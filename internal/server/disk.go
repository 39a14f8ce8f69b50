package server

import (
	"context"

	"baadal"
)

func (s *Server) diskRoutes() []route {
	return []route{
		on("GET", "/vms/{ref}/disks", "list-disks", "List a VM's disks, the first one first", baadal.ActionVMRead, s.listDisks, codes("ambiguous")),
		on("POST", "/vms/{ref}/disks", "add-disk", "Make another disk and give it to a VM, at once if it runs", baadal.ActionDiskAdd,
			s.addDisk, creation, actCodes, codes("vm_saved", "no_target", "no_datastore", "datastore_full", "not_found", "removed")),
		on("POST", "/vms/{ref}/disks/{disk}/attach", "attach-disk", "Give a VM back a disk that was detached or deleted", baadal.ActionDiskAttach,
			s.actDisk(baadal.ActionDiskAttach), change, actCodes, diskCodes, codes("disk_attached", "no_target")),
		on("POST", "/vms/{ref}/disks/{disk}/detach", "detach-disk", "Take a disk away from a VM; its file stays", baadal.ActionDiskDetach,
			s.actDisk(baadal.ActionDiskDetach), change, actCodes, diskCodes, codes("disk_detached", "disk_deleted")),
		on("DELETE", "/vms/{ref}/disks/{disk}", "delete-disk", "Delete a disk; it can be attached again until its retention ends",
			baadal.ActionDiskDelete, s.actDisk(baadal.ActionDiskDelete), change, actCodes, diskCodes, codes("disk_deleted")),
		on("POST", "/vms/{ref}/disks/{disk}/grow", "grow-disk", "Make a disk larger, under the guest's eyes if the VM runs", baadal.ActionDiskGrow,
			s.growDisk, change, actCodes, diskCodes, codes("disk_shrink", "disk_deleted", "no_datastore", "datastore_full")),
		on("PUT", "/vms/{ref}/disks/{disk}/limit", "limit-disk", "Limit what a disk may do in a second", baadal.ActionDiskLimit,
			s.limitDisk, change, actCodes, diskCodes, codes("disk_deleted")),
	}
}

// diskCodes are what every act on a disk may be refused with.
func diskCodes(r *route) { codes("first_disk", "disk_creating", "vm_saved")(r) }

// DiskRef names one disk of a VM in a path.
type DiskRef struct {
	Ref
	Disk string `path:"disk" maxLength:"255" doc:"Target (vdb), file name, serial or id."`
}

// diskIn is a change of one disk without a body.
type diskIn struct {
	DiskRef
	Options
}

func (s *Server) listDisks(ctx context.Context, in *struct{ Ref }) (*listOut[baadal.Disk], error) {
	return all(s.svc.Disks(ctx, actor(ctx), in.Ref.Ref))
}

func (s *Server) addDisk(ctx context.Context, in *struct {
	Ref
	Dry
	Body baadal.DiskAdd
},
) (*changeOut[baadal.Disk], error) {
	return made(s.svc.AddDisk(ctx, actor(ctx), in.Ref.Ref, in.Body, in.change()))
}

func (s *Server) actDisk(action baadal.Action) func(context.Context, *diskIn) (*changeOut[baadal.Disk], error) {
	return func(ctx context.Context, in *diskIn) (*changeOut[baadal.Disk], error) {
		return changed(s.svc.ActDisk(ctx, actor(ctx), action, in.Ref.Ref, in.Disk, in.change()))
	}
}

func (s *Server) growDisk(ctx context.Context, in *struct {
	DiskRef
	Options
	Body baadal.DiskGrow
},
) (*changeOut[baadal.Disk], error) {
	return changed(s.svc.GrowDisk(ctx, actor(ctx), in.Ref.Ref, in.Disk, in.Body, in.change()))
}

func (s *Server) limitDisk(ctx context.Context, in *struct {
	DiskRef
	Options
	Body baadal.DiskLimit
},
) (*changeOut[baadal.Disk], error) {
	return changed(s.svc.LimitDisk(ctx, actor(ctx), in.Ref.Ref, in.Disk, in.Body, in.change()))
}
