package simulator

import (
	"context"
	"slices"
	"strings"
	"time"

	"baadal"
)

// What a simulated guest does all the time: a twentieth of each vCPU, a third of
// its memory, some bytes a second.
const (
	busyShare    = 20
	usedShare    = 3
	bytesRead    = 40 << 10
	bytesWritten = 15 << 10
	bytesIn      = 12 << 10
	bytesOut     = 8 << 10
)

// Stats counts for all active domains of a host. A paused guest does nothing,
// but the simulator does not count how long it was paused.
func (v *Hypervisor) Stats(ctx context.Context, bh baadal.Host) (all []baadal.DomainStats, err error) {
	err = v.w.call(ctx, "hypervisor.stats", bh, func(h *host) error {
		for _, d := range h.Domains {
			if d.active() {
				all = append(all, d.stats(v.w.now()))
			}
		}
		return nil
	})
	slices.SortFunc(all, func(a, b baadal.DomainStats) int { return strings.Compare(a.UUID, b.UUID) })
	return all, err
}

func (d *domain) stats(now time.Time) baadal.DomainStats {
	until := now
	if d.State == baadal.VMPaused {
		until = d.Since
	}
	up := max(0, until.Sub(d.Booted))
	count := func(perSecond float64) uint64 { return uint64(up.Seconds() * perSecond) }
	s := baadal.DomainStats{
		UUID: d.Live.UUID, Run: int(d.Booted.UnixNano()), At: now, VCPUs: d.Live.VCPUs, CPU: up * time.Duration(d.Live.VCPUs) / busyShare,
		RAMMiB: d.size().RAMMiB, Disks: map[string]baadal.Counters{}, NICs: map[string]baadal.Counters{},
	}
	s.Used = int64(s.RAMMiB) << 20 / usedShare
	for _, disk := range d.Live.Disks {
		s.Disks[disk.Target] = baadal.Counters{In: count(bytesRead), Out: count(bytesWritten)}
	}
	for _, nic := range d.Live.NICs {
		s.NICs[nic.MAC] = baadal.Counters{In: count(bytesIn), Out: count(bytesOut)}
	}
	return s
}
