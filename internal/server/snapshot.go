package server

import (
	"context"

	"baadal"
)

func (s *Server) snapshotRoutes() []route {
	return []route{
		on("GET", "/vms/{ref}/snapshots", "list-snapshots", "List a VM's snapshots, parents first", baadal.ActionVMRead, s.listSnapshots, codes("ambiguous")),
		on("POST", "/vms/{ref}/snapshots", "create-snapshot", "Snapshot a VM, with its memory if it runs", baadal.ActionSnapshotCreate,
			s.createSnapshot, creation, actCodes, codes("exists", "bad_name", "snapshot_limit", "datastore_full", "vm_saved", "hot_cpus")),
		on("POST", "/vms/{ref}/snapshots/{snapshot}/revert", "revert-snapshot", "Bring a VM back to a snapshot; what was written since is lost",
			baadal.ActionSnapshotRevert, s.actSnapshot(s.svc.RevertSnapshot), change, actCodes,
			codes("snapshot_not_ready", "vm_saved", "no_host", "no_datastore", "datastore_full")),
		on("DELETE", "/vms/{ref}/snapshots/{snapshot}", "delete-snapshot", "Delete a snapshot; those made on it stay", baadal.ActionSnapshotDelete,
			s.actSnapshot(s.svc.DeleteSnapshot), change, actCodes),
		on("GET", "/vms/{ref}/snapshot-schedule", "get-snapshot-schedule", "Show which snapshots of a VM are made by themselves",
			baadal.ActionVMRead, s.getSnapshotSchedule, codes("ambiguous")),
		on("PUT", "/vms/{ref}/snapshot-schedule", "set-snapshot-schedule", "Set which snapshots of a VM are made by themselves",
			baadal.ActionSnapshotSchedule, s.setSnapshotSchedule, codes("ambiguous", "vm_deleted", "vm_busy")),
	}
}

func (s *Server) listSnapshots(ctx context.Context, in *struct{ Ref }) (*listOut[baadal.Snapshot], error) {
	return all(s.svc.Snapshots(ctx, actor(ctx), in.Ref.Ref))
}

func (s *Server) createSnapshot(ctx context.Context, in *struct {
	Ref
	Dry
	Body baadal.SnapshotCreate
},
) (*changeOut[baadal.Snapshot], error) {
	return changed(s.svc.CreateSnapshot(ctx, actor(ctx), in.Ref.Ref, in.Body, in.change()))
}

// snapshotIn is a change of one snapshot.
type snapshotIn struct {
	Ref
	Options
	Snapshot string `path:"snapshot" maxLength:"255" doc:"Name of the snapshot."`
}

func (s *Server) actSnapshot(
	act func(context.Context, baadal.Actor, string, string, baadal.ChangeOptions) (baadal.Change[baadal.Snapshot], error),
) func(context.Context, *snapshotIn) (*changeOut[baadal.Snapshot], error) {
	return func(ctx context.Context, in *snapshotIn) (*changeOut[baadal.Snapshot], error) {
		return changed(act(ctx, actor(ctx), in.Ref.Ref, in.Snapshot, in.change()))
	}
}

func (s *Server) getSnapshotSchedule(ctx context.Context, in *struct{ Ref }) (*struct{ Body baadal.SnapshotSchedule }, error) {
	schedule, err := s.svc.SnapshotSchedule(ctx, actor(ctx), in.Ref.Ref)
	return &struct{ Body baadal.SnapshotSchedule }{schedule}, err
}

func (s *Server) setSnapshotSchedule(ctx context.Context, in *struct {
	Ref
	Body baadal.SnapshotSchedule
},
) (*struct{ Body baadal.SnapshotSchedule }, error) {
	schedule, err := s.svc.SetSnapshotSchedule(ctx, actor(ctx), in.Ref.Ref, in.Body)
	return &struct{ Body baadal.SnapshotSchedule }{schedule}, err
}
