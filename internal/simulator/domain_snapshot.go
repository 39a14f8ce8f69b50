package simulator

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"baadal"
)

// memento is a snapshot as libvirt describes it; its data is in the files.
type memento struct {
	Name, Parent string
	Current      bool
	State        baadal.VMState
	CreatedAt    time.Time
	Def          baadal.Domain
	Live         *baadal.Domain `json:",omitempty"` // nil if it was off
}

// mementoXML is the description as it goes out and comes back.
type mementoXML struct {
	XMLName xml.Name `xml:"domainsnapshot"`
	Name    string   `xml:"name"`
	State   string   `xml:"state"`
	Created string   `xml:"creationTime"`
	Parent  string   `xml:"parent>name,omitempty"`
	Domain  string   `xml:"domain"` // Def and Live as JSON
}

// machine is what mementoXML.Domain holds.
type machine struct {
	Def  baadal.Domain
	Live *baadal.Domain
}

func (m *memento) describe() (baadal.DomainSnapshot, error) {
	inner, err := json.Marshal(machine{m.Def, m.Live})
	if err != nil {
		return baadal.DomainSnapshot{}, err
	}
	text, err := xml.Marshal(mementoXML{Name: m.Name, State: m.State.String(), Created: strconv.FormatInt(m.CreatedAt.Unix(), 10), Parent: m.Parent, Domain: string(inner)})
	return baadal.DomainSnapshot{Name: m.Name, Parent: m.Parent, Current: m.Current, State: m.State, XML: string(text), CreatedAt: m.CreatedAt}, err
}

func readMemento(s baadal.DomainSnapshot) (*memento, error) {
	var x mementoXML
	var in machine
	if err := xml.Unmarshal([]byte(s.XML), &x); err != nil {
		return nil, baadal.Errorf(baadal.Invalid, "the snapshot's XML cannot be read: %w", err).WithCode("domain_xml")
	}
	if err := json.Unmarshal([]byte(x.Domain), &in); err != nil {
		return nil, baadal.Errorf(baadal.Invalid, "the snapshot's domain cannot be read: %w", err).WithCode("domain_xml")
	}
	m := &memento{Name: x.Name, Parent: x.Parent, Current: s.Current, Def: in.Def, Live: in.Live}
	sec, err := strconv.ParseInt(x.Created, 10, 64)
	if err != nil {
		return nil, baadal.Errorf(baadal.Invalid, "the snapshot's time cannot be read: %w", err).WithCode("domain_xml")
	}
	m.CreatedAt = time.Unix(sec, 0).UTC()
	return m, m.State.UnmarshalText([]byte(x.State))
}

// saved is a snapshot's data in one image.
type saved struct{ Virtual, Bytes int64 }

func (d *domain) memento(name string) *memento {
	i := slices.IndexFunc(d.Snaps, func(m *memento) bool { return m.Name == name })
	if i < 0 {
		return nil
	}
	return d.Snaps[i]
}

// setCurrent makes one snapshot the current one; none if it is empty.
func (d *domain) setCurrent(name string) {
	for _, m := range d.Snaps {
		m.Current = m.Name == name
	}
}

func (d *domain) current() string {
	for _, m := range d.Snaps {
		if m.Current {
			return m.Name
		}
	}
	return ""
}

// definition is what the domain is now: running, or to be started.
func (d *domain) definition() *baadal.Domain {
	if d.active() {
		return d.Live
	}
	return &d.Def
}

// withDomain runs fn for a domain; NotFound if there is none.
func (v *Hypervisor) withDomain(ctx context.Context, op string, bh baadal.Host, uuid string, fn func(d *domain) error) error {
	return v.w.call(ctx, op, bh, func(h *host) error {
		d := h.Domains[uuid]
		if d == nil {
			return noDomain(h, uuid)
		}
		return fn(d)
	})
}

// Snapshots lists a domain's snapshots, parents first.
func (v *Hypervisor) Snapshots(ctx context.Context, bh baadal.Host, uuid string) (all []baadal.DomainSnapshot, err error) {
	err = v.withDomain(ctx, "snapshots.list", bh, uuid, func(d *domain) error {
		for _, m := range d.Snaps {
			s, err := m.describe()
			if err != nil {
				return err
			}
			all = append(all, s)
		}
		return nil
	})
	return all, err
}

// CreateSnapshot keeps all disks, and the memory of an active domain, in the
// images. One of that name is success.
func (v *Hypervisor) CreateSnapshot(ctx context.Context, bh baadal.Host, uuid, name, _ string) error {
	return v.withDomain(ctx, "snapshots.create", bh, uuid, func(d *domain) error {
		if d.memento(name) != nil {
			return nil
		}
		if err := v.w.marked(d); err != nil {
			return err
		}
		return v.w.remember(d, name)
	})
}

func (w *World) remember(d *domain, name string) error {
	m := &memento{Name: name, Parent: d.current(), State: baadal.VMOff, CreatedAt: w.now().Truncate(time.Second), Def: copyDomain(d.Def)}
	need := int64(overlayBytes)
	if d.active() {
		live := copyDomain(*d.Live)
		m.State, m.Live = d.State, &live
		need += int64(live.RAMMiB) << 20
	}
	var files []*file
	for _, disk := range d.definition().Disks {
		if disk.Format != "qcow2" {
			return baadal.Errorf(baadal.Conflict, "%s cannot be snapshotted", d.Def.Name).WithCode("disk_format").
				WithDetail("the disk %s is %s, not qcow2", disk.Target, disk.Format)
		}
		f, err := w.usable(d.host, disk.Path)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	ds, _ := w.lookup(d.definition().Disks[0].Path)
	if _, err := w.writable(d.host, ds.Path); err != nil {
		return err
	}
	if err := ds.room(need); err != nil {
		return err
	}
	for i, f := range files {
		if f.Saved == nil {
			f.Saved = map[string]saved{}
		}
		s := saved{Virtual: f.Virtual}
		if i == 0 { // the first image holds the memory
			s.Bytes = need
		}
		f.Saved[name] = s
		f.Bytes += s.Bytes
	}
	ds.used += need
	d.Snaps = append(d.Snaps, m)
	d.setCurrent(name)
	w.dirty = true
	return nil
}

// CheckRevert says whether RevertSnapshot would fail.
func (v *Hypervisor) CheckRevert(ctx context.Context, bh baadal.Host, uuid, name string) error {
	return v.withDomain(ctx, "snapshots.check", bh, uuid, func(d *domain) error {
		_, err := v.w.revertable(d, name)
		return err
	})
}

func (w *World) revertable(d *domain, name string) (*memento, error) {
	m := d.memento(name)
	if m == nil {
		return nil, baadal.Errorf(baadal.NotFound, "%s has no snapshot %s", d.Def.Name, name).WithCode("snapshot_unknown")
	}
	bad := func(format string, args ...any) (*memento, error) {
		return nil, baadal.Errorf(baadal.Conflict, "snapshot %s cannot be reverted to", name).WithCode("snapshot_unusable").WithDetail(format, args...)
	}
	then := m.Def
	if m.Live != nil {
		then = *m.Live
	}
	byTarget := func(a, b baadal.DomainDisk) int {
		if a.Target < b.Target {
			return -1
		}
		return 1
	}
	if !slices.Equal(slices.SortedFunc(slices.Values(then.Disks), byTarget), slices.SortedFunc(slices.Values(d.definition().Disks), byTarget)) {
		return bad("the machine's disks are not those of the snapshot")
	}
	for _, disk := range then.Disks {
		f, err := w.usable(d.host, disk.Path)
		if err != nil {
			return nil, err
		}
		if _, ok := f.Saved[name]; !ok {
			return bad("%s does not hold its data", disk.Path)
		}
	}
	if then.CDROM != "" {
		if _, err := w.usable(d.host, then.CDROM); err != nil {
			return bad("the CD image %s, which the machine had in its drive then, cannot be read", then.CDROM)
		}
	}
	return m, nil
}

// RevertSnapshot brings back disks, memory, definition and power state. As in
// reality, one that fails leaves the domain off.
func (v *Hypervisor) RevertSnapshot(ctx context.Context, bh baadal.Host, uuid, name string) error {
	return v.withDomain(ctx, "snapshots.revert", bh, uuid, func(d *domain) error {
		m, err := v.w.revertable(d, name)
		if baadal.KindOf(err) == baadal.NotFound {
			return err
		}
		v.w.stop(d, baadal.VMOff, v.w.now())
		if err != nil {
			return err
		}
		return v.w.revert(d, m)
	})
}

func (w *World) revert(d *domain, m *memento) error {
	for _, disk := range m.Def.Disks {
		if _, f := w.lookup(disk.Path); f != nil {
			f.Virtual = f.Saved[m.Name].Virtual
		}
	}
	w.dirty = true
	d.setCurrent(m.Name)
	d.Def = copyDomain(m.Def)
	d.host.emit(baadal.DomainEvent{UUID: d.Def.UUID, State: baadal.VMUnknown, At: w.now()})
	if m.Live == nil {
		return nil
	}
	d.Def = copyDomain(*m.Live)
	err := w.start(d)
	d.Def = copyDomain(m.Def)
	if err == nil && m.State == baadal.VMPaused {
		w.setState(d, baadal.VMPaused, w.now())
	}
	return err
}

// DeleteSnapshot removes a snapshot with its data; its children move up. None,
// and no such domain, is success.
func (v *Hypervisor) DeleteSnapshot(ctx context.Context, bh baadal.Host, uuid, name string) error {
	err := v.withDomain(ctx, "snapshots.delete", bh, uuid, func(d *domain) error {
		m := d.memento(name)
		if m == nil {
			return nil
		}
		for _, disk := range m.Def.Disks {
			if ds, f := v.w.lookup(disk.Path); f != nil {
				f.Bytes -= f.Saved[name].Bytes
				ds.used -= f.Saved[name].Bytes
				delete(f.Saved, name)
			}
		}
		d.dropMemento(m)
		v.w.dirty = true
		return nil
	})
	if baadal.KindOf(err) == baadal.NotFound {
		return nil
	}
	return err
}

// dropMemento takes a snapshot out of the tree.
func (d *domain) dropMemento(m *memento) {
	d.Snaps = slices.DeleteFunc(d.Snaps, func(o *memento) bool { return o == m })
	for _, o := range d.Snaps {
		if o.Parent == m.Name {
			o.Parent = m.Parent
		}
	}
	if m.Current {
		d.setCurrent(m.Parent)
	}
}

// ForgetSnapshots removes the descriptions; the data stays in the images.
func (v *Hypervisor) ForgetSnapshots(ctx context.Context, bh baadal.Host, uuid string) error {
	err := v.withDomain(ctx, "snapshots.forget", bh, uuid, func(d *domain) error {
		d.Snaps = nil
		v.w.dirty = true
		return nil
	})
	if baadal.KindOf(err) == baadal.NotFound {
		return nil
	}
	return err
}

// RedefineSnapshots gives descriptions back, parents first.
func (v *Hypervisor) RedefineSnapshots(ctx context.Context, bh baadal.Host, uuid string, snaps []baadal.DomainSnapshot) error {
	if len(snaps) == 0 {
		return nil
	}
	return v.withDomain(ctx, "snapshots.redefine", bh, uuid, func(d *domain) error {
		for _, s := range snaps {
			m, err := readMemento(s)
			if err != nil {
				return err
			}
			if m.Def.UUID != uuid {
				return baadal.Errorf(baadal.Invalid, "snapshot %s is of another domain", m.Name).WithCode("libvirt_argument")
			}
			if m.Parent != "" && d.memento(m.Parent) == nil {
				return baadal.Errorf(baadal.Invalid, "parent %s of snapshot %s is not there", m.Parent, m.Name).WithCode("libvirt_argument")
			}
			v.w.dirty = true
			if old := d.memento(m.Name); old != nil {
				*old = *m
			} else {
				d.Snaps = append(d.Snaps, m)
			}
			if m.Current {
				d.setCurrent(m.Name)
			}
		}
		return nil
	})
}

// snapshotWords tells a domain's snapshots for the description of the world.
func (d *domain) snapshotWords() string {
	var s strings.Builder
	for _, m := range d.Snaps {
		fmt.Fprintf(&s, " snapshot=%s<%s:%s", m.Name, m.Parent, m.State)
		if m.Current {
			s.WriteString("*")
		}
	}
	return s.String()
}
