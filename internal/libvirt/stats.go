package libvirt

import (
	"context"
	"fmt"
	"strings"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"baadal"
)

// Stats counts for all active domains of a host, foreign ones included, with one
// call. A domain that is busy with a job tells less, but holds nobody up.
func (h *Hypervisor) Stats(ctx context.Context, host baadal.Host) ([]baadal.DomainStats, error) {
	const kinds = golibvirt.DomainStatsState | golibvirt.DomainStatsCPUTotal | golibvirt.DomainStatsBalloon |
		golibvirt.DomainStatsVCPU | golibvirt.DomainStatsInterface | golibvirt.DomainStatsBlock
	return do(ctx, h, host, "count for domains", func(rpc *golibvirt.Libvirt) ([]baadal.DomainStats, error) {
		records, err := rpc.ConnectGetAllDomainStats(nil, uint32(kinds), uint32(golibvirt.ConnectGetAllDomainsStatsActive|golibvirt.ConnectGetAllDomainsStatsNowait))
		if isCode(err, golibvirt.ErrInvalidArg) || isCode(err, golibvirt.ErrNoSupport) { // a driver that cannot but wait
			records, err = rpc.ConnectGetAllDomainStats(nil, 0, uint32(golibvirt.ConnectGetAllDomainsStatsActive))
		}
		if err != nil {
			return nil, err
		}
		now := h.opts.Now()
		all := make([]baadal.DomainStats, 0, len(records))
		for _, r := range records {
			all = append(all, statsOf(r, now))
		}
		return all, nil
	})
}

// statsOf reads one domain's record. What is not told stays zero.
func statsOf(r golibvirt.DomainStatsRecord, now time.Time) baadal.DomainStats {
	params := make(map[string]uint64, len(r.Params))
	names := map[string]string{}
	for _, p := range r.Params {
		switch v := p.Value.I.(type) {
		case uint64:
			params[p.Field] = v
		case uint32:
			params[p.Field] = uint64(v)
		case int64:
			params[p.Field] = uint64(max(0, v)) //nolint:gosec // not negative
		case int32:
			params[p.Field] = uint64(max(0, v)) //nolint:gosec // not negative
		case string:
			names[p.Field] = v
		}
	}
	s := baadal.DomainStats{
		UUID: formatUUID(r.Dom.UUID), Run: int(r.Dom.ID), At: now,
		CPU:    time.Duration(params[golibvirt.DomainStatsCPUTime]), //nolint:gosec // 292 years fit
		VCPUs:  int(params["vcpu.current"]),                         //nolint:gosec // a few
		RAMMiB: int(params[golibvirt.DomainStatsBalloonCurrent] >> 10),
		Disks:  counters(params, names, "block", "rd.bytes", "wr.bytes"),
		NICs:   counters(params, names, "net", "rx.bytes", "tx.bytes"),
	}
	available, unused := params[golibvirt.DomainStatsBalloonAvailable], params[golibvirt.DomainStatsBalloonUnused]
	if available > unused && unused > 0 {
		s.Used = int64(available-unused) << 10 //nolint:gosec // KiB of memory fit
	} else {
		s.Used, s.UsedByHost = int64(params[golibvirt.DomainStatsBalloonRss])<<10, true //nolint:gosec // KiB of memory fit
	}
	return s
}

// counters reads numbered devices by their names. IDE devices are left out: they
// are our CD drives.
func counters(params map[string]uint64, names map[string]string, kind, in, out string) map[string]baadal.Counters {
	all := map[string]baadal.Counters{}
	for i := range params[kind+".count"] {
		prefix := fmt.Sprintf("%s.%d.", kind, i)
		name := names[prefix+"name"]
		if name == "" || strings.HasPrefix(name, "hd") {
			continue
		}
		all[name] = baadal.Counters{In: params[prefix+in], Out: params[prefix+out]}
	}
	return all
}
