package simulator

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"baadal"
)

// SnapshotOption changes what Snapshot tells.
type SnapshotOption func(*snapshotOptions)

type snapshotOptions struct{ times bool }

// WithTimes adds since when things are as they are.
func WithTimes() SnapshotOption { return func(o *snapshotOptions) { o.times = true } }

// Snapshot describes the whole world in sorted lines. Two worlds in which the
// same is defined, runs, lies on the datastores and is reserved have the same
// one; without WithTimes also when it came about at other times.
func (w *World) Snapshot(opts ...SnapshotOption) string {
	var o snapshotOptions
	for _, opt := range opts {
		opt(&o)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settleAll()
	var lines []string
	for _, ds := range w.state.Datastores {
		lines = append(lines, ds.lines()...)
	}
	for _, h := range w.state.Hosts {
		lines = append(lines, h.line())
		for _, d := range h.Domains {
			lines = append(lines, d.line(o))
		}
	}
	for _, r := range w.state.Reservations {
		lines = append(lines, fmt.Sprintf("reservation %s mac=%s ip=%s", r.Name, r.MAC, r.IP))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

// flags joins the names of what is true.
func flags(all ...any) string {
	var s strings.Builder
	for i := 0; i < len(all); i += 2 {
		if all[i+1] == true {
			s.WriteString(" " + all[i].(string))
		}
	}
	return s.String()
}

func (h *host) line() string {
	s := fmt.Sprintf("host %s address=%s", h.Name, h.Address)
	s += flags("off", h.Off, "cut", h.Cut, "hung", h.Hung)
	if h.Skew != 0 {
		s += fmt.Sprintf(" skew=%s", h.Skew)
	}
	if len(h.Unmounted) > 0 {
		s += " unmounted=" + strings.Join(sortedKeys(h.Unmounted), ",")
	}
	return s + h.networkWords()
}

func (d *domain) line(o snapshotOptions) string {
	s := fmt.Sprintf("host %s domain %s state=%s", d.host.Name, d.Def.UUID, d.State)
	s += flags("transient", !d.Persistent, "autostart", d.Autostart, "migrating", d.Migrating, "post_copy", d.PostCopy, "saved", d.Saved != nil, "deaf", d.Deaf, "going_down", !d.OffAt.IsZero(), "rebooting", !d.RebootAt.IsZero())
	s += " " + describe(&d.Def) + d.snapshotWords()
	if d.active() && describe(d.Live) != describe(&d.Def) {
		s += " live: " + describe(d.Live)
	}
	if len(d.Mirrors) > 0 {
		s += " copying=" + strings.Join(sortedKeys(d.Mirrors), ",")
	}
	if len(d.Checks) > 0 {
		s += " checkpoints=" + strings.Join(d.Checks, ",")
	}
	if d.Balloon != 0 {
		s += fmt.Sprintf(" balloon=%d", d.Balloon)
	}
	if o.times {
		s += fmt.Sprintf(" since=%s booted=%s", d.Since.Format(time.RFC3339Nano), d.Booted.Format(time.RFC3339Nano))
	}
	return s
}

func describe(d *baadal.Domain) string {
	words := []string{fmt.Sprintf("name=%s vm=%d virt=%s vcpus=%d/%d ram=%d", d.Name, d.VMID, d.Virt, d.VCPUs, d.MaxVCPUs, d.RAMMiB)}
	for _, k := range d.Disks {
		words = append(words, fmt.Sprintf("%s=%s:%s", k.Target, k.Format, k.Path)+k.Serial)
		if k.BytesPerSecond > 0 || k.IOPS > 0 {
			words = append(words, fmt.Sprintf("limits=%d/%d", k.BytesPerSecond, k.IOPS))
		}
	}
	if d.Seed != "" {
		words = append(words, "seed="+d.Seed)
	}
	if d.MaxRAMMiB > d.RAMMiB {
		words = append(words, fmt.Sprintf("room=%d/%d", d.PluggedMiB, d.MaxRAMMiB))
	}
	if d.CDROM != "" {
		words = append(words, "cd="+d.CDROM)
	}
	if boot := baadal.JoinBoot(d.Boot); boot != "" && boot != baadal.JoinBoot(baadal.DefaultBoot()) {
		words = append(words, "boot="+boot)
	}
	for _, n := range d.NICs {
		words = append(words, fmt.Sprintf("nic=%s@%s/%s/%d", strings.ToUpper(n.MAC), n.Network, n.Portgroup, n.VLAN))
	}
	return strings.Join(words, " ")
}

func (ds *datastore) lines() []string {
	head := "datastore " + ds.Path
	lines := []string{fmt.Sprintf("%s capacity=%d used=%d%s", head, ds.Capacity, ds.Filler+ds.used, flags("read_only", ds.ReadOnly))}
	for name, f := range ds.Templates {
		lines = append(lines, fmt.Sprintf("%s %s/%s %s", head, baadal.DirTemplates, name, f.line()))
	}
	for name, f := range ds.Transfers {
		lines = append(lines, fmt.Sprintf("%s %s/%s %s", head, baadal.DirMigration, name, f.line()))
	}
	for key, folder := range ds.Folders {
		words := []string{head, key, "mark=" + folder.Mark}
		for _, name := range sortedKeys(folder.Files) {
			words = append(words, name+":", folder.Files[name].line())
		}
		lines = append(lines, strings.Join(words, " "))
	}
	return lines
}

func (f *file) line() string {
	s := fmt.Sprintf("bytes=%d", f.Bytes)
	if f.Format != "" {
		s += fmt.Sprintf(" %s virtual=%d", f.Format, f.Virtual)
	}
	if f.Backing != "" {
		s += " backing=" + f.Backing
	}
	if len(f.Bitmaps) > 0 {
		s += " bitmaps=" + strings.Join(f.Bitmaps, ",")
	}
	if len(f.Saved) > 0 {
		s += " holds=" + strings.Join(sortedKeys(f.Saved), ",")
	}
	return s
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Check returns, sorted, what must never be: a VM running twice, a disk with two
// writers, a MAC on two running domains, an overlay without its base, a domain of
// ours without its disk. An empty result means the world is whole.
func (w *World) Check() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settleAll()
	var bad []string
	owner := map[string]string{} // of what only one may have
	claim := func(what string, d *domain) {
		me := d.Def.Name + " on " + d.host.Name
		if other, taken := owner[what]; taken {
			bad = append(bad, fmt.Sprintf("%s belongs to both %s and %s", what, min(other, me), max(other, me)))
		}
		owner[what] = me
	}
	for _, name := range sortedKeys(w.state.Hosts) {
		h := w.state.Hosts[name]
		for _, uuid := range sortedKeys(h.Domains) {
			d := h.Domains[uuid]
			bad = append(bad, w.missingDisks(d)...)
			if !d.active() {
				continue
			}
			claim("running VM "+uuid, d)
			for _, inode := range d.Open {
				claim(fmt.Sprintf("open disk %d", inode), d)
			}
			for _, nic := range d.Live.NICs {
				claim("MAC "+strings.ToUpper(nic.MAC), d)
			}
		}
	}
	bad = append(bad, w.baseless()...)
	bad = append(bad, w.writtenBases()...)
	slices.Sort(bad)
	return bad
}

// missingDisks tells the files of a domain that are not there.
func (w *World) missingDisks(d *domain) (bad []string) {
	for _, disk := range d.Def.Disks {
		if _, f := w.lookup(disk.Path); f == nil {
			bad = append(bad, fmt.Sprintf("domain %s on %s has no disk %s", d.Def.Name, d.host.Name, disk.Path))
		}
	}
	if d.Def.CDROM != "" {
		if _, f := w.lookup(d.Def.CDROM); f == nil {
			bad = append(bad, fmt.Sprintf("domain %s on %s has no CD image %s", d.Def.Name, d.host.Name, d.Def.CDROM))
		}
	}
	return bad
}

// baseless tells the overlays whose base is gone.
func (w *World) baseless() (bad []string) {
	for _, ds := range w.state.Datastores {
		for key, folder := range ds.Folders {
			for name, f := range folder.Files {
				if _, base := w.lookup(f.Backing); f.Backing != "" && base == nil {
					bad = append(bad, fmt.Sprintf("%s stands on %s, which is gone", path.Join(ds.Path, key, name), f.Backing))
				}
			}
		}
	}
	return bad
}
