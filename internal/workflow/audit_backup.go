package workflow

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"baadal"
)

// The files in a backup's folder beside those of its disks.
const (
	backupDescription = "backup.json"
	backupSums        = "SHA256SUMS"
)

// backupOf finds the backup that a folder on a datastore belongs to, finished or
// not.
func (b *book) backupOf(ds baadal.Datastore, folder string) (baadal.Backup, bool) {
	i := slices.IndexFunc(b.backups, func(k baadal.Backup) bool {
		return k.DatastoreID == ds.ID && (folder == k.UUID || k.State == baadal.BackupMaking && strings.HasPrefix(folder, "."+k.UUID+"."))
	})
	if i < 0 {
		return baadal.Backup{}, false
	}
	return b.backups[i], true
}

// compareBackupEntry asks which backup a folder, or a file in one, belongs to.
// A file in a folder that nobody owns is told of with the folder.
func (c *comparison) compareBackupEntry(ds baadal.Datastore, e baadal.DatastoreEntry) {
	folder, file := e.Name, ""
	if dir := path.Dir(e.Name); dir != "." {
		folder, file = dir, path.Base(e.Name)
	}
	now, known := c.b.backupOf(ds, folder)
	was, knew := c.before.backupOf(ds, folder)
	switch {
	case knew && (was.State == baadal.BackupMaking || was.Task != nil), known && (now.State == baadal.BackupMaking || now.Task != nil):
		return // in motion
	case !known && knew || !known && file != "":
		return // it went while we looked, or its folder is told of
	case known && (file == "" || file == backupDescription || file == backupSums || slices.ContainsFunc(now.Files, func(f baadal.BackupFile) bool { return f.Name == file })):
		return
	}
	c.add(baadal.Difference{
		Kind: baadal.DiffOrphanBackup, Subject: baadal.Subject{Kind: "datastore", ID: ds.ID, Name: ds.Name}, Stored: "no backup owns it",
		Seen: fmt.Sprintf("%s/%s on %s, %d MiB", e.Area, e.Name, ds.Name, e.Bytes>>20),
	})
}

// compareBackups looks for the files of each backup that no task is at.
func (c *comparison) compareBackups(ds baadal.Datastore, found map[string]bool) {
	for _, b := range c.b.backups {
		was := func(old baadal.Backup) bool {
			return old.ID == b.ID && old.State != baadal.BackupMaking && old.Task == nil
		}
		if b.DatastoreID != ds.ID || b.State == baadal.BackupMaking || b.Task != nil || !slices.ContainsFunc(c.before.backups, was) {
			continue
		}
		folder := path.Join(baadal.DirBackups, b.UUID)
		missing := ""
		if !found[folder] {
			missing = folder
		}
		for _, f := range b.Files {
			if missing == "" && !found[folder+"/"+f.Name] {
				missing = folder + "/" + f.Name
			}
		}
		if missing != "" {
			c.add(baadal.Difference{Kind: baadal.DiffMissingBackup, Subject: backupSubject(b), Stored: missing + " on " + ds.Name, Seen: "it is not there"})
		}
	}
}
