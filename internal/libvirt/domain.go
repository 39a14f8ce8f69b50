package libvirt

import (
	"crypto/sha1" //nolint:gosec // a UUID of version 5 is made from it
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"path"
	"strings"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"baadal"
)

// metadataURI names our element in a domain's metadata.
const metadataURI = "https://baadal.cloud/xmlns/domain/1"

// serialLog is in a VM's console folder on its host, beside the sockets.
const serialLog = "serial.log"

// maxSocketPath is what fits in a sockaddr_un.
const maxSocketPath = 107

// XML writes a domain as libvirt is told to define it. It is Invalid if the
// domain cannot be right: an unknown virtualisation type, no disk, a relative
// path.
func XML(d baadal.Domain) (string, error) {
	if err := check(d); err != nil {
		return "", err
	}
	dom := libvirtxml.Domain{
		Type:     d.Virt,
		Name:     d.Name,
		UUID:     d.UUID,
		Metadata: &libvirtxml.DomainMetadata{XML: fmt.Sprintf(`<baadal:vm xmlns:baadal="%s" id="%d"%s/>`, metadataURI, d.VMID, roomMark(d))},
		Memory:   &libvirtxml.DomainMemory{Value: uint(d.RAMMiB), Unit: "MiB"},
		VCPU:     vcpus(d),
		OS: &libvirtxml.DomainOS{
			// What it boots from is written to the devices; a VM without a system there says so on its screen.
			Type: &libvirtxml.DomainOSType{Arch: "x86_64", Machine: "pc", Type: "hvm"},
		},
		Features:   &libvirtxml.DomainFeatureList{ACPI: &libvirtxml.DomainFeature{}, APIC: &libvirtxml.DomainFeatureAPIC{}},
		Clock:      &libvirtxml.DomainClock{Offset: "utc"},
		OnPoweroff: "destroy", OnReboot: "restart", OnCrash: "destroy",
		// A guest that suspends itself looks dead to everyone else.
		PM:      &libvirtxml.DomainPM{SuspendToMem: &libvirtxml.DomainPMPolicy{Enabled: "no"}, SuspendToDisk: &libvirtxml.DomainPMPolicy{Enabled: "no"}},
		Devices: devices(d),
	}
	if d.Virt == "kvm" { // an emulated guest has no host CPU to pass through
		dom.CPU = &libvirtxml.DomainCPU{Mode: "host-passthrough"}
	}
	giveRoom(&dom, d)
	text, err := dom.Marshal()
	if err != nil {
		return "", fmt.Errorf("write domain XML: %w", err)
	}
	return text, nil
}

// vcpus is how many a domain starts with, and has room for.
func vcpus(d baadal.Domain) *libvirtxml.DomainVCPU {
	if d.MaxVCPUs <= d.VCPUs {
		return &libvirtxml.DomainVCPU{Value: uint(d.VCPUs)} //nolint:gosec // checked
	}
	return &libvirtxml.DomainVCPU{Value: uint(d.MaxVCPUs), Current: uint(d.VCPUs)} //nolint:gosec // checked
}

func check(d baadal.Domain) error {
	if _, err := parseUUID(d.UUID); err != nil {
		return err
	}
	switch {
	case d.Virt != "kvm" && d.Virt != "qemu" && d.Virt != "test":
		return baadal.Errorf(baadal.Invalid, "virtualisation type %q is neither kvm nor qemu", d.Virt)
	case d.Name == "" || d.VCPUs < 1 || d.RAMMiB < 1:
		return baadal.Errorf(baadal.Invalid, "domain %q has no name, CPU or memory", d.Name)
	case len(d.Disks) == 0:
		return baadal.Errorf(baadal.Invalid, "domain %s has no disk", d.Name)
	case !path.IsAbs(d.Console):
		return baadal.Errorf(baadal.Invalid, "console folder %q of %s is not an absolute path", d.Console, d.Name)
	case len(baadal.ConsoleSocket(d.Console, baadal.ConsoleSerial)) > maxSocketPath:
		return baadal.Errorf(baadal.Invalid, "console folder %s is too long for a socket", d.Console)
	}
	for _, disk := range d.Disks {
		if !path.IsAbs(disk.Path) {
			return baadal.Errorf(baadal.Invalid, "disk %q of %s is not an absolute path", disk.Path, d.Name)
		}
		if disk.Format != "qcow2" && disk.Format != "raw" {
			return baadal.Errorf(baadal.Invalid, "disk format %q of %s is neither qcow2 nor raw", disk.Format, d.Name)
		}
	}
	if d.Seed != "" && !path.IsAbs(d.Seed) {
		return baadal.Errorf(baadal.Invalid, "seed %q of %s is not an absolute path", d.Seed, d.Name)
	}
	if d.CDROM != "" && !path.IsAbs(d.CDROM) {
		return baadal.Errorf(baadal.Invalid, "CD %q of %s is not an absolute path", d.CDROM, d.Name)
	}
	return nil
}

func devices(d baadal.Domain) *libvirtxml.DomainDeviceList {
	first := uint(0)
	l := &libvirtxml.DomainDeviceList{
		Controllers: []libvirtxml.DomainController{{Type: "usb", Index: &first, Model: "none"}}, // nobody plugs anything in; saves 60 ms at start
		Serials: []libvirtxml.DomainSerial{{
			Source: unixSource(baadal.ConsoleSocket(d.Console, baadal.ConsoleSerial)),
			// Written anew at each start: a guest's chatter must not fill the host.
			Log:    &libvirtxml.DomainChardevLog{File: path.Join(d.Console, serialLog), Append: "off"},
			Target: &libvirtxml.DomainSerialTarget{Port: &first},
		}},
		Channels: []libvirtxml.DomainChannel{{
			Source: &libvirtxml.DomainChardevSource{UNIX: &libvirtxml.DomainChardevSourceUNIX{Mode: "bind"}},
			Target: &libvirtxml.DomainChannelTarget{VirtIO: &libvirtxml.DomainChannelTargetVirtIO{Name: "org.qemu.guest_agent.0"}},
		}},
		// No keymap: keys go by their place on the keyboard, and the guest's layout
		// says what they type. Many viewers ask for a screen of their own by default:
		// heeded, that would throw everybody else out.
		Graphics: []libvirtxml.DomainGraphic{{VNC: &libvirtxml.DomainGraphicVNC{Socket: baadal.ConsoleSocket(d.Console, baadal.ConsoleScreen), SharePolicy: "ignore"}}},
		Videos:   []libvirtxml.DomainVideo{{Model: libvirtxml.DomainVideoModel{Type: "vga", VRam: 16384}}},
		RNGs: []libvirtxml.DomainRNG{{
			Model:   "virtio",
			Backend: &libvirtxml.DomainRNGBackend{Random: &libvirtxml.DomainRNGBackendRandom{Device: "/dev/urandom"}},
		}},
		MemBalloon: &libvirtxml.DomainMemBalloon{Model: "virtio", Stats: &libvirtxml.DomainMemBalloonStats{Period: 10}},
	}
	for _, disk := range d.Disks {
		l.Disks = append(l.Disks, diskDevice(disk))
	}
	if d.Seed != "" {
		l.Disks = append(l.Disks, cdDevice(seedDrive, d.Seed))
	}
	l.Disks = append(l.Disks, cdDevice(cdromDrive, d.CDROM))
	for _, nic := range d.NICs {
		l.Interfaces = append(l.Interfaces, netInterface(d, nic))
	}
	setBoot(l, d.Boot)
	return l
}

// diskDevice is a disk, alike in a definition and when it is plugged in.
func diskDevice(d baadal.DomainDisk) libvirtxml.DomainDisk {
	k := libvirtxml.DomainDisk{
		Device: "disk",
		// cache none: what the guest was told is on disk is on disk, and a migration needs no flush.
		Driver: &libvirtxml.DomainDiskDriver{Name: "qemu", Type: d.Format, Cache: "none", Discard: "unmap"},
		Source: fileSource(d.Path),
		Target: &libvirtxml.DomainDiskTarget{Dev: d.Target, Bus: "virtio"},
		Serial: d.Serial,
	}
	if d.BytesPerSecond > 0 || d.IOPS > 0 {
		k.IOTune = &libvirtxml.DomainDiskIOTune{TotalBytesSec: uint64(d.BytesPerSecond), TotalIopsSec: uint64(d.IOPS)} //nolint:gosec // above 0
	}
	return k
}

func fileSource(file string) *libvirtxml.DomainDiskSource {
	return &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: file}}
}

func unixSource(file string) *libvirtxml.DomainChardevSource {
	return &libvirtxml.DomainChardevSource{UNIX: &libvirtxml.DomainChardevSourceUNIX{Mode: "bind", Path: file}}
}

func netInterface(d baadal.Domain, nic baadal.DomainNIC) libvirtxml.DomainInterface {
	i := libvirtxml.DomainInterface{
		MAC:    &libvirtxml.DomainInterfaceMAC{Address: nic.MAC},
		Source: &libvirtxml.DomainInterfaceSource{Network: &libvirtxml.DomainInterfaceSourceNetwork{Network: nic.Network, PortGroup: nic.Portgroup}},
		Model:  &libvirtxml.DomainInterfaceModel{Type: "virtio"},
		// The same at every define and on every host, so that what was said about
		// the port in Open vSwitch can be found again.
		VirtualPort: &libvirtxml.DomainInterfaceVirtualPort{Params: &libvirtxml.DomainInterfaceVirtualPortParams{
			OpenVSwitch: &libvirtxml.DomainInterfaceVirtualPortParamsOpenVSwitch{InterfaceID: interfaceID(d.UUID, nic.MAC)},
		}},
	}
	if nic.VLAN != 0 {
		// The portgroup has the tag, too. It is written out because a live change
		// of the NIC by portgroup alone would silently leave a trunk port.
		i.VLan = &libvirtxml.DomainInterfaceVLan{Tags: []libvirtxml.DomainInterfaceVLanTag{{ID: uint(nic.VLAN)}}}
	}
	if d.Virt == "qemu" {
		// Emulated guests run on practice hosts, whose Open vSwitch works in user
		// space and passes packets on without the checksums that an offloading NIC
		// leaves out: TCP to the guest would hang. Emulation is the bottleneck there,
		// so it costs nothing. Under kvm the kernel's datapath does it right, and
		// without offload a guest would have a fraction of its bandwidth.
		i.Driver = &libvirtxml.DomainInterfaceDriver{
			Name:  "qemu",
			Host:  &libvirtxml.DomainInterfaceDriverHost{CSum: "off", GSO: "off", TSO4: "off", TSO6: "off", ECN: "off", UFO: "off"},
			Guest: &libvirtxml.DomainInterfaceDriverGuest{CSum: "off", TSO4: "off", TSO6: "off", ECN: "off", UFO: "off"},
		}
	}
	return i
}

// interfaceID derives a port's id from the VM and the NIC's MAC address: a UUID
// of version 5 with the VM's UUID as its name space.
func interfaceID(uuid, mac string) string {
	space, err := parseUUID(uuid)
	if err != nil {
		return ""
	}
	h := sha1.New() //nolint:gosec // a UUID, not a secret
	h.Write(space[:])
	h.Write([]byte(strings.ToLower(mac)))
	var id golibvirt.UUID
	copy(id[:], h.Sum(nil))
	id[6] = id[6]&0x0f | 0x50
	id[8] = id[8]&0x3f | 0x80
	return formatUUID(id)
}

// parseMetadata reads the VM's id from our metadata element, and whether it has
// head-room for memory.
func parseMetadata(text string) (id int64, room bool) {
	var m struct {
		ID   int64 `xml:"id,attr"`
		Room bool  `xml:"room,attr"`
	}
	if xml.Unmarshal([]byte(text), &m) != nil {
		return 0, false
	}
	return m.ID, m.Room
}

// consoleOf finds the console folder in a domain's XML; empty if it is not one
// of ours.
func consoleOf(text string) string {
	var d libvirtxml.Domain
	if d.Unmarshal(text) != nil || d.Devices == nil || d.Metadata == nil || !strings.Contains(d.Metadata.XML, metadataURI) {
		return ""
	}
	for _, s := range d.Devices.Serials {
		if s.Source != nil && s.Source.UNIX != nil && path.Base(s.Source.UNIX.Path) == string(baadal.ConsoleSerial) && path.IsAbs(s.Source.UNIX.Path) {
			return path.Dir(s.Source.UNIX.Path)
		}
	}
	return ""
}

func parseUUID(s string) (golibvirt.UUID, error) {
	var id golibvirt.UUID
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != len(id) {
		return id, baadal.Errorf(baadal.Invalid, "%q is not a UUID", s)
	}
	copy(id[:], b)
	return id, nil
}

func formatUUID(id golibvirt.UUID) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[0:4], id[4:6], id[6:8], id[8:10], id[10:16])
}
