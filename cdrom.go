package baadal

import (
	"slices"
	"strings"
)

// Kinds of templates.
const (
	TemplateDisk = "disk" // VMs stand on it
	TemplateISO  = "iso"  // a CD image: it can be inserted in VMs, and nothing stands on it
)

// ISOSuffix ends the file names of CD images below vm_templates.
const ISOSuffix = ".iso"

// CDROMInsert is the wish to put a CD image into a VM's drive.
type CDROMInsert struct {
	ISO string `json:"iso" minLength:"1" maxLength:"64" doc:"Name or id of a template of kind iso."`
}

// Validate checks the wish by itself.
func (c CDROMInsert) Validate() error {
	if c.ISO == "" {
		return Errorf(Invalid, "no CD image given").WithField("iso").WithNext("See the CD images", "baadal template list kind:iso")
	}
	return nil
}

// CDROMEject is the wish to take out what is in a VM's drive.
type CDROMEject struct {
	Force bool `json:"force,omitempty" doc:"Also when the guest holds the tray shut: it loses what it reads from there."`
}

// BootDevice is something that a VM's firmware may boot from.
type BootDevice string

// The boot devices.
const (
	BootDisk    BootDevice = "disk"    // the first disk
	BootCDROM   BootDevice = "cdrom"   // the drive that images are inserted in, not the seed's
	BootNetwork BootDevice = "network" // the network interface
)

// BootDevices lists the boot devices in a fixed order.
func BootDevices() []BootDevice { return []BootDevice{BootDisk, BootCDROM, BootNetwork} }

// DefaultBoot is the boot order of a VM that has no other.
func DefaultBoot() []BootDevice { return []BootDevice{BootDisk} }

// CheckBoot refuses what is no boot order: one to three different devices.
func CheckBoot(order []BootDevice) error {
	bad := len(order) == 0
	for i, d := range order {
		bad = bad || !slices.Contains(BootDevices(), d) || slices.Contains(order[:i], d)
	}
	if bad {
		return Errorf(Invalid, "%q is not a boot order", JoinBoot(order)).WithCode("bad_boot").WithField("boot").
			WithDetail("give disk, cdrom and network in the order wanted, each at most once")
	}
	return nil
}

// JoinBoot writes a boot order with commas, ParseBoot reads it; nothing is the
// default.
func JoinBoot(order []BootDevice) string {
	words := make([]string, len(order))
	for i, d := range order {
		words[i] = string(d)
	}
	return strings.Join(words, ",")
}

// ParseBoot reads what JoinBoot wrote; nothing is the default.
func ParseBoot(s string) []BootDevice {
	if s == "" {
		return DefaultBoot()
	}
	var order []BootDevice
	for w := range strings.SplitSeq(s, ",") {
		order = append(order, BootDevice(strings.TrimSpace(w)))
	}
	return order
}

// Autostart says what becomes of a VM when its host comes back after having
// been off.
type Autostart string

// The policies. Whatever the policy, a VM that a task holds, or that somebody
// started meanwhile, is left alone.
const (
	AutostartLast   Autostart = "last"   // it is started if it ran when its host went; the default
	AutostartAlways Autostart = "always" // it is started, also if it was off
	AutostartNever  Autostart = "never"  // it stays off
)

// Autostarts lists the policies.
func Autostarts() []Autostart { return []Autostart{AutostartLast, AutostartAlways, AutostartNever} }

// CheckAutostart refuses what is no policy.
func CheckAutostart(a Autostart) error {
	if !slices.Contains(Autostarts(), a) {
		return Errorf(Invalid, "%q is not an autostart policy", a).WithField("autostart").WithDetail("last, always and never are")
	}
	return nil
}
