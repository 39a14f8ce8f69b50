package simulator

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"baadal"
)

// copyPart is the temporary name of an image that is copied.
func copyPart(file string) string { return "." + file + ".flatcopy.part" }

// images is what lies in an area: templates, or transfers.
func (ds *datastore) images(area string) map[string]*file {
	if area == baadal.DirTemplates {
		return ds.Templates
	}
	if ds.Transfers == nil {
		ds.Transfers = map[string]*file{}
	}
	return ds.Transfers
}

// drop removes a file of an area; none is fine.
func (w *World) drop(ds *datastore, area, name string) {
	if f := ds.images(area)[name]; f != nil {
		delete(ds.images(area), name)
		ds.used -= f.Bytes
		w.dirty = true
	}
}

// onImage runs fn on the datastore of an image.
func (s *Disks) onImage(ctx context.Context, op string, bh baadal.Host, c baadal.ImageCopy, fn func(h *host, ds *datastore) error) error {
	return s.w.call(ctx, op, bh, func(h *host) error {
		if err := checkName("image", c.File); err != nil {
			return err
		}
		ds, err := s.w.writable(h, c.Datastore.Path)
		if err != nil {
			return err
		}
		return fn(h, ds)
	})
}

// PrepareImage removes an unfinished copy, and tells whether the image is there.
func (s *Disks) PrepareImage(ctx context.Context, bh baadal.Host, c baadal.ImageCopy) (done bool, err error) {
	err = s.onImage(ctx, "images.prepare", bh, c, func(_ *host, ds *datastore) error {
		s.w.drop(ds, c.Area, copyPart(c.File))
		done = ds.images(c.Area)[c.File] != nil
		return nil
	})
	return done, err
}

// CopyImage writes a flat copy of a disk that nobody writes to.
func (s *Disks) CopyImage(ctx context.Context, bh baadal.Host, c baadal.ImageCopy, _, from string, progress func(share float64)) error {
	err := s.onImage(ctx, "images.copy", bh, c, func(h *host, ds *datastore) error {
		disk, err := s.w.usable(h, from)
		if err != nil {
			return err
		}
		if by := s.w.writer(disk.Inode); by != nil {
			return baadal.Errorf(baadal.Conflict, "%s is in use", from).WithCode("disk_in_use").WithDetail("domain %s on %s runs with it", by.Def.Name, by.host.Name)
		}
		return s.w.copyTo(ds, disk, c.Area, copyPart(c.File))
	})
	if err == nil && progress != nil {
		progress(1)
	}
	return err
}

// copyTo puts a flat copy of a disk into an area.
func (w *World) copyTo(ds *datastore, disk *file, area, name string) error {
	flat := w.newFile(overlayBytes) // all of it is zeros
	flat.Virtual, flat.Format = disk.Virtual, "qcow2"
	if err := ds.room(flat.Bytes); err != nil {
		return err
	}
	w.drop(ds, area, name)
	ds.images(area)[name] = flat
	ds.used += flat.Bytes
	return nil
}

// KeepImage gives a finished copy its name.
func (s *Disks) KeepImage(ctx context.Context, bh baadal.Host, c baadal.ImageCopy) (info baadal.ImageInfo, err error) {
	err = s.onImage(ctx, "images.keep", bh, c, func(_ *host, ds *datastore) error {
		all := ds.images(c.Area)
		if all[c.File] == nil {
			part := all[copyPart(c.File)]
			if part == nil {
				return baadal.Errorf(baadal.NotFound, "there is no %s", c.Part()).WithCode("folder_missing")
			}
			sum := sha256.New()
			_, _ = io.Copy(sum, part.content()) // neither fails
			part.SHA256 = hex.EncodeToString(sum.Sum(nil))
			delete(all, copyPart(c.File))
			all[c.File] = part
			s.w.dirty = true
		}
		info = *all[c.File].facts()
		return nil
	})
	return info, err
}

// RemoveImageCopy removes an image and what an unfinished copy left.
func (s *Disks) RemoveImageCopy(ctx context.Context, bh baadal.Host, c baadal.ImageCopy) error {
	return s.onImage(ctx, "images.remove", bh, c, func(_ *host, ds *datastore) error {
		s.w.drop(ds, c.Area, c.File)
		s.w.drop(ds, c.Area, copyPart(c.File))
		return nil
	})
}

// content is the image as it would be read: its header, then zeros.
func (f *file) content() io.Reader {
	header := make([]byte, qcowHeaderBytes)
	copy(header, qcowMagic)
	binary.BigEndian.PutUint32(header[4:], 3)
	binary.BigEndian.PutUint64(header[qcowSizeAt:], uint64(f.Virtual)) //nolint:gosec // a size
	return io.LimitReader(io.MultiReader(bytes.NewReader(header), zeros{}), f.Bytes)
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// ReadImage writes an image's bytes from an offset on.
func (s *Disks) ReadImage(ctx context.Context, bh baadal.Host, c baadal.ImageCopy, offset int64, w io.Writer) error {
	var content io.Reader
	err := s.onImage(ctx, "images.read", bh, c, func(_ *host, ds *datastore) error {
		f := ds.images(c.Area)[c.File]
		if f == nil {
			return baadal.Errorf(baadal.NotFound, "there is no %s", c.Path()).WithCode("folder_missing")
		}
		content = f.content()
		return nil
	})
	if err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, content, offset); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read image: %w", err)
	}
	if _, err := io.Copy(w, content); err != nil {
		return fmt.Errorf("read image: %w", err)
	}
	return nil
}

// WriteUpload takes a file in. When r fails nothing stays.
func (s *Disks) WriteUpload(ctx context.Context, bh baadal.Host, bds baadal.Datastore, uuid string, r io.Reader) (info baadal.ImageInfo, err error) {
	sum := sha256.New()
	header := make([]byte, headBytes)
	n, err := io.ReadFull(r, header)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return info, fmt.Errorf("read upload: %w", err)
	}
	sum.Write(header[:n])
	rest, err := io.Copy(sum, r)
	if err != nil {
		return info, fmt.Errorf("read upload: %w", err)
	}
	err = s.onImage(ctx, "images.upload", bh, baadal.ImageCopy{Datastore: bds, File: uuid}, func(_ *host, ds *datastore) error {
		f := s.w.newFile(int64(n) + rest)
		if err := ds.room(f.Bytes); err != nil {
			return err
		}
		f.SHA256 = hex.EncodeToString(sum.Sum(nil))
		if checkImage(header[:n]) == nil {
			f.Format, f.Virtual = "qcow2", int64(binary.BigEndian.Uint64(header[qcowSizeAt:])) //nolint:gosec // checked
		}
		if checkISO(header[:n]) == nil {
			f.Format = isoFormat
		}
		ds.images(baadal.DirMigration)[uuid] = f
		ds.used += f.Bytes
		info = *f.facts()
		return nil
	})
	return info, err
}

// TakeUpload makes a template of an upload on the same datastore.
func (s *Disks) TakeUpload(ctx context.Context, bh baadal.Host, bds baadal.Datastore, uuid, file string) (info baadal.ImageInfo, err error) {
	err = s.onImage(ctx, "images.take", bh, baadal.ImageCopy{Datastore: bds, File: file}, func(_ *host, ds *datastore) error {
		if ds.Templates[file] == nil {
			up := ds.images(baadal.DirMigration)[uuid]
			if up == nil {
				return baadal.Errorf(baadal.NotFound, "there is no upload %s", uuid).WithCode("folder_missing")
			}
			if up.Format == "" || (up.Format == isoFormat) != strings.HasSuffix(file, baadal.ISOSuffix) {
				return notAnImage()
			}
			f := s.w.newFile(0) // the same bytes under a second name
			f.Virtual, f.Format, f.SHA256, f.Bytes = up.Virtual, up.Format, up.SHA256, up.Bytes
			if up.Format == isoFormat {
				f.Virtual, f.Format = up.Bytes, "raw"
			}
			ds.Templates[file] = f
			ds.used += f.Bytes
		}
		info = *ds.Templates[file].facts()
		return nil
	})
	return info, err
}

// isoFormat marks an upload that is a CD image.
const isoFormat = "iso"

func notAnImage() error {
	return baadal.Errorf(baadal.Invalid, "that is not a usable disk image").WithCode("bad_image").WithDetail("the simulated world takes qcow2 only")
}

// InspectImage looks at an image file.
func (s *Disks) InspectImage(ctx context.Context, bh baadal.Host, name string, trusted bool) (info baadal.ImageInfo, err error) {
	err = s.w.call(ctx, "images.inspect", bh, func(*host) error {
		_, f := s.w.lookup(name)
		switch {
		case f == nil:
			return baadal.Errorf(baadal.NotFound, "there is no %s", name).WithCode("folder_missing")
		case f.Format == "" || f.Format == isoFormat:
			return notAnImage()
		case f.Backing != "" && !trusted:
			return baadal.Errorf(baadal.Invalid, "that is not a usable disk image").WithCode("bad_image").WithDetail("it stands on a backing file")
		}
		info = *f.facts()
		return nil
	})
	return info, err
}

// PutImage puts a disk image somewhere below a datastore's mount point by hand,
// as path of area/folder/file.
func (w *World) PutImage(mountPoint, at string, virtual int64) error {
	return w.actOnStore(mountPoint, func(ds *datastore) error {
		key, name := path.Split(at)
		key = path.Clean(key)
		f := w.newFile(overlayBytes)
		f.Virtual, f.Format = virtual, "qcow2"
		ds.used += f.Bytes
		if key == baadal.DirMigration {
			ds.images(key)[name] = f
			return nil
		}
		if ds.Folders[key] == nil {
			ds.Folders[key] = &folder{Files: map[string]*file{}}
		}
		ds.Folders[key].Files[name] = f
		return nil
	})
}
