package simulator

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"baadal"
)

// qcow2 header: magic, version, offset of the backing file's name, …, virtual size.
const (
	qcowMagic       = "QFI\xfb"
	qcowBackingAt   = 8
	qcowSizeAt      = 24
	qcowHeaderBytes = 32

	isoMagic    = "CD001" // of ISO 9660, at isoMagicAt
	isoMagicAt  = 16*2048 + 1
	headBytes   = isoMagicAt + len(isoMagic)
	importChunk = 256 << 10
)

// partName is the temporary name of a template that is being imported.
func partName(file string) string { return "." + file + ".part" }

// ImportTemplate copies r to a template. When r fails, what was copied stays
// under the temporary name, as after a lost connection.
func (s *Disks) ImportTemplate(ctx context.Context, bh baadal.Host, ds baadal.Datastore, file string, r io.Reader, size int64, progress func(written int64)) (info baadal.ImageInfo, err error) {
	const op = "disks.import_template"
	err = s.w.around(ctx, op, bh, func() error {
		im := &templateImport{w: s.w, op: op, host: bh, store: ds.Path, file: file, hash: sha256.New(), progress: progress}
		if im.progress == nil {
			im.progress = func(int64) {}
		}
		done, err := im.begin(ctx)
		if err == nil && done == nil {
			err = im.copy(ctx, r, size)
		}
		if err == nil && done == nil {
			done, err = im.finish(ctx)
		}
		if err == nil {
			info = *done
		}
		return err
	})
	return info, err
}

// templateImport is one import under way.
type templateImport struct {
	w        *World
	op       string
	host     baadal.Host
	store    string
	file     string
	hash     hash.Hash
	header   []byte
	written  int64
	progress func(int64)
}

// locked runs fn on the datastore once the host answers, and saves.
func (im *templateImport) locked(ctx context.Context, fn func(ds *datastore) error) error {
	h, err := im.w.reach(ctx, im.op, im.host)
	if err != nil {
		return err
	}
	defer im.w.mu.Unlock()
	ds, err := im.w.writable(h, im.store)
	if err != nil {
		return err
	}
	return im.w.commit(fn(ds))
}

// begin makes an empty temporary file in place of an older one, or returns the
// facts of a template that is there already.
func (im *templateImport) begin(ctx context.Context) (done *baadal.ImageInfo, err error) {
	if err := checkName("file", im.file); err != nil {
		return nil, err
	}
	err = im.locked(ctx, func(ds *datastore) error {
		if f := ds.Templates[im.file]; f != nil {
			done = f.facts()
			return nil
		}
		im.w.removeTemplate(ds, partName(im.file))
		ds.Templates[partName(im.file)] = im.w.newFile(0)
		return nil
	})
	return done, err
}

// copy reads to the end and writes chunk by chunk.
func (im *templateImport) copy(ctx context.Context, r io.Reader, size int64) error {
	buf := make([]byte, importChunk)
	for {
		n, rerr := io.ReadFull(r, buf)
		ended := errors.Is(rerr, io.EOF) || errors.Is(rerr, io.ErrUnexpectedEOF)
		if werr := im.write(ctx, buf[:n]); werr != nil {
			return werr
		}
		switch {
		case ended && size >= 0 && im.written != size:
			return baadal.Errorf(baadal.Invalid, "the image ended after %d of %d bytes", im.written, size).WithCode("bad_image")
		case ended:
			return nil
		case rerr != nil:
			return fmt.Errorf("read image: %w", rerr)
		}
	}
}

func (im *templateImport) write(ctx context.Context, chunk []byte) error {
	err := im.locked(ctx, func(ds *datastore) error {
		part := ds.Templates[partName(im.file)]
		if part == nil {
			return im.takenAway()
		}
		if err := ds.room(int64(len(chunk))); err != nil {
			return err
		}
		part.Bytes += int64(len(chunk))
		ds.used += int64(len(chunk))
		im.w.dirty = true
		return nil
	})
	if err != nil {
		return err
	}
	im.hash.Write(chunk)
	im.header = append(im.header, chunk[:min(len(chunk), headBytes-len(im.header))]...)
	im.written += int64(len(chunk))
	im.progress(im.written)
	return nil
}

// takenAway is the end of an import whose temporary file somebody removed.
func (im *templateImport) takenAway() error {
	return baadal.Errorf(baadal.Unavailable, "the import of %s was overtaken by another", im.file).WithCode("overtaken")
}

// finish checks the image and gives it its name; what is not an image is removed.
func (im *templateImport) finish(ctx context.Context) (info *baadal.ImageInfo, err error) {
	err = im.locked(ctx, func(ds *datastore) error {
		f := ds.Templates[partName(im.file)]
		if f == nil {
			return im.takenAway()
		}
		iso := strings.HasSuffix(im.file, baadal.ISOSuffix)
		check := checkImage
		if iso {
			check = checkISO
		}
		if err := check(im.header); err != nil {
			im.w.removeTemplate(ds, partName(im.file))
			return err
		}
		if f.Format, f.Virtual = "raw", f.Bytes; !iso {
			f.Format, f.Virtual = "qcow2", int64(binary.BigEndian.Uint64(im.header[qcowSizeAt:]))
		}
		f.SHA256 = hex.EncodeToString(im.hash.Sum(nil))
		delete(ds.Templates, partName(im.file))
		ds.Templates[im.file] = f
		im.w.dirty = true
		info = f.facts()
		return nil
	})
	return info, err
}

// checkImage refuses what is not a qcow2 image of its own.
func checkImage(header []byte) error {
	if len(header) < qcowHeaderBytes || !bytes.HasPrefix(header, []byte(qcowMagic)) {
		return baadal.Errorf(baadal.Invalid, "that is not a usable disk image").WithCode("bad_image").
			WithDetail("the simulated world takes qcow2 only")
	}
	if binary.BigEndian.Uint64(header[qcowBackingAt:]) != 0 {
		return baadal.Errorf(baadal.Invalid, "the image stands on another file").WithCode("bad_image").
			WithDetail("a template may have no backing file").WithNext("Flatten it first", "qemu-img convert -O qcow2 IMAGE FLAT")
	}
	if size := int64(binary.BigEndian.Uint64(header[qcowSizeAt:])); size <= 0 || size%sectorBytes != 0 {
		return baadal.Errorf(baadal.Invalid, "the image has an impossible size").WithCode("bad_image").WithDetail("%d bytes", size)
	}
	return nil
}

// checkISO refuses what is not a CD image.
func checkISO(header []byte) error {
	if len(header) < headBytes || string(header[isoMagicAt:headBytes]) != isoMagic {
		return baadal.Errorf(baadal.Invalid, "that is not a usable disk image").WithCode("bad_image").
			WithDetail("it is not a CD image (ISO 9660)")
	}
	return nil
}

func (f *file) facts() *baadal.ImageInfo {
	return &baadal.ImageInfo{Format: f.Format, VirtualSize: f.Virtual, FileSize: f.Bytes, Backing: f.Backing, SHA256: f.SHA256}
}

// RemoveTemplate removes a template and what an unfinished import left. What
// stands on it is broken then, as in reality.
func (s *Disks) RemoveTemplate(ctx context.Context, bh baadal.Host, bds baadal.Datastore, file string) error {
	return s.w.call(ctx, "disks.remove_template", bh, func(h *host) error {
		if err := checkName("file", file); err != nil {
			return err
		}
		ds, err := s.w.writable(h, bds.Path)
		if err != nil {
			return err
		}
		s.w.removeTemplate(ds, file)
		s.w.removeTemplate(ds, partName(file))
		return nil
	})
}

// removeTemplate removes one file below vm_templates; none is fine.
func (w *World) removeTemplate(ds *datastore, name string) {
	if f := ds.Templates[name]; f != nil {
		delete(ds.Templates, name)
		ds.used -= f.Bytes
		w.dirty = true
	}
}
