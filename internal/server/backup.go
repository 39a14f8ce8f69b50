package server

import (
	"context"

	"baadal"
)

func (s *Server) backupRoutes() []route {
	return []route{
		on("GET", "/backups", "list-backups", "List backups, those of VMs that are gone included", baadal.ActionBackupRead, s.listBackups),
		on("GET", "/backups/{ref}", "get-backup", "Show a backup", baadal.ActionBackupRead, s.getBackup),
		on("POST", "/vms/{ref}/backups", "create-backup", "Back up a VM: all its disks as they are at one moment", baadal.ActionBackupCreate,
			s.createBackup, creation, actCodes, codes("backup_limit", "datastore_full", "no_datastore", "vm_saved")),
		on("POST", "/backups/{ref}/verify", "verify-backup", "Read a backup's files and compare them with what they were", baadal.ActionBackupVerify,
			s.actBackup(s.svc.VerifyBackup), change, codes("stale", "busy", "backup_not_ready")),
		on("POST", "/backups/{ref}/restore", "restore-backup", "Make a new VM of a backup", baadal.ActionBackupRestore, s.restoreBackup, creation,
			codes("exists", "bad_name", "busy", "backup_not_ready", "backup_damaged", "template_gone", "no_host", "no_datastore", "no_address", "datastore_full")),
		on("POST", "/backups/{ref}/restore-in-place", "restore-backup-in-place", "Put a VM's disks back as a backup has them; what was written since is lost",
			baadal.ActionBackupReplace, s.restoreBackupInPlace, change, actCodes,
			codes("busy", "backup_not_ready", "backup_damaged", "vm_deleted", "vm_saved", "disk_missing", "datastore_full", "datastore_not_mounted")),
		on("DELETE", "/backups/{ref}", "delete-backup", "Delete a backup on which nothing stands, for ever", baadal.ActionBackupDelete,
			s.actBackup(s.svc.DeleteBackup), change, codes("stale", "busy", "backup_not_ready", "backup_needed")),
		on("GET", "/vms/{ref}/backup-schedule", "get-backup-schedule", "Show which backups of a VM are made by themselves",
			baadal.ActionVMRead, s.getBackupSchedule, codes("ambiguous")),
		on("PUT", "/vms/{ref}/backup-schedule", "set-backup-schedule", "Set which backups of a VM are made by themselves",
			baadal.ActionBackupSchedule, s.setBackupSchedule, codes("ambiguous", "vm_deleted", "vm_busy")),
	}
}

func (s *Server) listBackups(ctx context.Context, in *struct{ Page }) (*listOut[baadal.Backup], error) {
	return listed(s.svc.Backups(ctx, actor(ctx), in.query()))
}

func (s *Server) getBackup(ctx context.Context, in *struct{ Ref }) (*oneOut[baadal.Backup], error) {
	return one(s.svc.Backup(ctx, actor(ctx), in.Ref.Ref))
}

func (s *Server) createBackup(ctx context.Context, in *struct {
	Ref
	Dry
	Body baadal.BackupCreate
},
) (*changeOut[baadal.Backup], error) {
	return changed(s.svc.CreateBackup(ctx, actor(ctx), in.Ref.Ref, in.Body, in.change()))
}

func (s *Server) actBackup(
	act func(context.Context, baadal.Actor, string, baadal.ChangeOptions) (baadal.Change[baadal.Backup], error),
) func(context.Context, *changeIn) (*changeOut[baadal.Backup], error) {
	return func(ctx context.Context, in *changeIn) (*changeOut[baadal.Backup], error) {
		return changed(act(ctx, actor(ctx), in.Ref.Ref, in.change()))
	}
}

func (s *Server) restoreBackup(ctx context.Context, in *struct {
	Ref
	Dry
	Body baadal.BackupRestore
},
) (*changeOut[baadal.VM], error) {
	return made(s.svc.RestoreBackup(ctx, actor(ctx), in.Ref.Ref, in.Body, in.change()))
}

func (s *Server) restoreBackupInPlace(ctx context.Context, in *changeIn) (*changeOut[baadal.VM], error) {
	return changed(s.svc.RestoreBackupInPlace(ctx, actor(ctx), in.Ref.Ref, in.change()))
}

func (s *Server) getBackupSchedule(ctx context.Context, in *struct{ Ref }) (*struct{ Body baadal.BackupSchedule }, error) {
	schedule, err := s.svc.BackupSchedule(ctx, actor(ctx), in.Ref.Ref)
	return &struct{ Body baadal.BackupSchedule }{schedule}, err
}

func (s *Server) setBackupSchedule(ctx context.Context, in *struct {
	Ref
	Body baadal.BackupSchedule
},
) (*struct{ Body baadal.BackupSchedule }, error) {
	schedule, err := s.svc.SetBackupSchedule(ctx, actor(ctx), in.Ref.Ref, in.Body)
	return &struct{ Body baadal.BackupSchedule }{schedule}, err
}
