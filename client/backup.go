package client

import (
	"context"
	"net/http"

	"baadal"
)

// Backups returns one page of backups, those of VMs that are gone included.
func (c *Client) Backups(ctx context.Context, q baadal.ListQuery) (baadal.List[baadal.Backup], error) {
	return call[baadal.List[baadal.Backup]](ctx, c, get("/backups", listQuery(q)))
}

// Backup returns one backup by id or UUID.
func (c *Client) Backup(ctx context.Context, ref string) (baadal.Backup, error) {
	return call[baadal.Backup](ctx, c, get(at("backups", ref), nil))
}

// CreateBackup backs up a VM.
func (c *Client) CreateBackup(ctx context.Context, vm string, in baadal.BackupCreate, opt baadal.ChangeOptions) (baadal.Change[baadal.Backup], error) {
	return call[baadal.Change[baadal.Backup]](ctx, c, create(at("vms", vm, "backups"), in, opt))
}

// VerifyBackup reads a backup's files and compares them with what they were.
func (c *Client) VerifyBackup(ctx context.Context, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.Backup], error) {
	return call[baadal.Change[baadal.Backup]](ctx, c, change(http.MethodPost, at("backups", ref, "verify"), nil, opt))
}

// RestoreBackup makes a new VM of a backup.
func (c *Client) RestoreBackup(ctx context.Context, ref string, in baadal.BackupRestore, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return call[baadal.Change[baadal.VM]](ctx, c, create(at("backups", ref, "restore"), in, opt))
}

// RestoreBackupInPlace puts a VM's disks back as a backup has them.
func (c *Client) RestoreBackupInPlace(ctx context.Context, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return call[baadal.Change[baadal.VM]](ctx, c, change(http.MethodPost, at("backups", ref, "restore-in-place"), nil, opt))
}

// DeleteBackup deletes a backup on which nothing stands, for ever.
func (c *Client) DeleteBackup(ctx context.Context, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.Backup], error) {
	return call[baadal.Change[baadal.Backup]](ctx, c, change(http.MethodDelete, at("backups", ref), nil, opt))
}

// BackupSchedule tells which backups of a VM are made by themselves.
func (c *Client) BackupSchedule(ctx context.Context, vm string) (baadal.BackupSchedule, error) {
	return call[baadal.BackupSchedule](ctx, c, get(at("vms", vm, "backup-schedule"), nil))
}

// SetBackupSchedule changes it.
func (c *Client) SetBackupSchedule(ctx context.Context, vm string, in baadal.BackupSchedule) (baadal.BackupSchedule, error) {
	return call[baadal.BackupSchedule](ctx, c, request{method: http.MethodPut, path: at("vms", vm, "backup-schedule"), body: in})
}
