package simulator

import (
	"slices"
	"strings"
	"time"

	"baadal"
)

// domain is one libvirt domain on one host. Exported fields are its saved
// state; what is due is kept as a time, so it also happens after a restart.
type domain struct {
	Def        baadal.Domain  // what the next start uses
	Live       *baadal.Domain `json:",omitempty"` // what it runs with; nil while off
	State      baadal.VMState
	Persistent bool
	Autostart  bool           `json:",omitzero"`  // libvirt starts it with the host; nobody of ours says so
	Deaf       bool           `json:",omitzero"`  // the guest ignores shutdown and reboot
	Saved      *baadal.Domain `json:",omitempty"` // what it ran with when its memory was saved; nil if none is
	Balloon    int            `json:",omitzero"`  // MiB that are left to the guest; 0 for all
	Since      time.Time      // of State
	Booted     time.Time      `json:",omitzero"`  // when the guest began to boot
	OffAt      time.Time      `json:",omitzero"`  // when the guest will be down
	RebootAt   time.Time      `json:",omitzero"`  // when the guest will boot anew
	Open       []int64        `json:",omitempty"` // inodes it writes to
	Snaps      []*memento     `json:",omitempty"` // parents first
	Checks     []string       `json:",omitempty"` // checkpoints, oldest first
	PostCopy   bool           `json:",omitzero"`  // has only a part of its memory; the rest is on the other host
	Migrating  bool           `json:",omitzero"`  // one of the two halves of a migration: paused, writes to nothing

	Mirrors map[string]mirror `json:",omitempty"` // disks that are being copied, by target

	host *host
}

func (d *domain) active() bool { return d.Live != nil }

// due returns when the next thing happens to the domain by itself; zero if none.
func (d *domain) due() time.Time {
	if !d.OffAt.IsZero() {
		return d.OffAt
	}
	return d.RebootAt
}

// info is what libvirt tells of it.
func (d *domain) info() baadal.DomainInfo {
	def := &d.Def
	if d.active() {
		def = d.Live
	}
	return baadal.DomainInfo{
		UUID: def.UUID, Name: def.Name, VMID: def.VMID, State: d.State, Saved: d.Saved != nil, Persistent: d.Persistent, Autostart: d.Autostart,
		VCPUs: def.VCPUs, RAMMiB: def.RAMMiB + def.PluggedMiB,
	}
}

// copyDomain shares nothing with its argument.
func copyDomain(d baadal.Domain) baadal.Domain {
	d.Disks = slices.Clone(d.Disks)
	d.NICs = slices.Clone(d.NICs)
	return d
}

// define makes or replaces a definition. The event of it tells no state, as
// libvirt's does not.
func (w *World) define(h *host, def baadal.Domain) error {
	for uuid, other := range h.Domains {
		if other.Def.Name == def.Name && uuid != def.UUID {
			return baadal.Errorf(baadal.Conflict, "%s has another domain named %s", h.Name, def.Name).WithCode("domain_exists").
				WithDetail("its UUID is %s", uuid)
		}
	}
	d := h.Domains[def.UUID]
	if d == nil {
		d = &domain{State: baadal.VMOff, Since: w.now(), host: h}
		h.Domains[def.UUID] = d
	}
	d.Def, d.Persistent = copyDomain(def), true
	w.dirty = true
	h.emit(baadal.DomainEvent{UUID: def.UUID, State: baadal.VMUnknown, At: w.now()})
	return nil
}

// undefine removes the definition; a running domain stays until it stops.
func (w *World) undefine(d *domain) {
	d.Persistent = false
	if !d.active() {
		delete(d.host.Domains, d.Def.UUID)
	}
	w.dirty = true
	d.host.emit(baadal.DomainEvent{UUID: d.Def.UUID, State: baadal.VMMissing, At: w.now()})
}

// start runs a domain that is off, as QEMU would: every file must be there and
// no disk may be open for writing anywhere.
func (w *World) start(d *domain) error {
	def := &d.Def
	if d.Saved != nil {
		def = d.Saved
	}
	open, err := w.openDisks(d, def)
	if err != nil {
		return err
	}
	for _, disc := range []string{def.Seed, def.CDROM} {
		if disc == "" {
			continue
		}
		if _, err := w.usable(d.host, disc); err != nil {
			return err
		}
	}
	live := copyDomain(*def)
	d.Saved = nil
	d.Live, d.Open, d.Booted = &live, open, w.now()
	w.setState(d, baadal.VMRunning, d.Booted)
	w.register(d)
	return nil
}

// openDisks returns the inodes that a domain writes to; Conflict if another has
// one of them open, or a file is not there.
func (w *World) openDisks(d *domain, def *baadal.Domain) ([]int64, error) {
	var open []int64
	for _, disk := range def.Disks {
		f, err := w.usable(d.host, disk.Path)
		if err != nil {
			return nil, err
		}
		if by := w.writer(f.Inode); by != nil {
			return nil, baadal.Errorf(baadal.Conflict, "cannot start %s: its disk is in use", d.Def.Name).WithCode("disk_in_use").
				WithDetail("another process has %s open for writing (domain %s on %s)", disk.Path, by.Def.Name, by.host.Name)
		}
		open = append(open, f.Inode)
	}
	return open, nil
}

// writer returns the domain that has an inode open now.
func (w *World) writer(inode int64) *domain {
	if by := w.writers[inode]; by != nil {
		w.settle(by.host)
	}
	return w.writers[inode]
}

// register notes what a running domain holds; one that is half of a migration
// holds nothing.
func (w *World) register(d *domain) {
	if d.Migrating {
		return
	}
	for _, inode := range d.Open {
		w.writers[inode] = d
	}
	for _, nic := range d.Live.NICs {
		mac := strings.ToUpper(nic.MAC)
		if w.macs[mac] == nil {
			w.macs[mac] = map[*domain]bool{}
		}
		w.macs[mac][d] = true
	}
}

// stop ends a running domain at the given time; state is off or crashed. A
// transient one is gone then. One that is off stays as it is; one that crashed
// can be off.
func (w *World) stop(d *domain, state baadal.VMState, at time.Time) {
	if !d.active() {
		if d.State == baadal.VMCrashed {
			w.setState(d, state, at)
		}
		return
	}
	w.unregister(d)
	d.Migrating, d.PostCopy = false, false
	d.Mirrors = nil
	d.Live, d.Open, d.Booted, d.OffAt, d.RebootAt, d.Balloon = nil, nil, time.Time{}, time.Time{}, time.Time{}, 0
	delete(d.host.pending, d)
	if !d.Persistent {
		delete(d.host.Domains, d.Def.UUID)
	}
	w.setState(d, state, at)
}

// unregister forgets what a domain held.
func (w *World) unregister(d *domain) {
	for _, inode := range d.Open {
		delete(w.writers, inode)
	}
	for _, nic := range d.Live.NICs {
		mac := strings.ToUpper(nic.MAC)
		delete(w.macs[mac], d)
		if len(w.macs[mac]) == 0 {
			delete(w.macs, mac)
		}
	}
}

// setState writes the state and tells the watchers.
func (w *World) setState(d *domain, state baadal.VMState, at time.Time) {
	d.State, d.Since = state, at
	w.dirty = true
	d.host.emit(baadal.DomainEvent{UUID: d.Def.UUID, State: state, At: at})
}

// askDown makes the guest go down, or boot anew, in a while. A guest that is
// paused or deaf does nothing, and one on its way down stays on it.
func (w *World) askDown(d *domain, reboot bool) {
	if d.State != baadal.VMRunning || d.Deaf || !d.OffAt.IsZero() {
		return
	}
	at := w.now().Add(w.cfg.ShutdownTime)
	switch {
	case reboot && d.RebootAt.IsZero():
		d.RebootAt = at
	case !reboot:
		d.OffAt, d.RebootAt = at, time.Time{}
	}
	w.dirty = true
	d.host.pending[d] = true
	w.settle(d.host)
}

// settle lets happen what is due on a host and arms the timer for the rest.
func (w *World) settle(h *host) {
	now := w.now()
	for _, d := range h.dueDomains() {
		if now.Before(d.due()) {
			break
		}
		delete(h.pending, d)
		if d.OffAt.IsZero() {
			d.Booted, d.RebootAt = d.RebootAt, time.Time{}
			continue
		}
		w.stop(d, baadal.VMOff, d.OffAt)
	}
	w.arm(h)
}

// settleAll settles every host.
func (w *World) settleAll() {
	for _, h := range w.state.Hosts {
		w.settle(h)
	}
}

// dueDomains returns the domains with something pending, earliest first.
func (h *host) dueDomains() []*domain {
	if len(h.pending) == 0 {
		return nil
	}
	ds := make([]*domain, 0, len(h.pending))
	for d := range h.pending {
		ds = append(ds, d)
	}
	slices.SortFunc(ds, func(a, b *domain) int {
		if c := a.due().Compare(b.due()); c != 0 {
			return c
		}
		return strings.Compare(a.Def.UUID, b.Def.UUID)
	})
	return ds
}
