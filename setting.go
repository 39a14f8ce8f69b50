package baadal

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"time"
)

// Setting is a value that an administrator may change while the cloud runs.
type Setting struct {
	Name       string     `json:"name"`
	Value      string     `json:"value"`
	Default    string     `json:"default"`
	Type       string     `json:"type" enum:"int,float,duration,string,bool"`
	Doc        string     `json:"doc"`
	Generation int64      `json:"generation"`
	UpdatedAt  *time.Time `json:"updated_at,omitempty"`
	UpdatedBy  string     `json:"updated_by,omitempty"`
}

// Names of the settings.
const (
	SettingCPURatio       = "placement.cpu_ratio"
	SettingRAMRatio       = "placement.ram_ratio"
	SettingDiskRatio      = "placement.disk_ratio"
	SettingDiskReserve    = "placement.disk_reserve_mib"
	SettingVNCFirst       = "vnc.first_port"
	SettingVNCLast        = "vnc.last_port"
	SettingVNCGrant       = "vnc.grant"
	SettingVNCLongest     = "vnc.longest"
	SettingVNCPerDay      = "vnc.per_day"
	SettingRetention      = "vm.retention"
	SettingCreateDeadline = "vm.create_deadline"
	SettingAnswerWait     = "vm.answer_wait"
	SettingShutdownWait   = "vm.shutdown_wait"
	SettingHostSlots      = "task.host_slots"
	SettingHostPatience   = "task.host_patience"
	SettingSnapshotLimit  = "vm.snapshot_limit"
	SettingKeepDaily      = "snapshot.keep_daily"
	SettingKeepWeekly     = "snapshot.keep_weekly"
	SettingKeepMonthly    = "snapshot.keep_monthly"
	SettingKeepYearly     = "snapshot.keep_yearly"
	SettingBackupStore    = "backup.datastore"
	SettingBackupLimit    = "backup.limit"
	SettingBackupChain    = "backup.full_every"
	SettingBackupKeepGone = "backup.retention"
	SettingChainLimit     = "chain.limit"
	SettingChainBandwidth = "chain.bandwidth_mibs"
	SettingAntiSpoofing   = "network.anti_spoofing"
	SettingNetworkBridge  = "network.bridge"
	SettingForwardFirst   = "forward.first_port"
	SettingForwardLast    = "forward.last_port"
	SettingForwardLongest = "forward.longest"
	SettingForwardLimit   = "forward.limit"
)

// settingTable lists every setting with its default; the ratios and ports are
// the specification's.
var settingTable = []Setting{
	{Name: SettingCPURatio, Default: "2.0", Type: "float", Doc: "vCPUs that may be claimed per logical CPU of a host."},
	{Name: SettingRAMRatio, Default: "2.0", Type: "float", Doc: "Memory that may be claimed per memory of a host. Lower it to 1.0 where guests really fill their memory."},
	{Name: SettingDiskRatio, Default: "4.0", Type: "float", Doc: "Virtual disk size that may be claimed per capacity of a datastore; disks are thin."},
	{Name: SettingDiskReserve, Default: "16", Type: "int", Doc: "MiB that must be free on a datastore before anything new is put on it."},
	{Name: SettingVNCFirst, Default: "20000", Type: "int", Doc: "First port for VNC clients. Each VM has one for itself: there can be as many VMs as ports, 30000 by default, deleted ones aside."},
	{Name: SettingVNCLast, Default: "49999", Type: "int", Doc: "Last port for VNC clients, at most 65535. Widen the range before there are as many VMs as ports in it: a creation beyond is refused."},
	{Name: SettingVNCGrant, Default: "30m", Type: "duration", Doc: "How long a grant for a VNC client is good unless its maker says otherwise."},
	{Name: SettingVNCLongest, Default: "8h", Type: "duration", Doc: "How long a grant for a VNC client may be good in all, extensions included. Its password is VNC's own, which is weak: keep it short."},
	{Name: SettingVNCPerDay, Default: "10", Type: "int", Doc: "How many grants for VNC clients a VM may have in 24 hours."},
	{Name: SettingRetention, Default: "720h", Type: "duration", Doc: "How long a deleted VM can be restored."},
	{Name: SettingCreateDeadline, Default: "10m", Type: "duration", Doc: "A creation that is not done by then is undone."},
	{Name: SettingAnswerWait, Default: "90s", Type: "duration", Doc: "How long a creation waits for the guest's address to answer; never a condition of success."},
	{Name: SettingShutdownWait, Default: "90s", Type: "duration", Doc: "How long a guest may take to shut down before the task says that it did not."},
	{Name: SettingSnapshotLimit, Default: "3", Type: "int", Doc: "How many snapshots of their own people may keep of a VM; scheduled ones do not count."},
	{Name: SettingKeepDaily, Default: "1", Type: "int", Doc: "How many of a VM's daily snapshots are kept, the newest ones."},
	{Name: SettingKeepWeekly, Default: "1", Type: "int", Doc: "How many of a VM's weekly snapshots are kept."},
	{Name: SettingKeepMonthly, Default: "1", Type: "int", Doc: "How many of a VM's monthly snapshots are kept."},
	{Name: SettingKeepYearly, Default: "1", Type: "int", Doc: "How many of a VM's yearly snapshots are kept."},
	{Name: SettingBackupStore, Default: "", Type: "string", Doc: "Name of the datastore that backups go to; the VM's own if empty."},
	{Name: SettingBackupLimit, Default: "3", Type: "int", Doc: "How many backups of their own people may keep of a VM; scheduled ones do not count."},
	{Name: SettingBackupChain, Default: "7", Type: "int", Doc: "After so many increments on each other the next scheduled backup is a full one."},
	{Name: SettingBackupKeepGone, Default: "2160h", Type: "duration", Doc: "How long the backups of a VM are kept when it is gone for good."},
	{Name: SettingChainLimit, Default: "4", Type: "int", Doc: "How many bases a disk may stand on before it is flattened in the background."},
	{Name: SettingChainBandwidth, Default: "50", Type: "int", Doc: "Most MiB per second that flattening a disk in the background writes; one disk of a host at a time."},
	{Name: SettingAntiSpoofing, Default: "true", Type: "bool", Doc: "Whether a VM may send only with its own MAC and addresses. false takes all rules off the hosts' bridges, those of VMs' firewalls too; the audit says so each time."},
	{Name: SettingNetworkBridge, Default: "baadal-br-int", Type: "string", Doc: "Open vSwitch bridge for the libvirt network that is made on a host that has none."},
	{Name: SettingForwardFirst, Default: "50000", Type: "int", Doc: "First port of the NAT box's public address that mappings to ports of VMs use. Keep it clear of the ports for VNC clients and of the box's own services."},
	{Name: SettingForwardLast, Default: "59999", Type: "int", Doc: "Last port for mappings, at most 65535."},
	{Name: SettingForwardLongest, Default: "168h", Type: "duration", Doc: "How long a mapping may be open from when it is asked for, or extended, on."},
	{Name: SettingForwardLimit, Default: "10", Type: "int", Doc: "How many mappings a VM may have at a time."},
	{Name: SettingHostSlots, Default: "8", Type: "int", Doc: "Cost of all tasks that may work on one host at a time; a start costs 2."},
	{Name: SettingHostPatience, Default: "2m", Type: "duration", Doc: "How long the tasks of a host that went down wait for its return; then they are tried once more, and end."},
}

// Settings returns every setting with its default as value.
func Settings() []Setting {
	out := make([]Setting, len(settingTable))
	copy(out, settingTable)
	for i := range out {
		out[i].Value = out[i].Default
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

const maxPort = 65535

var portSettings = []string{SettingVNCFirst, SettingVNCLast, SettingForwardFirst, SettingForwardLast}

// CheckSetting refuses unknown names and values that do not fit the type.
// Ratios, counts, ports and durations must be positive.
func CheckSetting(name, value string) error {
	for _, s := range settingTable {
		if s.Name != name {
			continue
		}
		ok := false
		switch s.Type {
		case "int":
			n, err := strconv.Atoi(value)
			ok = err == nil && n > 0 && (n <= maxPort || !slices.Contains(portSettings, name))
		case "float":
			f, err := strconv.ParseFloat(value, 64)
			ok = err == nil && f > 0 && f <= 1000
		case "duration":
			d, err := time.ParseDuration(value)
			ok = err == nil && d > 0
		case "bool":
			_, err := strconv.ParseBool(value)
			ok = err == nil
		default:
			ok = len(value) <= 1024
		}
		if !ok {
			return Errorf(Invalid, "%q is not a value for %s", value, name).WithField("value").
				WithDetail("a positive %s is needed, as %s", s.Type, s.Default)
		}
		return nil
	}
	return Errorf(NotFound, "there is no setting %q", name).WithNext("See all settings", "baadal setting list")
}

// SettingValues holds the settings in force. The zero value holds the defaults.
type SettingValues map[string]string

func (v SettingValues) get(name string) string {
	if s, ok := v[name]; ok {
		return s
	}
	for _, s := range settingTable {
		if s.Name == name {
			return s.Default
		}
	}
	panic(fmt.Sprintf("setting %q is not in the table", name))
}

// Int returns a setting of type int.
func (v SettingValues) Int(name string) int { n, _ := strconv.Atoi(v.get(name)); return n }

// String returns a setting of type string.
func (v SettingValues) String(name string) string { return v.get(name) }

// Float returns a setting of type float.
func (v SettingValues) Float(name string) float64 {
	f, _ := strconv.ParseFloat(v.get(name), 64)
	return f
}

// Bool returns a setting of type bool.
func (v SettingValues) Bool(name string) bool { b, _ := strconv.ParseBool(v.get(name)); return b }

// Duration returns a setting of type duration.
func (v SettingValues) Duration(name string) time.Duration {
	d, _ := time.ParseDuration(v.get(name))
	return d
}
