package disk

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"regexp"
	"strconv"

	"baadal"
)

// PrepareBackup makes the folder that a backup's files are written to, empty.
func (d *Disks) PrepareBackup(ctx context.Context, host baadal.Host, ds baadal.Datastore, uuid string) error {
	_, err := d.backup(ctx, host, ds, uuid, work{script: backupPrepareScript, args: []string{uuid}, limit: slow})
	return wrap("prepare backup", err)
}

// CopyToBackup makes a file of that folder a flat copy of a disk that nobody
// writes to.
func (d *Disks) CopyToBackup(ctx context.Context, host baadal.Host, ds baadal.Datastore, uuid string, f baadal.DiskFile, file string, progress func(share float64)) error {
	if err := first(checkDisk(f), checkEntry("backup file", file), baadal.CheckDatastorePath(f.Datastore.Path)); err != nil {
		return err
	}
	_, err := d.backup(ctx, host, ds, uuid, work{
		script: backupCopyScript, args: []string{uuid, file, path.Dir(f.Path()), f.UUID, f.Name}, stdout: &meter{re: percentRE, tell: percent(progress)}, limit: copies,
	})
	return wrap("copy disk to backup", err)
}

// SealBackup checks, sums up and describes the files, and gives the folder its
// name. Done already is success.
func (d *Disks) SealBackup(ctx context.Context, host baadal.Host, ds baadal.Datastore, uuid, parent string, files []string, description []byte) ([]baadal.BackupFile, error) {
	if parent != "" {
		if err := checkUUID(parent); err != nil {
			return nil, err
		}
	}
	for _, f := range files {
		if err := checkEntry("backup file", f); err != nil {
			return nil, err
		}
	}
	out, err := d.backup(ctx, host, ds, uuid, work{script: backupSealScript, args: append([]string{uuid, parent}, files...), stdin: bytes.NewReader(description), limit: copies})
	if err != nil {
		return nil, wrap("seal backup", err)
	}
	told := fields(out)
	if len(told) != 2*len(files) {
		return nil, fmt.Errorf("seal backup: %s printed %q", host.Name, out)
	}
	all := make([]baadal.BackupFile, len(files))
	for i, f := range files {
		all[i] = baadal.BackupFile{Name: f, SHA256: told[2*i]}
		if all[i].Bytes, err = strconv.ParseInt(told[2*i+1], 10, 64); err != nil {
			return nil, fmt.Errorf("seal backup: %w", err)
		}
	}
	return all, nil
}

// VerifyBackup reads the files and compares them with what they were: Conflict
// (code backup_damaged) says which one is another.
func (d *Disks) VerifyBackup(ctx context.Context, host baadal.Host, ds baadal.Datastore, uuid string, files []baadal.BackupFile, progress func(read int64)) error {
	var done int64
	for _, f := range files {
		if err := checkEntry("backup file", f.Name); err != nil {
			return err
		}
		_, err := d.backup(ctx, host, ds, uuid, work{
			script: backupVerifyScript, args: []string{uuid, f.Name, strconv.FormatInt(f.Bytes, 10), f.SHA256}, limit: copies,
			stdout: &meter{re: positionRE, tell: func(at float64) { progress(done + int64(at)) }},
		})
		if err != nil {
			return wrap("verify backup", err)
		}
		done += f.Bytes
		progress(done)
	}
	return nil
}

// HasBackup tells whether there is a sealed folder.
func (d *Disks) HasBackup(ctx context.Context, host baadal.Host, ds baadal.Datastore, uuid string) (bool, error) {
	out, err := d.backup(ctx, host, ds, uuid, work{script: backupHasScript, args: []string{uuid}, limit: quick})
	return string(bytes.TrimSpace(out)) == "yes", wrap("look for backup", err)
}

// RemoveBackup removes a backup's folder, sealed or not. None is success.
func (d *Disks) RemoveBackup(ctx context.Context, host baadal.Host, ds baadal.Datastore, uuid string) error {
	_, err := d.backup(ctx, host, ds, uuid, work{script: backupRemoveScript, args: []string{uuid, attempt()}, limit: slow})
	return wrap("remove backup", err)
}

func (d *Disks) backup(ctx context.Context, host baadal.Host, ds baadal.Datastore, uuid string, w work) ([]byte, error) {
	if err := checkUUID(uuid); err != nil {
		return nil, err
	}
	out, _, err := d.run(ctx, host, ds, w)
	return out, err
}

// StageDisk makes a flat copy of a file beside a disk. The same again is success.
func (d *Disks) StageDisk(ctx context.Context, host baadal.Host, f baadal.DiskFile, tag, from string, progress func(share float64)) error {
	if err := checkFile("source", from); err != nil {
		return err
	}
	return wrap("stage disk", d.refill(ctx, host, f, tag, work{
		script: refillStageScript, args: []string{from}, stdout: &meter{re: percentRE, tell: percent(progress)}, limit: copies,
	}))
}

// SwapDisk puts a disk's file aside and the staged one in its place. Idempotent.
func (d *Disks) SwapDisk(ctx context.Context, host baadal.Host, f baadal.DiskFile, tag string) error {
	return wrap("swap disk", d.refill(ctx, host, f, tag, work{script: refillSwapScript, args: []string{"swap"}, limit: quick}))
}

// UnswapDisk brings back what was put aside and removes what was staged. Idempotent.
func (d *Disks) UnswapDisk(ctx context.Context, host baadal.Host, f baadal.DiskFile, tag string) error {
	return wrap("take disk back", d.refill(ctx, host, f, tag, work{script: refillSwapScript, args: []string{"unswap"}, limit: slow}))
}

// DropOldDisk removes what was put aside. Idempotent.
func (d *Disks) DropOldDisk(ctx context.Context, host baadal.Host, f baadal.DiskFile, tag string) error {
	return wrap("drop old disk", d.refill(ctx, host, f, tag, work{script: refillSwapScript, args: []string{"drop"}, limit: slow}))
}

// refill runs a script about the content of a disk.
func (d *Disks) refill(ctx context.Context, host baadal.Host, f baadal.DiskFile, tag string, w work) error {
	if err := first(checkDisk(f), checkUUID(tag)); err != nil {
		return err
	}
	w.args = append([]string{f.Dir(), f.UUID, f.Name, tag}, w.args...)
	_, _, err := d.run(ctx, host, f.Datastore, w)
	return err
}

// ForgetBitmaps removes the bitmaps of our checkpoints from a disk that nobody
// uses. None, and no file, is success.
func (d *Disks) ForgetBitmaps(ctx context.Context, host baadal.Host, f baadal.DiskFile) error {
	if err := checkDisk(f); err != nil {
		return err
	}
	_, _, err := d.run(ctx, host, f.Datastore, work{script: bitmapsForgetScript, args: []string{f.Dir(), f.UUID, f.Name, baadal.CheckpointPrefix}, limit: slow})
	return wrap("forget bitmaps", err)
}

// first returns the first error.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

var positionRE = regexp.MustCompile(`pos:\s*(\d+)`)

// meter takes what a script prints of its progress and tells the last figure.
type meter struct {
	re   *regexp.Regexp
	tell func(float64)
	left []byte
}

func (m *meter) Write(b []byte) (int, error) {
	const longest = 256 // of what a figure may be cut within
	m.left = append(m.left, b...)
	if all := m.re.FindAllSubmatch(m.left, -1); len(all) > 0 {
		if n, err := strconv.ParseFloat(string(all[len(all)-1][1]), 64); err == nil {
			m.tell(n)
		}
	}
	if i := bytes.LastIndexAny(m.left, "\r\n"); i >= 0 {
		m.left = m.left[i+1:]
	}
	if len(m.left) > longest {
		m.left = m.left[len(m.left)-longest:]
	}
	return len(b), nil
}

func percent(tell func(share float64)) func(float64) {
	return func(n float64) { tell(n / 100) }
}
