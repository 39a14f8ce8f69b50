package disk

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"sync"
	"time"

	"baadal"
)

// ImportTemplate copies r to vm_templates/file and returns its facts. size is
// checked if it is not -1. Nothing is written before the first 64 KiB show a
// usable image (a CD image if file ends in baadal.ISOSuffix); the copy's SHA-256 is computed here and again on the host. A
// template that is there already is success: r is not read, its facts are
// those of the file. progress may be nil; it is called at most four times a
// second and not after the return. r must end when ctx does.
func (d *Disks) ImportTemplate(ctx context.Context, host baadal.Host, ds baadal.Datastore, file string, r io.Reader, size int64, progress func(written int64)) (baadal.ImageInfo, error) {
	info, err := d.importTemplate(ctx, host, ds, file, r, size, progress)
	return info, wrap("import template", err)
}

func (d *Disks) importTemplate(ctx context.Context, host baadal.Host, ds baadal.Datastore, file string, r io.Reader, size int64, progress func(int64)) (baadal.ImageInfo, error) {
	if err := checkEntry("template file", file); err != nil {
		return baadal.ImageInfo{}, err
	}
	free, head, err := d.beginTemplate(ctx, host, ds, file)
	if err != nil {
		return baadal.ImageInfo{}, err
	}
	if head != nil {
		format, err := inspectAs(file, head)
		if err != nil {
			return baadal.ImageInfo{}, err
		}
		return d.templateInfo(ctx, host, ds, file, format)
	}
	if size > free {
		e := full(host, ds, "")
		return baadal.ImageInfo{}, e.WithDetail("the image has %s, %s are free", gib(size), gib(free))
	}
	in := newIntake(r, progress, d.now)
	defer in.close()
	head, err = in.head()
	if err != nil {
		return baadal.ImageInfo{}, err
	}
	format, err := inspectAs(file, head)
	if err != nil {
		return baadal.ImageInfo{}, err
	}
	try := attempt()
	info, err := d.takeTemplate(ctx, host, ds, file, try, format, in, size)
	if err != nil {
		d.discardTemplate(ctx, host, ds, file, try)
		return baadal.ImageInfo{}, err
	}
	return info, nil
}

// takeTemplate writes, compares, checks and names the image.
func (d *Disks) takeTemplate(ctx context.Context, host baadal.Host, ds baadal.Datastore, file, try, format string, in *intake, size int64) (baadal.ImageInfo, error) {
	none := baadal.ImageInfo{}
	_, _, err := d.run(ctx, host, ds, work{script: templateWriteScript, args: []string{file, try}, stdin: in, limit: copies})
	written, sum, readErr := in.result()
	if readErr != nil {
		return none, fmt.Errorf("read image: %w", readErr)
	}
	if err != nil {
		return none, err
	}
	if size >= 0 && written != size {
		return none, badImage("%d of %d bytes came: the transfer was cut off", written, size)
	}
	if format == "raw" && written%512 != 0 {
		return none, badImage("a raw disk has whole sectors of 512 bytes, this one has %d bytes: it is cut off", written)
	}
	info, err := d.templateInfo(ctx, host, ds, partName(file, try), format)
	if err != nil {
		return none, err
	}
	if info.SHA256 != sum || info.FileSize != written {
		return none, &baadal.Error{
			Kind: baadal.Unavailable, Code: "copy_differs", Title: "the copy on datastore " + ds.Name + " differs from what was sent",
			Detail: fmt.Sprintf("sent %d bytes with SHA-256 %s, found %d bytes with %s", written, sum, info.FileSize, info.SHA256),
		}
	}
	if _, _, err := d.run(ctx, host, ds, work{script: templateFinishScript, args: []string{file, try, format}, limit: copies}); err != nil {
		return none, err
	}
	return info, nil
}

// beginTemplate returns the room on the datastore, or the beginning of the
// template's file if there is one.
func (d *Disks) beginTemplate(ctx context.Context, host baadal.Host, ds baadal.Datastore, file string) (free int64, head []byte, err error) {
	out, _, err := d.run(ctx, host, ds, work{script: templateBeginScript, args: []string{file}, limit: quick})
	if err != nil {
		return 0, nil, err
	}
	line, rest, _ := bytes.Cut(out, []byte("\n"))
	if string(line) == "done" {
		return 0, append([]byte{}, rest...), nil
	}
	if f := fields(line); len(f) == 2 && f[0] == "free" {
		if free, err = strconv.ParseInt(f[1], 10, 64); err == nil {
			return free, nil, nil
		}
	}
	return 0, nil, fmt.Errorf("begin import: %s printed %q", host.Name, line)
}

// templateInfo reads the facts of a file in vm_templates.
func (d *Disks) templateInfo(ctx context.Context, host baadal.Host, ds baadal.Datastore, name, format string) (baadal.ImageInfo, error) {
	out, _, err := d.run(ctx, host, ds, work{script: templateInfoScript, args: []string{name, format}, limit: copies})
	if baadal.KindOf(err) == baadal.Internal {
		return baadal.ImageInfo{}, notAnImage(err)
	}
	if err != nil {
		return baadal.ImageInfo{}, err
	}
	return parseInfo(out)
}

// notAnImage takes a failure of qemu-img for a refusal of the image.
func notAnImage(err error) error {
	e := badImage("qemu-img cannot read it")
	e.Err = err
	return e
}

// parseInfo reads what template_info.sh prints and refuses what must not become
// a template even if the header looked right.
func parseInfo(out []byte) (baadal.ImageInfo, error) {
	none := baadal.ImageInfo{}
	length, rest, _ := bytes.Cut(out, []byte("\n"))
	sum, text, _ := bytes.Cut(rest, []byte("\n"))
	var q struct {
		Format      string `json:"format"`
		VirtualSize int64  `json:"virtual-size"`
		Backing     string `json:"backing-filename"`
		Encrypted   bool   `json:"encrypted"`
		Specific    struct {
			Data struct {
				DataFile string `json:"data-file"`
			} `json:"data"`
		} `json:"format-specific"`
	}
	if err := json.Unmarshal(text, &q); err != nil {
		return none, fmt.Errorf("read qemu-img info: %w", err)
	}
	info := baadal.ImageInfo{Format: q.Format, VirtualSize: q.VirtualSize, Backing: q.Backing, SHA256: string(sum)}
	var err error
	if info.FileSize, err = strconv.ParseInt(string(length), 10, 64); err != nil {
		return none, fmt.Errorf("read file size: %w", err)
	}
	switch {
	case q.Backing != "":
		return none, badImage("it stands on a backing file: qemu-img convert -O qcow2 makes a whole image of it")
	case q.Specific.Data.DataFile != "":
		return none, errDataFile()
	case q.Encrypted:
		return none, badImage("it is encrypted: decrypt it first")
	case q.VirtualSize <= 0 || q.VirtualSize > maxVirtualSize:
		return none, badImage("a virtual size of %d bytes is not possible", q.VirtualSize)
	}
	return info, nil
}

// RemoveTemplate removes vm_templates/file and what unfinished imports left.
// None is success. Whether VMs stand on it is the caller's to know.
func (d *Disks) RemoveTemplate(ctx context.Context, host baadal.Host, ds baadal.Datastore, file string) error {
	if err := checkEntry("template file", file); err != nil {
		return wrap("remove template", err)
	}
	_, _, err := d.run(ctx, host, ds, work{script: templateRemoveScript, args: []string{file}, limit: slow})
	return wrap("remove template", err)
}

// discardTemplate removes an attempt's temporary file, even when ctx has ended.
// If that fails the next import or removal of the file does it.
func (d *Disks) discardTemplate(ctx context.Context, host baadal.Host, ds baadal.Datastore, file, try string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	_, _, _ = d.run(ctx, host, ds, work{script: templateDiscardScript, args: []string{file, try}})
}

// partName is the temporary name of an attempt's file, as the scripts make it.
func partName(file, try string) string { return "." + file + "." + try + ".part" }

// intake is the stream of an image: it counts, hashes and reports. The runner
// reads it from another goroutine, and may do so once more after it returned.
type intake struct {
	from     *bufio.Reader
	progress func(int64)
	now      func() time.Time

	mu     sync.Mutex
	hash   hash.Hash
	count  int64
	told   time.Time
	err    error
	closed bool
}

func newIntake(r io.Reader, progress func(int64), now func() time.Time) *intake {
	return &intake{from: bufio.NewReaderSize(r, headSize), progress: progress, now: now, hash: sha256.New(), told: now()}
}

// head returns the beginning of the stream without taking it.
func (in *intake) head() ([]byte, error) {
	head, err := in.from.Peek(headSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read image: %w", err)
	}
	if len(head) == 0 {
		return nil, badImage("it is empty")
	}
	return head, nil
}

func (in *intake) Read(b []byte) (int, error) {
	n, err := in.from.Read(b)
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return 0, io.ErrClosedPipe
	}
	in.hash.Write(b[:n])
	in.count += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		in.err = err
	}
	if now := in.now(); in.progress != nil && (err != nil || now.Sub(in.told) >= 250*time.Millisecond) {
		in.told = now
		in.progress(in.count)
	}
	return n, err
}

// result tells how many bytes were read, their SHA-256, and why reading failed
// if it did.
func (in *intake) result() (int64, string, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.count, hex.EncodeToString(in.hash.Sum(nil)), in.err
}

// close ends the progress calls.
func (in *intake) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
}
