package disk

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strconv"

	"baadal"
)

// The scripts about images that come and go.
var (
	//go:embed files/image_prepare.sh
	imagePrepareScript string
	//go:embed files/image_copy.sh
	imageCopyScript string
	//go:embed files/image_keep.sh
	imageKeepScript string
	//go:embed files/image_remove.sh
	imageRemoveScript string
	//go:embed files/image_read.sh
	imageReadScript string
	//go:embed files/image_head.sh
	imageHeadScript string
	//go:embed files/image_info.sh
	imageInfoScript string
	//go:embed files/upload_write.sh
	uploadWriteScript string
	//go:embed files/upload_name.sh
	uploadNameScript string
	//go:embed files/upload_take.sh
	uploadTakeScript string
)

// uploaded is the name that every attempt to take an upload has: they do the same.
const uploaded = "uploaded"

// PrepareImage removes what an unfinished copy left, and tells whether the image
// is there already.
func (d *Disks) PrepareImage(ctx context.Context, host baadal.Host, c baadal.ImageCopy) (done bool, err error) {
	out, err := d.image(ctx, host, c, work{script: imagePrepareScript, limit: quick})
	return string(bytes.TrimSpace(out)) == "done", wrap("prepare image", err)
}

// CopyImage writes c.Part(), a flat copy of the disk of a VM (uuid) that is off.
// progress, which may be nil, is not called after the return.
func (d *Disks) CopyImage(ctx context.Context, host baadal.Host, c baadal.ImageCopy, uuid, from string, progress func(share float64)) error {
	if err := checkUUID(uuid); err != nil {
		return err
	}
	if err := checkFile("disk", from); err != nil {
		return err
	}
	const whole = 1 << 20
	told := &percents{total: whole, begun: d.now(), now: d.now, progress: func(p baadal.CopyProgress) {
		if progress != nil {
			progress(float64(p.Done) / whole)
		}
	}}
	defer told.close()
	_, err := d.image(ctx, host, c, work{script: imageCopyScript, args: []string{from, uuid}, stdout: told, limit: copies})
	return wrap("copy image", err)
}

// KeepImage checks the finished copy, makes it read-only and gives it its name.
// Done already is success.
func (d *Disks) KeepImage(ctx context.Context, host baadal.Host, c baadal.ImageCopy) (baadal.ImageInfo, error) {
	out, err := d.image(ctx, host, c, work{script: imageKeepScript, limit: copies})
	if err != nil {
		return baadal.ImageInfo{}, wrap("keep image", err)
	}
	info, err := parseInfo(out)
	return info, wrap("keep image", err)
}

// RemoveImageCopy removes the image and what unfinished copies left. None is success.
func (d *Disks) RemoveImageCopy(ctx context.Context, host baadal.Host, c baadal.ImageCopy) error {
	_, err := d.image(ctx, host, c, work{script: imageRemoveScript, limit: slow})
	return wrap("remove image", err)
}

// ReadImage writes the image's bytes from an offset on to w. It ends when w or
// ctx does.
func (d *Disks) ReadImage(ctx context.Context, host baadal.Host, c baadal.ImageCopy, offset int64, w io.Writer) error {
	if offset < 0 {
		return baadal.Errorf(baadal.Invalid, "an offset of %d is not possible", offset)
	}
	_, err := d.image(ctx, host, c, work{script: imageReadScript, args: []string{strconv.FormatInt(offset, 10)}, stdout: w, limit: copies})
	return wrap("read image", err)
}

// image runs a script about an image in one of the areas.
func (d *Disks) image(ctx context.Context, host baadal.Host, c baadal.ImageCopy, w work) ([]byte, error) {
	if c.Area != baadal.DirTemplates && c.Area != baadal.DirMigration {
		return nil, baadal.Errorf(baadal.Invalid, "images are not kept in %q", c.Area)
	}
	if err := checkEntry("image", c.File); err != nil {
		return nil, err
	}
	w.args = append([]string{c.Area, c.File}, w.args...)
	out, _, err := d.run(ctx, host, c.Datastore, w)
	return out, err
}

// WriteUpload writes r to an upload's file, as a whole or not at all, and tells
// its length and SHA-256. r must end when ctx does.
func (d *Disks) WriteUpload(ctx context.Context, host baadal.Host, ds baadal.Datastore, uuid string, r io.Reader) (baadal.ImageInfo, error) {
	var info baadal.ImageInfo
	if err := checkUUID(uuid); err != nil {
		return info, err
	}
	in := newIntake(r, nil, d.now)
	defer in.close()
	_, _, err := d.run(ctx, host, ds, work{script: uploadWriteScript, args: []string{uuid}, stdin: in, limit: copies})
	written, sum, readErr := in.result()
	if readErr != nil {
		return info, fmt.Errorf("read upload: %w", readErr)
	}
	if err == nil {
		_, _, err = d.run(ctx, host, ds, work{script: uploadNameScript, args: []string{uuid}, limit: quick})
	}
	info.FileSize, info.SHA256 = written, sum
	return info, wrap("write upload", err)
}

// TakeUpload makes a template of an upload on the same datastore, with the
// checks of ImportTemplate. The upload stays. Done already is success.
func (d *Disks) TakeUpload(ctx context.Context, host baadal.Host, ds baadal.Datastore, uuid, file string) (baadal.ImageInfo, error) {
	info, err := d.takeUpload(ctx, host, ds, uuid, file)
	return info, wrap("import template", err)
}

func (d *Disks) takeUpload(ctx context.Context, host baadal.Host, ds baadal.Datastore, uuid, file string) (baadal.ImageInfo, error) {
	none := baadal.ImageInfo{}
	if err := checkUUID(uuid); err != nil {
		return none, err
	}
	if err := checkEntry("template file", file); err != nil {
		return none, err
	}
	_, head, err := d.beginTemplate(ctx, host, ds, file)
	if err != nil {
		return none, err
	}
	if head != nil {
		format, err := inspectAs(file, head)
		if err != nil {
			return none, err
		}
		return d.templateInfo(ctx, host, ds, file, format)
	}
	size, head, err := d.imageHead(ctx, host, ds.TransferFile(uuid))
	if err != nil {
		return none, err
	}
	format, err := inspectAs(file, head)
	if err == nil && format == "raw" && size%512 != 0 {
		err = badImage("a raw disk has whole sectors of 512 bytes, this one has %d bytes: it is cut off", size)
	}
	if err != nil {
		return none, err
	}
	if _, _, err := d.run(ctx, host, ds, work{script: uploadTakeScript, args: []string{uuid, file}, limit: quick}); err != nil {
		return none, err
	}
	info, err := d.templateInfo(ctx, host, ds, partName(file, uploaded), format)
	if err == nil {
		_, _, err = d.run(ctx, host, ds, work{script: templateFinishScript, args: []string{file, uploaded, format}, limit: copies})
	}
	if err != nil {
		d.discardTemplate(ctx, host, ds, file, uploaded)
		return none, err
	}
	return info, nil
}

// InspectImage looks at an image file anywhere on a host, which may not be
// written to. One that is trusted may stand on other files; the format of others
// is known by their first bytes, which are looked at before QEMU's programs see
// the file, and they must be whole. None is NotFound, an unusable one Invalid
// (code bad_image).
func (d *Disks) InspectImage(ctx context.Context, host baadal.Host, file string, trusted bool) (baadal.ImageInfo, error) {
	info, err := d.inspectImage(ctx, host, file, trusted)
	return info, wrap("look at image", err)
}

func (d *Disks) inspectImage(ctx context.Context, host baadal.Host, file string, trusted bool) (baadal.ImageInfo, error) {
	none := baadal.ImageInfo{}
	size, head, err := d.imageHead(ctx, host, file)
	if err != nil {
		return none, err
	}
	format, err := inspectSource(head, trusted)
	if err != nil {
		return none, err
	}
	out, _, err := d.run(ctx, host, folderOf(file), work{script: imageInfoScript, args: []string{file, format}, limit: quick})
	if baadal.KindOf(err) == baadal.Internal {
		return none, notAnImage(err)
	}
	if err != nil {
		return none, err
	}
	return parseSource(out, file, size, trusted)
}

// imageHead returns a file's length and beginning.
func (d *Disks) imageHead(ctx context.Context, host baadal.Host, file string) (int64, []byte, error) {
	if err := checkFile("image", file); err != nil {
		return 0, nil, err
	}
	out, _, err := d.run(ctx, host, folderOf(file), work{script: imageHeadScript, args: []string{file}, limit: quick})
	if err != nil {
		return 0, nil, err
	}
	line, head, _ := bytes.Cut(out, []byte("\n"))
	size, err := strconv.ParseInt(string(line), 10, 64)
	if err != nil {
		return 0, nil, fmt.Errorf("look at image: %s printed %q", host.Name, line)
	}
	if len(head) == 0 {
		return 0, nil, badImage("it is empty")
	}
	return size, head, nil
}

// folderOf lets an error about a file anywhere name the folder that it is in.
func folderOf(file string) baadal.Datastore {
	return baadal.Datastore{Name: path.Dir(file), Path: path.Dir(file)}
}

// inspectSource tells the format of an image that is copied into the cloud,
// which can be VMDK beside those of a template.
func inspectSource(head []byte, trusted bool) (format string, err error) {
	const capacityAt = 12 // sectors; without them the file only describes others
	switch {
	case bytes.HasPrefix(head, []byte("KDMV")):
		if len(head) < 512 || binary.LittleEndian.Uint64(head[capacityAt:]) == 0 {
			return "", badImage("its data lies in other files: qemu-img convert -O qcow2 makes a whole image of it")
		}
		return "vmdk", nil
	case trusted && bytes.HasPrefix(head, []byte("QFI\xfb")):
		return "qcow2", nil
	}
	return inspect(head)
}

// parseSource reads what qemu-img says of an image that is to be copied.
func parseSource(out []byte, file string, size int64, trusted bool) (baadal.ImageInfo, error) {
	none := baadal.ImageInfo{}
	var q struct {
		Format      string `json:"format"`
		VirtualSize int64  `json:"virtual-size"`
		Backing     string `json:"backing-filename"`
		Encrypted   bool   `json:"encrypted"`
		Specific    struct {
			Data struct {
				DataFile string `json:"data-file"`
				Extents  []struct {
					File string `json:"filename"`
				} `json:"extents"`
			} `json:"data"`
		} `json:"format-specific"`
	}
	if err := json.Unmarshal(out, &q); err != nil {
		return none, fmt.Errorf("read qemu-img info: %w", err)
	}
	switch {
	case q.Backing != "" && !trusted:
		return none, badImage("it stands on a backing file: qemu-img convert -O qcow2 makes a whole image of it")
	case q.Specific.Data.DataFile != "" && !trusted:
		return none, errDataFile()
	case q.Encrypted:
		return none, badImage("it is encrypted: decrypt it first")
	case q.VirtualSize <= 0 || q.VirtualSize > maxVirtualSize:
		return none, badImage("a virtual size of %d bytes is not possible", q.VirtualSize)
	}
	for _, e := range q.Specific.Data.Extents {
		if e.File != file {
			return none, errDataFile()
		}
	}
	return baadal.ImageInfo{Format: q.Format, VirtualSize: q.VirtualSize, FileSize: size, Backing: q.Backing}, nil
}
