// Package placement decides which host and which datastore a VM goes to, and
// says why in words. It is pure: the same input gives the same answer, and it
// does no I/O. What it chooses is claimed by the caller in the transaction in
// which the input was read.
package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"baadal"
)

// Want is what a VM needs.
type Want struct {
	VCPUs     int
	RAMMiB    int
	DiskBytes int64
	Host      int64  // only this host; 0 for any
	From      int64  // the host it is on and is to leave; 0 for none
	Virt      string // the host's type of virtualisation, as the guest has seen it; empty for any
	Datastore int64  // only this datastore; 0 for any

	VM    int64            // which it is, of the groups in Rules; 0 for one that is new
	Rules baadal.VMRules   // for its place
	Unfit map[int64]string // what else keeps it off hosts, in words, by host
}

// Limits are the settings that bound a placement.
type Limits struct {
	CPURatio    float64 // vCPUs per logical CPU
	RAMRatio    float64 // claimed memory per memory
	DiskRatio   float64 // claimed virtual size per capacity
	DiskReserve int64   // bytes that must be free
}

// LimitsOf reads the limits from the settings.
func LimitsOf(v baadal.SettingValues) Limits {
	return Limits{
		CPURatio: v.Float(baadal.SettingCPURatio), RAMRatio: v.Float(baadal.SettingRAMRatio),
		DiskRatio: v.Float(baadal.SettingDiskRatio), DiskReserve: int64(v.Int(baadal.SettingDiskReserve)) << 20,
	}
}

// Choice is a decision with its reasons.
type Choice struct {
	Host      baadal.Host
	Datastore baadal.Datastore
	Why       string
	Hosts     []baadal.HostVerdict // every host that was considered, best first
}

// Choose picks the datastore with most free space that fits, and among the
// hosts that are up, have that datastore, and fit, the one that keeps the
// largest free share of its scarcer resource; fewer VMs, then the lower id
// break ties. Nothing fitting is Exhausted, with every host's reason.
func Choose(hosts []baadal.Host, stores []baadal.Datastore, want Want, lim Limits) (Choice, error) {
	ds, whyStore, err := chooseDatastore(stores, want, lim)
	if err != nil {
		return Choice{}, err
	}
	c, err := ChooseHost(hosts, []baadal.Datastore{ds}, want, lim)
	c.Datastore = ds
	if err == nil {
		c.Why += ". " + whyStore
	}
	return c, err
}

// ChooseHost picks a host for a VM whose disks lie on all of the given
// datastores already.
func ChooseHost(hosts []baadal.Host, stores []baadal.Datastore, want Want, lim Limits) (Choice, error) {
	var c Choice
	type candidate struct {
		host    baadal.Host
		verdict baadal.HostVerdict
	}
	var all []candidate
	for _, h := range hosts {
		if want.Host == 0 || want.Host == h.ID {
			all = append(all, candidate{h, judge(h, stores, want, lim)})
		}
	}
	slices.SortStableFunc(all, func(a, b candidate) int {
		if a.verdict.Fits != b.verdict.Fits {
			if a.verdict.Fits {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(b.verdict.Score, a.verdict.Score), cmp.Compare(a.host.VMs, b.host.VMs), cmp.Compare(a.host.ID, b.host.ID))
	})
	fitting := 0
	for _, x := range all {
		c.Hosts = append(c.Hosts, x.verdict)
		if x.verdict.Fits {
			fitting++
		}
	}
	if fitting == 0 {
		return c, noHost(c.Hosts, want)
	}
	c.Host = all[0].host
	c.Why = fmt.Sprintf("%s: %s; %s", c.Host.Name, c.Hosts[0].Reason, standing(fitting, len(all), want))
	return c, nil
}

func standing(fitting, all int, want Want) string {
	switch {
	case want.Host != 0:
		return "it was asked for"
	case fitting == 1 && all > 1:
		return fmt.Sprintf("the only one of %d hosts with room", all)
	case fitting == 1:
		return "the only host"
	}
	return fmt.Sprintf("the most room of %d hosts that fit", fitting)
}

// judge says whether a VM fits on a host, with numbers.
func judge(h baadal.Host, stores []baadal.Datastore, want Want, lim Limits) baadal.HostVerdict {
	v := baadal.HostVerdict{Host: h.Name}
	cpuLimit, ramLimit := int(float64(h.CPUs)*lim.CPURatio), int(float64(h.RAMMiB)*lim.RAMRatio)
	cpuLeft, ramLeft := cpuLimit-h.ClaimedVCPUs-want.VCPUs, ramLimit-h.ClaimedRAMMiB-want.RAMMiB
	switch {
	case h.State != baadal.HostUp:
		v.Reason = "it is " + h.State.String()
		if h.Reason != "" {
			v.Reason += " (" + h.Reason + ")"
		}
	case h.ID == want.From && want.From != 0:
		v.Reason = "it is there now"
	case notMounted(h, stores) != "":
		v.Reason = fmt.Sprintf("datastore %s is not mounted there", notMounted(h, stores))
	case want.From != 0 && unready(h) != "":
		v.Reason = unready(h)
	case want.Virt != "" && h.Virt != want.Virt:
		v.Reason = fmt.Sprintf("it runs guests by %s, this one runs by %s", h.Virt, want.Virt)
	case want.Unfit[h.ID] != "":
		v.Reason = want.Unfit[h.ID]
	case forbids(want.Rules, want.VM, h.ID, placed) != "":
		v.Reason = forbids(want.Rules, want.VM, h.ID, placed)
	case want.VCPUs > h.CPUs:
		v.Reason = fmt.Sprintf("it has %d CPUs, fewer than the %d of the VM", h.CPUs, want.VCPUs)
	case ramLeft < 0:
		v.Reason = fmt.Sprintf("memory: %d of %d MiB are claimed, %d more are needed", h.ClaimedRAMMiB, ramLimit, want.RAMMiB)
	case cpuLeft < 0:
		v.Reason = fmt.Sprintf("vCPUs: %d of %d are claimed, %d more are needed", h.ClaimedVCPUs, cpuLimit, want.VCPUs)
	default:
		v.Fits = true
		v.Score = min(float64(cpuLeft)/float64(cpuLimit), float64(ramLeft)/float64(ramLimit))
		v.Reason = fmt.Sprintf("%d MiB of memory and %d vCPUs stay free", ramLeft, cpuLeft)
	}
	return v
}

// Grow says whether a VM on a host may have a size, which is so much more than
// what it claims there already; Exhausted, with numbers, if there is no room.
func Grow(h baadal.Host, size, more baadal.Size, lim Limits) error {
	cpuLimit, ramLimit := int(float64(h.CPUs)*lim.CPURatio), int(float64(h.RAMMiB)*lim.RAMRatio)
	reason := ""
	switch {
	case more.VCPUs > 0 && size.VCPUs > h.CPUs:
		reason = fmt.Sprintf("it has %d CPUs, fewer than the %d of the VM", h.CPUs, size.VCPUs)
	case more.VCPUs > 0 && h.ClaimedVCPUs+more.VCPUs > cpuLimit:
		reason = fmt.Sprintf("vCPUs: %d of %d are claimed, %d more are needed", h.ClaimedVCPUs, cpuLimit, more.VCPUs)
	case more.RAMMiB > 0 && h.ClaimedRAMMiB+more.RAMMiB > ramLimit:
		reason = fmt.Sprintf("memory: %d of %d MiB are claimed, %d more are needed", h.ClaimedRAMMiB, ramLimit, more.RAMMiB)
	default:
		return nil
	}
	return baadal.Errorf(baadal.Exhausted, "%s has no room for it", h.Name).WithCode("no_host").WithDetail("%s", reason).
		WithNext("See what the hosts have left", "baadal host list")
}

// notMounted names a datastore that the host was seen not to mount.
func notMounted(h baadal.Host, stores []baadal.Datastore) string {
	for _, ds := range stores {
		if ds.MeasuredAt != nil && len(ds.Hosts) > 0 && !slices.Contains(ds.Hosts, h.Name) {
			return ds.Name
		}
	}
	return ""
}

// unready says what of a host was seen to be broken that a VM on its way needs.
func unready(h baadal.Host) string {
	for _, c := range h.Failed() {
		if c.Name == "network" || c.Name == "openvswitch" || c.Name == "libvirtd" {
			return c.Name + ": " + c.Detail
		}
	}
	return ""
}

func noHost(verdicts []baadal.HostVerdict, want Want) error {
	if len(verdicts) == 0 {
		return baadal.Errorf(baadal.Exhausted, "there is no host yet").WithCode("no_host").
			WithNext("Add one", "baadal host add ADDRESS")
	}
	var reasons []string
	for _, v := range verdicts {
		reasons = append(reasons, v.Host+": "+v.Reason)
		if len(reasons) == 5 && len(verdicts) > 6 {
			reasons = append(reasons, fmt.Sprintf("and %d more hosts", len(verdicts)-5))
			break
		}
	}
	return baadal.Errorf(baadal.Exhausted, "No active host is available for a new vm.").WithCode("no_host").
		WithDetail("wanted %d vCPUs and %d MiB; %s", want.VCPUs, want.RAMMiB, strings.Join(reasons, "; ")).
		WithNext("Ask for a smaller VM, or add a host", "baadal host list")
}

// chooseDatastore picks the datastore with most free space that fits.
func chooseDatastore(stores []baadal.Datastore, want Want, lim Limits) (baadal.Datastore, string, error) {
	var best *baadal.Datastore
	var reasons []string
	for i := range stores {
		d := &stores[i]
		if want.Datastore != 0 && want.Datastore != d.ID {
			continue
		}
		if reason := storeReason(d, want, lim); reason != "" {
			reasons = append(reasons, d.Name+": "+reason)
		} else if best == nil || d.Free > best.Free {
			best = d
		}
	}
	if best != nil {
		return *best, fmt.Sprintf("Datastore %s: %s free", best.Name, gib(best.Free)), nil
	}
	if len(reasons) == 0 {
		return baadal.Datastore{}, "", baadal.Errorf(baadal.Exhausted, "No datastore found.").WithCode("no_datastore").
			WithNext("Add one", "baadal datastore add NAME PATH")
	}
	return baadal.Datastore{}, "", baadal.Errorf(baadal.Exhausted, "no datastore has room for a disk of %s", gib(want.DiskBytes)).
		WithCode("datastore_full").WithDetail("%s", strings.Join(reasons, "; ")).
		WithNext("Empty one or add another", "baadal datastore list")
}

func storeReason(d *baadal.Datastore, want Want, lim Limits) string {
	switch {
	case d.State != baadal.DatastoreOK:
		if d.Reason != "" {
			return d.Reason
		}
		return "it is " + strings.ReplaceAll(d.State, "_", " ")
	case d.Free < lim.DiskReserve:
		return fmt.Sprintf("%s free, %s must stay free", gib(d.Free), gib(lim.DiskReserve))
	case float64(d.Claimed+want.DiskBytes) > float64(d.Capacity)*lim.DiskRatio:
		return fmt.Sprintf("%s of %s are claimed", gib(d.Claimed), gib(int64(float64(d.Capacity)*lim.DiskRatio)))
	}
	return ""
}

func gib(n int64) string {
	if n < 1<<30 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}
