package workflow

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"baadal"
)

// comparison holds the store before and after the look and what was seen.
type comparison struct {
	before, b book
	seen      sight
	now       time.Time
	settle    time.Duration // how long hosts may take to follow
	report    *baadal.Audit
}

func (c *comparison) run() {
	c.report.Hosts, c.report.VMs = len(c.seen.domains), 0
	c.compareDomains()
	c.compareVMs()
	c.compareSnapshots()
	c.compareAffinity()
	for _, ds := range c.b.stores {
		if entries, ok := c.seen.entries[ds.ID]; ok {
			c.compareDatastore(ds, entries)
		}
	}
	c.compareAddresses()
	c.compareDHCP()
	c.compareNames()
	c.compareFlows()
	c.compareHostNetworks()
	c.compareStrangers()
	c.compareNAT()
	c.compareTasks()
	c.compareGrants()
}

func (c *comparison) add(d baadal.Difference) {
	c.report.Differences = append(c.report.Differences, d)
}

// inMotion reports whether a VM changed, or was held, during the look.
func (c *comparison) inMotion(vm baadal.VM) bool {
	old, known := c.before.vms[vm.ID]
	now, still := c.b.vms[vm.ID]
	return !known || !still || old.Task != nil || now.Task != nil || old.State != now.State || old.HostID != now.HostID ||
		now.State == baadal.VMInQueue
}

func vmSubject(vm baadal.VM) baadal.Subject {
	return baadal.Subject{Kind: "vm", ID: vm.ID, Name: vm.Name}
}

// compareDomains looks from the hosts: whose domain is this?
func (c *comparison) compareDomains() {
	type where struct {
		host baadal.Host
		info baadal.DomainInfo
	}
	byUUID := map[string][]where{}
	for _, h := range c.b.hosts {
		for _, d := range c.seen.domains[h.ID] {
			vm, known := c.b.byUUID[d.UUID]
			if !known {
				if old, was := c.before.byUUID[d.UUID]; was && (old.Task != nil || old.State != baadal.VMDeleted) {
					continue // it went while we looked
				}
				if d.VMID == 0 {
					continue // somebody else's
				}
			}
			if known && c.inMotion(vm) {
				continue
			}
			if !known || vm.State == baadal.VMDeleted {
				diff := baadal.Difference{
					Kind: baadal.DiffOrphanDomain, Subject: baadal.Subject{Kind: "domain", ID: d.VMID, Name: d.UUID}, Host: h.Name,
					Stored: "no VM owns it", Seen: fmt.Sprintf("domain %s is %s", d.Name, d.State),
				}
				if known || d.State == baadal.VMOff {
					diff.Repair = "undefine it; disks are not touched"
				}
				c.add(diff)
				continue
			}
			byUUID[d.UUID] = append(byUUID[d.UUID], where{h, d})
		}
	}
	for uuid, places := range byUUID {
		vm := c.b.byUUID[uuid]
		if len(places) < 2 && places[0].host.ID == vm.HostID {
			continue
		}
		running := 0
		var seen []string
		for _, p := range places {
			if p.info.State == baadal.VMRunning || p.info.State == baadal.VMPaused {
				running++
			}
			seen = append(seen, p.host.Name+": "+p.info.State.String())
		}
		slices.Sort(seen)
		d := baadal.Difference{Kind: baadal.DiffTwoDomains, Subject: vmSubject(vm), Host: vm.Host, Stored: "on " + vm.Host, Seen: strings.Join(seen, ", ")}
		if running > 1 {
			d.Kind = baadal.DiffTwoWriters
		}
		if _, looked := c.seen.domains[vm.HostID]; looked && len(places) == 1 {
			d.Kind, d.Repair = baadal.DiffMovedDomain, "write down that it is on "+places[0].host.Name
		}
		c.add(d)
	}
}

// compareVMs looks from the store: is the VM what it should be?
func (c *comparison) compareVMs() {
	elsewhere := map[string]bool{} // UUIDs that some host knows
	for _, h := range c.b.hosts {
		for _, d := range c.seen.domains[h.ID] {
			elsewhere[d.UUID] = true
		}
	}
	for _, vm := range c.b.vms {
		domains, seen := c.seen.domains[vm.HostID]
		if vm.State == baadal.VMDeleted || c.inMotion(vm) || !seen {
			continue
		}
		c.report.VMs++
		i := slices.IndexFunc(domains, func(d baadal.DomainInfo) bool { return d.UUID == vm.UUID })
		if i < 0 {
			if !elsewhere[vm.UUID] { // otherwise it was said already; and a second domain on one disk is how two writers begin
				c.add(baadal.Difference{
					Kind: baadal.DiffMissingDomain, Subject: vmSubject(vm), Host: vm.Host, Stored: "it is " + vm.State.String(),
					Seen: "the host does not know it", Repair: "define it from the store, shut off",
				})
			}
			continue
		}
		d := domains[i]
		c.compareDrive(vm, d)
		if d.State != vm.State {
			c.add(baadal.Difference{
				Kind: baadal.DiffWrongState, Subject: vmSubject(vm), Host: vm.Host, Stored: vm.State.String(), Seen: d.State.String(),
				Repair: "write down what is seen",
			})
		}
		if d.State == baadal.VMRunning {
			c.compareNICs(vm)
		}
	}
}

func (c *comparison) compareDatastore(ds baadal.Datastore, entries []baadal.DatastoreEntry) {
	found, owned := map[string]bool{}, c.b.ownedDisks(ds)
	maps.Copy(owned, c.before.ownedDisks(ds))
	for _, e := range entries {
		found[e.Area+"/"+e.Name] = true
		if _, ours := owned[e.Area+"/"+e.Name]; ours {
			continue
		}
		switch e.Area {
		case baadal.DirExtraDisks:
			c.compareExtra(ds, e, owned)
		case baadal.DirImages, baadal.DirDeleted:
			c.compareFolder(ds, e)
		case baadal.DirTemplates:
			c.compareTemplateFile(ds, e)
		case baadal.DirBases:
			c.compareBaseFolder(ds, e)
		case baadal.DirMigration:
			c.compareTransfer(ds, e)
		case baadal.DirBackups:
			c.compareBackupEntry(ds, e)
		}
	}
	c.compareDisks(ds, found)
	c.compareBases(ds, found)
	c.compareBackups(ds, found)
	for _, vm := range c.b.vms {
		if vm.DatastoreID != ds.ID || c.inMotion(vm) || vm.State == baadal.VMUnknown {
			continue
		}
		want := baadal.DirImages + "/" + vm.Identity
		if vm.State == baadal.VMDeleted {
			want = baadal.DirDeleted + "/" + vm.Identity + "." + vm.UUID
		}
		if !found[want] {
			c.add(baadal.Difference{Kind: baadal.DiffMissingDisk, Subject: vmSubject(vm), Host: vm.Host, Stored: want + " on " + ds.Name, Seen: "it is not there"})
		}
	}
	for _, t := range c.b.templates {
		if t.DatastoreID == ds.ID && t.State == baadal.TemplateReady && t.Task == nil && !found[baadal.DirTemplates+"/"+t.File] {
			c.add(baadal.Difference{
				Kind: baadal.DiffMissingTemplate, Subject: baadal.Subject{Kind: "template", ID: t.ID, Name: t.Name},
				Stored: t.File + " on " + ds.Name, Seen: "it is not there",
			})
		}
	}
}

// compareFolder asks which VM a folder belongs to.
func (c *comparison) compareFolder(ds baadal.Datastore, e baadal.DatastoreEntry) {
	vm, known := c.b.byUUID[e.UUID]
	if !known {
		if _, was := c.before.byUUID[e.UUID]; was {
			return // it went while we looked
		}
	}
	if known && c.inMotion(vm) {
		return
	}
	kind, want := baadal.DiffOrphanDisk, vm.Identity
	if e.Area == baadal.DirDeleted {
		kind, want = baadal.DiffOrphanDeleted, vm.Identity+"."+vm.UUID
	}
	deleted := vm.State == baadal.VMDeleted
	if known && vm.DatastoreID == ds.ID && want == e.Name && deleted == (e.Area == baadal.DirDeleted) {
		return
	}
	seen := fmt.Sprintf("%s/%s on %s, %d MiB", e.Area, e.Name, ds.Name, e.Bytes>>20)
	if e.UUID == "" {
		seen += ", without a mark"
	}
	c.add(baadal.Difference{Kind: kind, Subject: baadal.Subject{Kind: "datastore", ID: ds.ID, Name: ds.Name}, Stored: "no VM owns it", Seen: seen})
}

func (c *comparison) compareTemplateFile(ds baadal.Datastore, e baadal.DatastoreEntry) {
	if strings.HasPrefix(e.Name, ".") && c.importing() {
		return // an import at work
	}
	for _, b := range []book{c.before, c.b} {
		for _, t := range b.templates {
			if t.DatastoreID == ds.ID && t.File == e.Name && t.State != baadal.TemplateDeleted {
				return
			}
			if t.DatastoreID == ds.ID && t.File == e.Name && t.Task != nil {
				return
			}
		}
	}
	c.add(baadal.Difference{
		Kind: baadal.DiffOrphanTemplate, Subject: baadal.Subject{Kind: "datastore", ID: ds.ID, Name: ds.Name}, Stored: "no template owns it",
		Seen: fmt.Sprintf("%s/%s on %s, %d MiB", e.Area, e.Name, ds.Name, e.Bytes>>20),
	})
}

// importing reports whether a template was being imported during the look.
func (c *comparison) importing() bool {
	return slices.ContainsFunc(append(slices.Clone(c.before.tasks), c.b.tasks...), func(t baadal.Task) bool {
		return t.Subject.Kind == "template" || t.Kind == baadal.TaskVMSaveTemplate
	})
}

func (c *comparison) compareAddresses() {
	for _, a := range c.b.claimed {
		vm, known := c.b.vms[a.VMID]
		if known && (vm.State != baadal.VMDeleted || c.inMotion(vm)) {
			continue
		}
		c.add(baadal.Difference{
			Kind: baadal.DiffLeakedAddress, Subject: baadal.Subject{Kind: "vm", ID: a.VMID, Name: vm.Name}, Stored: a.IP + " is claimed",
			Seen: "its VM is deleted", Repair: "give it back",
		})
	}
}

func (c *comparison) compareDHCP() {
	x := c.seen.dhcp
	if !x.seen {
		return
	}
	for _, t := range append(slices.Clone(c.before.tasks), c.b.tasks...) {
		if t.Subject.Kind == "network" {
			return // reservations are being changed
		}
	}
	seen := x.words
	if seen == "" && x.missing+x.extra > 0 {
		seen = fmt.Sprintf("%d, of which %d are not ours to have; %d are missing", x.have, x.extra, x.missing)
	}
	if seen != "" {
		c.add(baadal.Difference{
			Kind: baadal.DiffDHCP, Subject: baadal.Subject{Kind: "cloud", Name: "DHCP server"}, Stored: fmt.Sprintf("%d reservations", x.want),
			Seen: seen, Repair: "apply the store's reservations",
		})
	}
}

func (c *comparison) compareNames() {
	missing, extra := c.seen.names[0], c.seen.names[1]
	if len(missing)+len(extra) > 0 {
		c.add(baadal.Difference{
			Kind: baadal.DiffNames, Subject: baadal.Subject{Kind: "cloud", Name: "name server"}, Stored: fmt.Sprintf("missing: %d (%s)", len(missing), some(missing)),
			Seen: fmt.Sprintf("not ours to have: %d (%s)", len(extra), some(extra)), Repair: "apply the store's names",
		})
	}
}

// stuckAfter is how long a due task may wait for a worker.
const stuckAfter = 5 * time.Minute

func (c *comparison) compareTasks() {
	for _, t := range c.b.tasks {
		s := baadal.Subject{Kind: "task", ID: t.ID, Name: string(t.Kind)}
		switch {
		case t.UndoPending:
			c.add(baadal.Difference{Kind: baadal.DiffUndoPending, Subject: s, Stored: fmt.Sprintf("failed, %s %s", t.Subject.Kind, t.Subject.Name), Seen: t.Message})
		case t.State == baadal.TaskPending && c.now.Sub(t.RunAfter) > stuckAfter:
			c.add(baadal.Difference{Kind: baadal.DiffStuckTask, Subject: s, Stored: "due since " + t.RunAfter.Format(time.RFC3339), Seen: "nobody works on it"})
		}
	}
}
