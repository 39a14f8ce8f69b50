package probe

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"baadal"
)

// sight is what the script saw, by the names of its parts.
type sight struct {
	parts         map[string]part
	before, after time.Time // the controller's clock around the script
}

type part struct {
	code int
	out  string
}

// parseSight reads the script's triples. The last part must be there: a script
// that was cut off has seen nothing.
func parseSight(out []byte) (*sight, error) {
	f := strings.Split(string(out), "\x00")
	s := &sight{parts: map[string]part{}}
	for ; len(f) >= 4; f = f[3:] { // a last, empty field follows the last NUL
		code, err := strconv.Atoi(f[1])
		if err != nil {
			return nil, fmt.Errorf("read what the host sees: %w", err)
		}
		s.parts[f[0]] = part{code, f[2]}
	}
	if _, ok := s.parts["clock_end"]; !ok {
		return nil, fmt.Errorf("the look at the host was cut off")
	}
	return s, nil
}

func (s *sight) ok(name string) bool { return s.parts[name].code == 0 }

// text returns what a part saw; empty if looking failed.
func (s *sight) text(name string) string {
	if !s.ok(name) {
		return ""
	}
	return s.parts[name].out
}

func (s *sight) number(name string) int {
	n, _ := strconv.Atoi(s.text(name))
	return n
}

// facts are those that need no judgement.
func (s *sight) facts() baadal.HostFacts {
	f := baadal.HostFacts{
		Hostname: s.text("hostname"), CPUs: s.number("cpus"), CPUModel: s.text("model"),
		RAMMiB: s.number("memory") >> 10, DiskGiB: int(s.diskBytes() >> 30), Type: s.machine(),
	}
	if m := strings.Fields(s.text("management")); len(m) > 0 {
		f.NIC = m[0]
		if len(m) > 1 {
			f.MAC = strings.ToUpper(m[1])
		}
	}
	return f
}

// fillIn takes from libvirt what the host itself did not tell.
func fillIn(f *baadal.HostFacts, node baadal.HostFacts) {
	if f.Hostname == "" {
		f.Hostname = node.Hostname
	}
	if f.CPUs == 0 {
		f.CPUs = node.CPUs
	}
	if f.CPUModel == "" {
		f.CPUModel = node.CPUModel
	}
	if f.RAMMiB == 0 {
		f.RAMMiB = node.RAMMiB
	}
	f.CPU = node.CPU // as libvirt compares CPUs
}

// machine tells a physical machine from a virtual one. systemd-detect-virt knows
// best; without it the CPU's flag does.
func (s *sight) machine() string {
	detected := strings.TrimSpace(s.parts["detect_virt"].out)
	virtual := s.ok("detect_virt") && detected != "none"
	if s.parts["detect_virt"].code == 127 {
		virtual = s.ok("in_guest")
	}
	if virtual {
		return baadal.HostVirtual
	}
	return baadal.HostPhysical
}

// diskBytes sums up the physical disks that are built in.
func (s *sight) diskBytes() int64 {
	var list struct {
		Devices []struct {
			Name string
			Type string
			Size flexible
			RM   flexible
		} `json:"blockdevices"`
	}
	var sum int64
	if json.Unmarshal([]byte(s.text("lsblk")), &list) == nil && s.ok("lsblk") {
		for _, d := range list.Devices {
			if d.Type == "disk" && d.RM == 0 && !unreal(d.Name) {
				sum += int64(d.Size)
			}
		}
		return sum
	}
	for line := range strings.Lines(s.text("sys_disks")) {
		name, size, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseInt(size, 10, 64); err == nil && !unreal(name) {
			sum += n
		}
	}
	return sum
}

// unreal tells block devices that are no hardware.
func unreal(name string) bool {
	for _, prefix := range []string{"zram", "loop", "nbd", "ram", "dm-", "md", "sr", "fd"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// flexible is a number that older versions of lsblk write as a string, and a
// truth value that they write as "0" or "1".
type flexible int64

// UnmarshalJSON reads any of these.
func (n *flexible) UnmarshalJSON(b []byte) error {
	switch text := strings.Trim(string(b), `"`); text {
	case "true":
		*n = 1
	case "false", "null", "":
		*n = 0
	default:
		v, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return err
		}
		*n = flexible(v)
	}
	return nil
}

// skew is how far the host's clock is off, as far as the time that looking took
// allows to tell: 0 if it may be right. The host noted its time at the start and
// at the end, so the controller's window shrinks by the time between.
func (s *sight) skew() (time.Duration, error) {
	start, err := unixTime(s.text("clock"))
	if err != nil {
		return 0, err
	}
	end, err := unixTime(s.text("clock_end"))
	if err != nil {
		return 0, err
	}
	latest := s.after.Add(-max(0, end.Sub(start)))
	switch {
	case start.Before(s.before):
		return start.Sub(s.before), nil
	case start.After(latest):
		return min(start.Sub(latest), start.Sub(s.before)), nil
	}
	return 0, nil
}

// unixTime reads seconds.nanoseconds.
func unixTime(text string) (time.Time, error) {
	sec, nsec, _ := strings.Cut(text, ".")
	a, err := strconv.ParseInt(sec, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the host's clock: %w", err)
	}
	b, _ := strconv.ParseInt(nsec, 10, 64) // not every date knows %N
	return time.Unix(a, b), nil
}
