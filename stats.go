package baadal

import "time"

// DomainStats is what a host has counted for an active domain.
type DomainStats struct {
	UUID   string
	Run    int       // another number after each start: the counters begin anew
	At     time.Time // when it was counted
	VCPUs  int
	CPU    time.Duration // used by all vCPUs together
	RAMMiB int           // what the guest has

	Used       int64 // bytes of memory really used; 0 if nobody tells
	UsedByHost bool  // Used is what its process occupies, as the guest does not tell

	Disks map[string]Counters // by target; read and written. No CD drives
	NICs  map[string]Counters // by device; received and sent
}

// Counters count bytes since the start of what they belong to.
type Counters struct{ In, Out uint64 }

// VMStats are a VM's figures now. Rates are means between two looks; the first
// look after a start, a migration or a reset of the counters has none.
type VMStats struct {
	At       time.Time `json:"at"`
	Interval float64   `json:"interval_s" doc:"Seconds between the two looks; 0 after the first one, which gives no rates."`

	VCPUs      int      `json:"vcpus"`
	CPUPercent *float64 `json:"cpu_percent,omitempty" doc:"Of all its vCPUs: 100 is all of them busy."`
	RAMMiB     int      `json:"ram_mib" doc:"What the guest has."`
	UsedMiB    *int     `json:"used_mib,omitempty" doc:"Memory really used."`
	UsedSource string   `json:"used_source,omitempty" enum:"guest,host" doc:"Who says so: the guest, or the host of the VM's process."`

	ReadRate     *float64 `json:"read_bytes_per_s,omitempty"`
	WriteRate    *float64 `json:"write_bytes_per_s,omitempty"`
	ReceiveRate  *float64 `json:"receive_bytes_per_s,omitempty"`
	TransmitRate *float64 `json:"transmit_bytes_per_s,omitempty"`
}

// StatsBetween computes figures from two looks at the same domain on the same
// host; before is nil for the first one. Counters that went back began anew, and
// so did a domain that was started: there is no rate then, and never a negative one.
func StatsBetween(before *DomainStats, now DomainStats) VMStats {
	s := VMStats{At: now.At, VCPUs: now.VCPUs, RAMMiB: now.RAMMiB}
	if now.Used > 0 {
		mib := int(now.Used >> 20)
		s.UsedMiB, s.UsedSource = &mib, "guest"
		if now.UsedByHost {
			s.UsedSource = "host"
		}
	}
	if before == nil || before.Run != now.Run || now.CPU < before.CPU {
		return s
	}
	seconds := now.At.Sub(before.At).Seconds()
	if seconds <= 0 {
		return s
	}
	s.Interval = seconds
	if now.VCPUs > 0 {
		percent := min(100, 100*(now.CPU-before.CPU).Seconds()/seconds/float64(now.VCPUs))
		s.CPUPercent = &percent
	}
	s.ReadRate, s.WriteRate = rates(before.Disks, now.Disks, seconds)
	s.ReceiveRate, s.TransmitRate = rates(before.NICs, now.NICs, seconds)
	return s
}

// rates sums up what was counted by devices that were there both times. One that
// began anew counts from its beginning.
func rates(before, now map[string]Counters, seconds float64) (in, out *float64) {
	var sum Counters
	for name, n := range now {
		b, was := before[name]
		if !was {
			continue
		}
		if n.In < b.In || n.Out < b.Out {
			b = Counters{}
		}
		sum.In += n.In - b.In
		sum.Out += n.Out - b.Out
	}
	i, o := float64(sum.In)/seconds, float64(sum.Out)/seconds
	return &i, &o
}
