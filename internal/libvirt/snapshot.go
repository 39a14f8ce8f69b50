package libvirt

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"baadal"
	"baadal/internal/ssh"
)

// snapshotTimeout is how long a snapshot with memory may take to be written or
// read back. The guest stands still meanwhile.
const snapshotTimeout = 30 * time.Minute

// listBuffer asks libvirt to return a list and not only its length.
const listBuffer = 1

// Snapshots lists a domain's snapshots, parents first.
func (h *Hypervisor) Snapshots(ctx context.Context, host baadal.Host, uuid string) ([]baadal.DomainSnapshot, error) {
	const op = "list snapshots"
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if err != nil {
		return nil, err
	}
	return call(ctx, l, op, func(rpc *golibvirt.Libvirt) ([]baadal.DomainSnapshot, error) {
		list, _, err := rpc.DomainListAllSnapshots(dom, listBuffer, uint32(golibvirt.DomainSnapshotListTopological))
		if err != nil {
			return nil, err
		}
		all := make([]baadal.DomainSnapshot, 0, len(list))
		for _, s := range list {
			snap, err := describe(rpc, s)
			if isCode(err, golibvirt.ErrNoDomainSnapshot) { // gone meanwhile
				continue
			}
			if err != nil {
				return nil, err
			}
			all = append(all, snap)
		}
		return all, nil
	})
}

func describe(rpc *golibvirt.Libvirt, s golibvirt.DomainSnapshot) (baadal.DomainSnapshot, error) {
	text, err := rpc.DomainSnapshotGetXMLDesc(s, uint32(golibvirt.DomainSnapshotXMLSecure))
	if err != nil {
		return baadal.DomainSnapshot{}, err
	}
	current, err := rpc.DomainSnapshotIsCurrent(s, 0)
	if err != nil {
		return baadal.DomainSnapshot{}, err
	}
	snap, err := parseSnapshot(text)
	snap.Current = current != 0
	return snap, err
}

// snapshotHead is what we read of a snapshot's XML.
type snapshotHead struct {
	Name    string `xml:"name"`
	State   string `xml:"state"`
	Created string `xml:"creationTime"`
	Parent  string `xml:"parent>name"`
}

func parseSnapshot(text string) (baadal.DomainSnapshot, error) {
	var head snapshotHead
	if err := xml.Unmarshal([]byte(text), &head); err != nil {
		return baadal.DomainSnapshot{}, fmt.Errorf("read snapshot XML: %w", err)
	}
	s := baadal.DomainSnapshot{Name: head.Name, Parent: head.Parent, State: snapshotState(head.State), XML: text}
	if sec, err := strconv.ParseInt(head.Created, 10, 64); err == nil {
		s.CreatedAt = time.Unix(sec, 0).UTC()
	}
	return s, nil
}

func snapshotState(s string) baadal.VMState {
	switch s {
	case "running", "blocked":
		return baadal.VMRunning
	case "paused", "pmsuspended":
		return baadal.VMPaused
	case "shutoff", "disk-snapshot":
		return baadal.VMOff
	}
	return baadal.VMUnknown
}

// CreateSnapshot snapshots all disks inside their images, with the memory if
// the domain is active. One of that name is success: a call that was left
// behind may have made it.
func (h *Hypervisor) CreateSnapshot(ctx context.Context, host baadal.Host, uuid, name, description string) error {
	const op = "snapshot domain"
	wish := libvirtxml.DomainSnapshot{Name: name, Description: description}
	text, err := wish.Marshal()
	if err != nil {
		return fmt.Errorf("write snapshot XML: %w", err)
	}
	return h.slowly(ctx, host, uuid, op, func(rpc *golibvirt.Libvirt, dom golibvirt.Domain) error {
		_, err := rpc.DomainSnapshotCreateXML(dom, text, 0)
		if err != nil && strings.Contains(err.Error(), "already exists") {
			_, err = rpc.DomainSnapshotLookupByName(dom, name, 0)
		}
		return err
	})
}

// RevertSnapshot brings back disks, memory, definition and power state of a
// snapshot. A failure can leave the domain off: ask CheckRevert first.
func (h *Hypervisor) RevertSnapshot(ctx context.Context, host baadal.Host, uuid, name string) error {
	l, _, err := h.lookup(ctx, host, uuid, "revert domain")
	if err != nil {
		return err
	}
	err = h.slowly(ctx, host, uuid, "revert domain", func(rpc *golibvirt.Libvirt, dom golibvirt.Domain) error {
		s, err := rpc.DomainSnapshotLookupByName(dom, name, 0)
		if err != nil {
			return err
		}
		return rpc.DomainRevertToSnapshot(s, 0)
	})
	if id, parseErr := parseUUID(uuid); parseErr == nil {
		l.forget(id)
	}
	return err
}

// DeleteSnapshot removes a snapshot with its data; its children move up. None,
// and no such domain, is success.
func (h *Hypervisor) DeleteSnapshot(ctx context.Context, host baadal.Host, uuid, name string) error {
	err := h.slowly(ctx, host, uuid, "delete snapshot", func(rpc *golibvirt.Libvirt, dom golibvirt.Domain) error {
		s, err := rpc.DomainSnapshotLookupByName(dom, name, 0)
		if err != nil {
			return err
		}
		return rpc.DomainSnapshotDelete(s, 0)
	})
	if baadal.KindOf(err) == baadal.NotFound {
		return nil
	}
	return err
}

// slowly runs a call that may take minutes on a connection of its own, so that
// it is not taken for one that hangs.
func (h *Hypervisor) slowly(ctx context.Context, host baadal.Host, uuid, op string, f func(*golibvirt.Libvirt, golibvirt.Domain) error) error {
	_, dom, err := h.lookup(ctx, host, uuid, op)
	if err != nil {
		return err
	}
	l, err := h.open(ctx, host)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	defer l.close()
	patient := h.opts
	patient.CallTimeout = snapshotTimeout
	l.opts = &patient
	_, err = call(ctx, l, op, func(rpc *golibvirt.Libvirt) (struct{}, error) { return struct{}{}, f(rpc, dom) })
	return err
}

// ForgetSnapshots takes the snapshots' metadata off the domain, children first;
// their data stays in the images. None, and no such domain, is success.
func (h *Hypervisor) ForgetSnapshots(ctx context.Context, host baadal.Host, uuid string) error {
	const op = "forget snapshots"
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if baadal.KindOf(err) == baadal.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = call(ctx, l, op, func(rpc *golibvirt.Libvirt) (struct{}, error) {
		list, _, err := rpc.DomainListAllSnapshots(dom, listBuffer, uint32(golibvirt.DomainSnapshotListTopological))
		if isCode(err, golibvirt.ErrNoDomain) {
			return struct{}{}, nil
		}
		for _, s := range slices.Backward(list) {
			if err == nil {
				err = rpc.DomainSnapshotDelete(s, golibvirt.DomainSnapshotDeleteMetadataOnly)
			}
			if isCode(err, golibvirt.ErrNoDomainSnapshot) {
				err = nil
			}
		}
		return struct{}{}, err
	})
	return err
}

// RedefineSnapshots tells the domain of snapshots whose data its images hold,
// in the order given: parents first. Those it knows stay as they are.
func (h *Hypervisor) RedefineSnapshots(ctx context.Context, host baadal.Host, uuid string, snaps []baadal.DomainSnapshot) error {
	const op = "define snapshots"
	if len(snaps) == 0 {
		return nil
	}
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if err != nil {
		return err
	}
	_, err = call(ctx, l, op, func(rpc *golibvirt.Libvirt) (struct{}, error) {
		for _, s := range snaps {
			flags := golibvirt.DomainSnapshotCreateRedefine
			if s.Current {
				flags |= golibvirt.DomainSnapshotCreateCurrent
			}
			if _, err := rpc.DomainSnapshotCreateXML(dom, s.XML, uint32(flags)); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, nil
	})
	return err
}

// CheckRevert says, without touching anything, whether RevertSnapshot would
// fail half-way: NotFound if there is no such snapshot, otherwise Conflict with
// the reason.
func (h *Hypervisor) CheckRevert(ctx context.Context, host baadal.Host, uuid, name string) error {
	const op = "check snapshot"
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if err != nil {
		return err
	}
	type texts struct {
		snapshot, domain string
		checkpoints      bool
	}
	t, err := call(ctx, l, op, func(rpc *golibvirt.Libvirt) (t texts, err error) {
		s, err := rpc.DomainSnapshotLookupByName(dom, name, 0)
		if err != nil {
			return t, err
		}
		if t.snapshot, err = rpc.DomainSnapshotGetXMLDesc(s, 0); err != nil {
			return t, err
		}
		if t.domain, err = rpc.DomainGetXMLDesc(dom, 0); err != nil {
			return t, err
		}
		_, n, err := rpc.DomainListAllCheckpoints(dom, 0, 0)
		if isCode(err, golibvirt.ErrNoSupport) { // a driver without checkpoints
			n, err = 0, nil
		}
		t.checkpoints = n > 0
		return t, err
	})
	if err != nil {
		return err
	}
	if t.checkpoints {
		return noRevert(name, "the domain has checkpoints of a backup; a revert would fail and leave it off")
	}
	disks, err := sameDisks(name, t.snapshot, t.domain)
	if err != nil {
		return err
	}
	if err := h.checkDiscs(ctx, host, t.snapshot, name); err != nil {
		return err
	}
	for _, file := range disks {
		if err := h.checkImage(ctx, host, file, name); err != nil {
			return err
		}
	}
	return nil
}

func noRevert(name, format string, args ...any) error {
	return baadal.Errorf(baadal.Conflict, "snapshot %s cannot be reverted to", name).WithCode("snapshot_unusable").WithDetail(format, args...)
}

// sameDisks returns the files that a snapshot lies in; Conflict unless they are
// those that the domain has now.
func sameDisks(name, snapshot, domain string) ([]string, error) {
	var s libvirtxml.DomainSnapshot
	if err := s.Unmarshal(snapshot); err != nil {
		return nil, fmt.Errorf("read snapshot XML: %w", err)
	}
	var d libvirtxml.Domain
	if err := d.Unmarshal(domain); err != nil {
		return nil, fmt.Errorf("read domain XML: %w", err)
	}
	if s.Domain == nil {
		return nil, noRevert(name, "it does not say which machine it is of")
	}
	then, now := writable(s.Domain), writable(&d)
	for target, disk := range then {
		switch {
		case now[target] == disk:
		case now[target] == (diskFile{}):
			return nil, noRevert(name, "it has the disk %s (%s), which the machine has no more", target, disk.path)
		case disk.format != "qcow2":
			return nil, noRevert(name, "the disk %s is %s, not qcow2", target, disk.format)
		default:
			return nil, noRevert(name, "its disk %s is %s, the machine's is now %s", target, disk.path, now[target].path)
		}
	}
	files := make([]string, 0, len(now))
	for target, disk := range now {
		if then[target] == (diskFile{}) {
			return nil, noRevert(name, "the disk %s (%s) is newer than it and would be lost to the machine: detach it first", target, disk.path)
		}
		files = append(files, disk.path)
	}
	slices.Sort(files)
	return files, nil
}

type diskFile struct{ path, format string }

// writable returns the files of a domain's writable disks by target.
func writable(d *libvirtxml.Domain) map[string]diskFile {
	disks := map[string]diskFile{}
	if d.Devices == nil {
		return disks
	}
	for _, disk := range d.Devices.Disks {
		if disk.ReadOnly != nil || (disk.Device != "disk" && disk.Device != "") || disk.Target == nil {
			continue
		}
		var f diskFile
		if disk.Source != nil && disk.Source.File != nil {
			f.path = disk.Source.File.File
		}
		if disk.Driver != nil {
			f.format = disk.Driver.Type
		}
		disks[disk.Target.Dev] = f
	}
	return disks
}

// checkImage looks into an image, which may be in use, for the snapshot's data.
func (h *Hypervisor) checkImage(ctx context.Context, host baadal.Host, file, name string) error {
	if h.pool == nil {
		return nil
	}
	res, err := h.pool.Run(ctx, host, ssh.Command{Argv: []string{"qemu-img", "info", "-U", "--output=json", "--backing-chain", "--", file}})
	if err != nil {
		return fmt.Errorf("look into %s: %w", file, err)
	}
	if res.Code != 0 {
		return noRevert(name, "%s cannot be read: %s", file, shorten(string(res.Stderr)))
	}
	return imageHolds(res.Stdout, file, name)
}

// imageHolds reads what qemu-img says of an image and all that it stands on.
func imageHolds(info []byte, file, name string) error {
	var chain []struct { // the image first, then what it stands on
		Snapshots []struct {
			ID   string `json:"id"`
			Name string `json:"name"`
		} `json:"snapshots"`
		Specific struct {
			Data struct {
				Bitmaps []struct {
					Name string `json:"name"`
				} `json:"bitmaps"`
			} `json:"data"`
		} `json:"format-specific"`
	}
	if err := json.Unmarshal(info, &chain); err != nil {
		return fmt.Errorf("look into %s: %w", file, err)
	}
	found := false
	for _, image := range chain[:min(1, len(chain))] {
		if marks := image.Specific.Data.Bitmaps; len(marks) > 0 { // QEMU would begin, and then refuse
			return noRevert(name, "%s has the bitmap %s, as backups use; shut the VM down and remove it: qemu-img bitmap --remove", file, marks[0].Name)
		}
		for _, s := range image.Snapshots {
			found = found || s.Name == name
			if s.ID == name && s.Name != name { // QEMU looks for numbers first
				return noRevert(name, "in %s its name is the number of snapshot %s", file, s.Name)
			}
		}
	}
	if found {
		return nil
	}
	return noRevert(name, "%s does not hold its data", file)
}
