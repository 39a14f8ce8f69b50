package disk

import (
	"bytes"
	"context"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"baadal"
)

// PrepareMove makes the VM's folder on the datastore that a disk moves to, with
// the disk's mark and, for the first disk, a copy of the VM's seed. Idempotent.
func (d *Disks) PrepareMove(ctx context.Context, host baadal.Host, m baadal.DiskMove) error {
	seed := m.From.Datastore.SeedFile(m.From.Identity)
	return wrap("prepare move", d.shift(ctx, host, m, work{script: shiftBeginScript, args: []string{id(m.To), seed}, limit: slow}))
}

// EmptyMove makes the disk's new file, empty, in place of what is there. Nobody
// may use that.
func (d *Disks) EmptyMove(ctx context.Context, host baadal.Host, m baadal.DiskMove) error {
	if m.Bytes <= 0 || m.Bytes > maxVirtualSize || m.Bytes%512 != 0 {
		return baadal.Errorf(baadal.Invalid, "a disk of %d bytes is not possible", m.Bytes)
	}
	return wrap("make disk", d.shift(ctx, host, m, work{script: shiftEmptyScript, args: []string{id(m.To), strconv.FormatInt(m.Bytes, 10)}, limit: quick}))
}

// CopyMove copies the file of a disk that nobody uses, compares the two, and
// replaces what is at the new place: whole, with its snapshots and what it
// stands on, or flat. limit is in bytes per second, 0 is none; a disk that is in
// use is Conflict (code disk_in_use). progress is not called after the return.
func (d *Disks) CopyMove(ctx context.Context, host baadal.Host, m baadal.DiskMove, whole bool, limit int64, progress func(baadal.CopyProgress)) error {
	if limit < 0 {
		return baadal.Errorf(baadal.Invalid, "a limit of %d bytes per second is not possible", limit)
	}
	if err := baadal.CheckDatastorePath(m.From.Datastore.Path); err != nil {
		return err
	}
	told := &percents{total: m.Bytes, begun: d.now(), now: d.now, progress: progress}
	defer told.close()
	return wrap("copy disk", d.shift(ctx, host, m, work{
		script: shiftCopyScript, stdout: told, limit: copies,
		args: []string{id(m.To), m.From.Datastore.Path, m.From.Dir(), yesNo(whole), strconv.FormatInt(limit, 10)},
	}))
}

// MoveStamp returns words that are others after the disk's old file was written to.
func (d *Disks) MoveStamp(ctx context.Context, host baadal.Host, m baadal.DiskMove) (string, error) {
	if err := checkDisk(m.From); err != nil {
		return "", err
	}
	out, _, err := d.run(ctx, host, m.From.Datastore, work{script: shiftStampScript, args: []string{m.From.Dir(), m.From.UUID, m.From.Name}, limit: quick})
	return strings.TrimSpace(string(out)), wrap("look at disk", err)
}

// shift runs a script about a disk's new file.
func (d *Disks) shift(ctx context.Context, host baadal.Host, m baadal.DiskMove, w work) error {
	if err := checkDisk(m.From); err != nil {
		return err
	}
	if err := checkDisk(m.To); err != nil {
		return err
	}
	if m.From.Datastore.Path == m.To.Datastore.Path || m.From.Name != m.To.Name || m.From.UUID != m.To.UUID || m.From.DiskID != m.To.DiskID {
		return baadal.Errorf(baadal.Invalid, "%s does not move between two datastores", m.From.Name)
	}
	w.script = extraPrelude + shiftPrelude + w.script
	w.args = append([]string{m.To.Dir(), m.To.UUID, attempt(), m.To.Name}, w.args...)
	_, _, err := d.run(ctx, host, m.To.Datastore, w)
	return err
}

// percents reads what qemu-img prints of its progress, "    (12.34/100%)\r".
type percents struct {
	total    int64
	begun    time.Time
	now      func() time.Time
	progress func(baadal.CopyProgress)

	mu     sync.Mutex
	closed bool
	rest   []byte
}

var percentRE = regexp.MustCompile(`\(([0-9]+(?:\.[0-9]+)?)/100%\)`)

func (p *percents) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	const longest = 64 // of what is kept for the next time: an entry that came in halves
	text := append(p.rest, b...)
	if all := percentRE.FindAllSubmatch(text, -1); len(all) > 0 && !p.closed {
		if share, err := strconv.ParseFloat(string(all[len(all)-1][1]), 64); err == nil {
			p.tell(share / 100)
		}
	}
	if end := bytes.LastIndexByte(text, '\r'); end >= 0 {
		text = text[end+1:]
	}
	p.rest = append([]byte(nil), text[max(0, len(text)-longest):]...)
	return len(b), nil
}

func (p *percents) tell(share float64) {
	c := baadal.CopyProgress{Done: int64(share * float64(p.total)), Total: p.total}
	if took := p.now().Sub(p.begun).Seconds(); took > 0 {
		c.Rate = int64(float64(c.Done) / took)
	}
	p.progress(c)
}

// close ends the progress calls.
func (p *percents) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
}
