package baadal

import (
	"cmp"
	"slices"
	"strings"
)

// VMUsage is a VM with what it uses now, a row of a live table.
type VMUsage struct {
	ID     int64    `json:"id"`
	Name   string   `json:"name"`
	Owner  string   `json:"owner"`
	Host   string   `json:"host"`
	State  VMState  `json:"state" enum:"running,off,paused,creating,missing,unknown,crashed,deleted"`
	VCPUs  int      `json:"vcpus"`
	RAMMiB int      `json:"ram_mib"`
	Stats  *VMStats `json:"stats,omitempty" doc:"None for a VM that does not run, or whose host was not looked at lately."`
}

// UsageSort is an order of usages.
type UsageSort string

// usageSorts say what each order compares; all but the name begin with the most.
var usageSorts = map[UsageSort]func(VMUsage) float64{
	"cpu": func(u VMUsage) float64 { // of one CPU, so that a large VM does not hide behind its size
		if s := u.Stats; s != nil && s.CPUPercent != nil {
			return *s.CPUPercent * float64(s.VCPUs)
		}
		return -1
	},
	"mem": func(u VMUsage) float64 {
		if s := u.Stats; s != nil && s.UsedMiB != nil {
			return float64(*s.UsedMiB)
		}
		return -1
	},
	"read":  rateOf(func(s *VMStats) []*float64 { return []*float64{s.ReadRate} }),
	"write": rateOf(func(s *VMStats) []*float64 { return []*float64{s.WriteRate} }),
	"disk":  rateOf(func(s *VMStats) []*float64 { return []*float64{s.ReadRate, s.WriteRate} }),
	"rx":    rateOf(func(s *VMStats) []*float64 { return []*float64{s.ReceiveRate} }),
	"tx":    rateOf(func(s *VMStats) []*float64 { return []*float64{s.TransmitRate} }),
	"net":   rateOf(func(s *VMStats) []*float64 { return []*float64{s.ReceiveRate, s.TransmitRate} }),
	"name":  func(VMUsage) float64 { return 0 },
}

// rateOf sums up rates; what is not known comes last.
func rateOf(pick func(*VMStats) []*float64) func(VMUsage) float64 {
	return func(u VMUsage) float64 {
		if u.Stats == nil {
			return -1
		}
		sum, known := 0.0, false
		for _, r := range pick(u.Stats) {
			if r != nil {
				sum, known = sum+*r, true
			}
		}
		if !known {
			return -1
		}
		return sum
	}
}

// UsageSorts lists the orders by name.
func UsageSorts() []string {
	all := make([]string, 0, len(usageSorts))
	for s := range usageSorts {
		all = append(all, string(s))
	}
	slices.Sort(all)
	return all
}

// SortUsages puts usages in an order, the most first and those of which nothing
// is known last; equals by name.
func SortUsages(all []VMUsage, by UsageSort) error {
	value, ok := usageSorts[by]
	if !ok {
		return Errorf(Invalid, "%q is no order", by).WithField("sort").WithDetail("these are: %s", strings.Join(UsageSorts(), ", "))
	}
	slices.SortStableFunc(all, func(a, b VMUsage) int {
		return cmp.Or(cmp.Compare(value(b), value(a)), strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)), cmp.Compare(a.ID, b.ID))
	})
	return nil
}
