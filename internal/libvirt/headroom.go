package libvirt

import (
	"encoding/xml"
	"fmt"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"baadal"
)

// blockMiB is the least memory that is plugged in: what a guest's pages come in.
const blockMiB = 2

// headroom is how much memory a domain can be given beside what it starts with.
func headroom(d baadal.Domain) int { return max(0, d.MaxRAMMiB-d.RAMMiB) / blockMiB * blockMiB }

// giveRoom defines the head-room: a virtio-mem device from which the guest takes
// what it is told to, and nothing else. Memory devices need a NUMA node.
func giveRoom(dom *libvirtxml.Domain, d baadal.Domain) {
	room := headroom(d)
	if room == 0 {
		return
	}
	mib := func(n int) uint { return uint(n) } //nolint:gosec // never negative
	first := uint(0)
	dom.Memory = &libvirtxml.DomainMemory{Value: mib(d.RAMMiB + room), Unit: "MiB"}
	dom.CurrentMemory = &libvirtxml.DomainCurrentMemory{Value: mib(d.RAMMiB), Unit: "MiB"}
	dom.MaximumMemory = &libvirtxml.DomainMaxMemory{Value: mib(d.RAMMiB + room), Unit: "MiB", Slots: 1}
	if dom.CPU == nil {
		dom.CPU = &libvirtxml.DomainCPU{}
	}
	dom.CPU.Numa = &libvirtxml.DomainNuma{Cell: []libvirtxml.DomainCell{{
		ID: &first, CPUs: fmt.Sprintf("0-%d", max(d.VCPUs, d.MaxVCPUs)-1), Memory: mib(d.RAMMiB), Unit: "MiB",
	}}}
	dom.Devices.Memorydevs = []libvirtxml.DomainMemorydev{roomDevice(room, d.PluggedMiB)}
}

// roomMark marks a domain whose memory is more than what libvirt says in few
// words: its XML has to be read.
func roomMark(d baadal.Domain) string {
	if headroom(d) == 0 {
		return ""
	}
	return ` room="1"`
}

func roomDevice(room, plugged int) libvirtxml.DomainMemorydev {
	return libvirtxml.DomainMemorydev{
		Model: "virtio-mem",
		Target: &libvirtxml.DomainMemorydevTarget{
			Size:      &libvirtxml.DomainMemorydevTargetSize{Value: uint(room), Unit: "MiB"}, //nolint:gosec // never negative
			Node:      &libvirtxml.DomainMemorydevTargetNode{},
			Block:     &libvirtxml.DomainMemorydevTargetBlock{Value: blockMiB, Unit: "MiB"},
			Requested: &libvirtxml.DomainMemorydevTargetRequested{Value: uint(plugged), Unit: "MiB"}, //nolint:gosec // never negative
		},
	}
}

// memoryXML is what a domain's XML says of its memory; libvirt writes KiB.
type memoryXML struct {
	Memory  int `xml:"memory"`
	Devices []struct {
		Model  string `xml:"model,attr"`
		Target struct {
			Size      int `xml:"size"`
			Requested int `xml:"requested"`
			Current   int `xml:"current"`
		} `xml:"target"`
	} `xml:"devices>memory"`
}

// memory is what a domain has, MiB.
type memory struct {
	base    int // it was started with
	room    int // could be plugged in beside, in all
	plugged int // is, or is asked for
	taken   int // of that the guest uses
}

func memoryOf(text string) (m memory, err error) {
	var x memoryXML
	if err := xml.Unmarshal([]byte(text), &x); err != nil {
		return m, fmt.Errorf("read domain XML: %w", err)
	}
	for _, d := range x.Devices {
		if d.Model == "virtio-mem" {
			m.room += d.Target.Size >> 10
			m.plugged += max(d.Target.Requested, d.Target.Current) >> 10
			m.taken += d.Target.Current >> 10
		}
	}
	m.base = x.Memory>>10 - m.room
	return m, nil
}

// wholeMemory is what a domain with head-room has: what it was started with and
// what is plugged in.
func wholeMemory(rpc *golibvirt.Libvirt, dom golibvirt.Domain) (int, error) {
	text, err := rpc.DomainGetXMLDesc(dom, 0)
	if err != nil {
		return 0, err
	}
	m, err := memoryOf(text)
	return m.base + m.plugged, err
}

// plugMemory asks the guest of an active domain to use so much of its head-room,
// more or less than before.
func plugMemory(rpc *golibvirt.Libvirt, dom golibvirt.Domain, mib int) error {
	text, err := rpc.DomainGetXMLDesc(dom, 0)
	if err != nil {
		return err
	}
	var d libvirtxml.Domain
	if err := d.Unmarshal(text); err != nil {
		return fmt.Errorf("read domain XML: %w", err)
	}
	if d.Devices == nil || len(d.Devices.Memorydevs) == 0 || d.Devices.Memorydevs[0].Target == nil {
		return golibvirt.Error{Code: uint32(golibvirt.ErrInvalidArg), Message: "it was started without head-room for memory"}
	}
	device := d.Devices.Memorydevs[0]
	mib = (mib + blockMiB - 1) / blockMiB * blockMiB
	device.Target.Requested = &libvirtxml.DomainMemorydevTargetRequested{Value: uint(mib), Unit: "MiB"} //nolint:gosec // never negative
	out, err := device.Marshal()
	if err != nil {
		return fmt.Errorf("write memory XML: %w", err)
	}
	return rpc.DomainUpdateDeviceFlags(dom, out, golibvirt.DomainDeviceModifyLive)
}
