package disk

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"baadal"
)

// FlattenDisk copies into the disk of a VM that is off what it has of the files
// between it and onto, a template of a format, or of all if onto is empty, at no
// more than so many bytes a second (0: no limit). The guest would see no
// difference, at no moment, also if the work is stopped. Idempotent.
func (d *Disks) FlattenDisk(ctx context.Context, host baadal.Host, f baadal.DiskFile, onto, format string, bytesPerSecond int64) error {
	if err := checkDisk(f); err != nil {
		return err
	}
	if onto != "" {
		if err := checkFile("template", onto); err != nil {
			return err
		}
		if format != "qcow2" && format != "raw" {
			return baadal.Errorf(baadal.Invalid, "template format %q is not possible", format)
		}
	}
	args := []string{f.Dir(), f.UUID, f.Name, onto, format, strconv.FormatInt(max(bytesPerSecond, 0), 10)}
	_, _, err := d.run(ctx, host, f.Datastore, work{script: flattenScript, args: args, limit: copies})
	return wrap("flatten disk", err)
}

// DropNames removes the names that bases have in the folder of a disk that
// stands on none of them any more. Idempotent.
func (d *Disks) DropNames(ctx context.Context, host baadal.Host, f baadal.DiskFile) error {
	if err := checkDisk(f); err != nil {
		return err
	}
	_, _, err := d.run(ctx, host, f.Datastore, work{script: extraPrelude + namesScript, args: []string{f.Dir(), f.UUID, f.Name, id(f)}, limit: quick})
	return wrap("drop names of bases", err)
}

// ForkDisks makes the folders of many VMs with one run of a script: marks,
// seeds, and disks that are empty overlays on bases. It returns the UUIDs of the
// VMs whose folders are there, whole and on stable storage; where something else
// is in the way there is none. An earlier call with the same turn that is still
// at work on the host is ended first, also when there is nothing to make.
func (d *Disks) ForkDisks(ctx context.Context, host baadal.Host, in baadal.DiskForks) (made []string, err error) {
	const op = "fork disks"
	if err := checkForks(in); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	area := baadal.DirImages
	if in.Extra {
		area = path.Dir(in.Datastore.ExtraDisksDir("x"))
	}
	try := attempt()
	var archive bytes.Buffer
	if len(in.Folders) > 0 {
		if err := writeForks(&archive, in, try); err != nil {
			return nil, fmt.Errorf("%s: %w", op, err)
		}
	}
	out, _, err := d.run(ctx, host, in.Datastore, work{
		script: forkScript, args: []string{area, in.Turn, try, yesNo(len(in.Folders) > 0)}, stdin: &archive, limit: slow,
	})
	return fields(out), wrap(op, err)
}

func checkForks(in baadal.DiskForks) error {
	if err := checkUUID(in.Turn); err != nil {
		return err
	}
	if err := checkEntry("datastore", in.Datastore.Name); err != nil {
		return err
	}
	for _, f := range in.Folders {
		if err := checkVM(f.Identity, f.UUID); err != nil {
			return err
		}
		for _, k := range f.Disks {
			if err := checkEntry("disk", k.Name); err != nil {
				return err
			}
			if err := checkUUID(k.Base); err != nil {
				return err
			}
			if k.Bytes <= 0 || k.Bytes > maxVirtualSize || k.Bytes%512 != 0 || in.Extra && k.ID < 1 {
				return baadal.Errorf(baadal.Invalid, "disk %s of %d bytes is not possible", k.Name, k.Bytes)
			}
		}
	}
	return nil
}

// writeForks writes the archive that the script unpacks.
func writeForks(to *bytes.Buffer, in baadal.DiskForks, try string) error {
	w := tar.NewWriter(to)
	now := time.Now()
	var failed error
	add := func(kind byte, name string, mode int64, content []byte) {
		err := w.WriteHeader(&tar.Header{Typeflag: kind, Name: name, Mode: mode, Size: int64(len(content)), ModTime: now})
		if err == nil {
			_, err = w.Write(content)
		}
		if failed == nil {
			failed = err
		}
	}
	var protos, disks, folders strings.Builder
	number := map[string]int{}
	for _, f := range in.Folders {
		dir := "." + f.UUID + "." + try + ".new/"
		add(tar.TypeDir, dir, 0o711, nil)
		add(tar.TypeReg, dir+".baadal", 0o600, []byte(f.UUID+"\n"))
		if len(f.Seed) > 0 {
			add(tar.TypeReg, dir+path.Base(in.Datastore.SeedFile(f.Identity)), 0o600, f.Seed)
		}
		fmt.Fprintf(&folders, "%s\t%s\n", f.UUID, f.Identity)
		for _, k := range f.Disks {
			proto := fmt.Sprintf("%s\t%d\n", in.Datastore.BaseFile(k.Base), k.Bytes)
			if number[proto] == 0 {
				number[proto] = len(number) + 1
				protos.WriteString(proto)
			}
			fmt.Fprintf(&disks, "%s\t%s\t%d\n", f.UUID, k.Name, number[proto])
			if in.Extra {
				add(tar.TypeReg, dir+"."+k.Name+".id", 0o600, []byte(strconv.FormatInt(k.ID, 10)+"\n"))
			}
		}
	}
	lists := "." + in.Turn + "." + try + ".lists/"
	add(tar.TypeDir, lists, 0o700, nil)
	for name, list := range map[string]*strings.Builder{"protos": &protos, "disks": &disks, "folders": &folders} {
		add(tar.TypeReg, lists+name, 0o600, []byte(list.String()))
	}
	if err := w.Close(); failed == nil {
		failed = err
	}
	return failed
}
