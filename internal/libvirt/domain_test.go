package libvirt_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"libvirt.org/go/libvirtxml"

	"baadal"
	"baadal/internal/libvirt"
)

var update = flag.Bool("update", false, "write the golden files")

func fullDomain() baadal.Domain {
	return baadal.Domain{
		UUID: "3d1e5f0a-9f5c-4a2b-8c6d-0123456789ab", Name: "IITD_ann_web", VMID: 42, Virt: "qemu", VCPUs: 2, RAMMiB: 512,
		Disks: []baadal.DomainDisk{
			{Path: "/mnt/datastore/vm_images/IITD_ann_web/IITD_ann_web.qcow2", Format: "qcow2", Target: "vda"},
			{Path: "/mnt/datastore/vm_extra_disks/ds/IITD_ann_web/IITD_ann_web_disk1.qcow2", Format: "qcow2", Target: "vdb"},
		},
		Seed:    "/mnt/datastore/vm_images/IITD_ann_web/seed.iso",
		NICs:    []baadal.DomainNIC{{MAC: "A2:00:00:00:0A:05", Network: "ovs-net", Portgroup: "vlan10", VLAN: 10}},
		Console: "/run/baadal/3d1e5f0a-9f5c-4a2b-8c6d-0123456789ab",
	}
}

func TestXMLGolden(t *testing.T) {
	t.Parallel()
	kvm := fullDomain()
	kvm.Virt, kvm.MaxVCPUs = "kvm", 8
	kvm.CDROM, kvm.Boot = "/mnt/datastore/vm_templates/install-12ab.iso", []baadal.BootDevice{baadal.BootCDROM, baadal.BootNetwork, baadal.BootDisk}
	kvm.Disks[1].Serial, kvm.Disks[1].BytesPerSecond, kvm.Disks[1].IOPS = "disk-7", 10<<20, 500
	bare := fullDomain()
	bare.Seed, bare.NICs, bare.Disks = "", nil, bare.Disks[:1]
	odd := fullDomain()
	odd.Name, odd.Disks[0].Path, odd.NICs[0].VLAN = `a&b<c>"'`, `/mnt/d&s/<x>/"y'.raw`, 0
	odd.Disks[0].Format = "raw"
	for name, d := range map[string]baadal.Domain{"qemu": fullDomain(), "kvm": kvm, "bare": bare, "odd-names": odd} {
		got, err := libvirt.XML(d)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", name+".xml")
		if *update {
			if err := os.WriteFile(file, []byte(got+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got+"\n"); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		var back libvirtxml.Domain
		if err := back.Unmarshal(got); err != nil || back.Name != d.Name || back.Devices.Disks[0].Source.File.File != d.Disks[0].Path {
			t.Errorf("%s does not read back: %v, %q", name, err, back.Name)
		}
	}
}

// TestXMLInterfaceID checks that a port's id depends on the VM and the MAC
// address alone.
func TestXMLInterfaceID(t *testing.T) {
	t.Parallel()
	id := func(uuid, mac, virt string) string {
		d := fullDomain()
		d.UUID, d.NICs[0].MAC, d.Virt = uuid, mac, virt
		text, err := libvirt.XML(d)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(text, `interfaceid="`)
		return rest[:36]
	}
	const one, two, mac = "3d1e5f0a-9f5c-4a2b-8c6d-0123456789ab", "3d1e5f0a-9f5c-4a2b-8c6d-0123456789ac", "A2:00:00:00:0A:05"
	if id(one, mac, "kvm") != id(one, strings.ToLower(mac), "qemu") {
		t.Error("the id of the same port differs")
	}
	if id(one, mac, "kvm") == id(two, mac, "kvm") || id(one, mac, "kvm") == id(one, "A2:00:00:00:0A:06", "kvm") {
		t.Error("two ports have one id")
	}
}

func TestXMLRefuses(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*baadal.Domain){
		"relative disk":    func(d *baadal.Domain) { d.Disks[0].Path = "x.qcow2" },
		"disk format":      func(d *baadal.Domain) { d.Disks[0].Format = "vmdk" },
		"relative seed":    func(d *baadal.Domain) { d.Seed = "seed.iso" },
		"relative CD":      func(d *baadal.Domain) { d.CDROM = "cd.iso" },
		"no console":       func(d *baadal.Domain) { d.Console = "" },
		"long console":     func(d *baadal.Domain) { d.Console = "/" + strings.Repeat("x", 108) },
		"relative console": func(d *baadal.Domain) { d.Console = "run/x" },
		"uuid":             func(d *baadal.Domain) { d.UUID = "3d1e5f0a" },
	} {
		d := fullDomain()
		spoil(&d)
		if _, err := libvirt.XML(d); baadal.KindOf(err) != baadal.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestErrorMeaning(t *testing.T) {
	t.Parallel()
	const internalError, operationFailed, noDomain, operationInvalid, noSupport = 1, 9, 42, 55, 3
	tests := []struct {
		code    int
		message string
		kind    baadal.Kind
		want    string // code
		words   string
	}{
		{internalError, `internal error: process exited while connecting to monitor: 2026-11-22T08:00:00Z qemu-system-x86_64: -device virtio-blk-pci: Failed to get "write" lock` + "\nIs another process using the image [/mnt/datastore/x.qcow2]?", baadal.Conflict, "disk_in_use", "start domain on host1: another process has its disk open for writing"},
		{noDomain, "Domain not found: no domain with matching uuid", baadal.NotFound, "domain_unknown", "start domain on host1: the host does not know the domain"},
		{operationInvalid, "Requested operation is not valid: domain is not running", baadal.Conflict, "domain_state", "start domain on host1: domain is not running"},
		{operationFailed, "operation failed: domain 'x' already exists with uuid 1", baadal.Conflict, "domain_exists", "start domain on host1: another domain has its name"},
		{38, "Cannot access storage file '/mnt/datastore/x.qcow2': No such file or directory", baadal.Conflict, "disk_missing", "start domain on host1: its disk cannot be read: is the datastore mounted on the host?"},
		{8, "invalid argument: could not find capabilities for arch=x86_64 domaintype=kvm ", baadal.Conflict, "virt_unsupported", "start domain on host1: the host cannot run this type of virtual machine"},
		{68, "Timed out during operation: cannot acquire state change lock (held by monitor=remoteDispatchDomainCreate)", baadal.Unavailable, "libvirt_busy", "start domain on host1: libvirtd is busy with another job of this domain"},
		{noSupport, "this function is not supported by the connection driver", baadal.Invalid, "libvirt_unsupported", "start domain on host1: this function is not supported by the connection driver"},
		{operationFailed, "operation failed: timed out waiting to open tray of 'hdb'", baadal.Conflict, "tray_locked", "start domain on host1: the guest holds the tray of its CD drive shut: the CD is mounted or in use"},
		{internalError, "internal error: " + strings.Repeat("ü", 300) + "\nmore", baadal.Internal, "libvirt_failed", "start domain on host1: " + strings.Repeat("ü", 100) + "…"},
	}
	for _, tt := range tests {
		err := libvirt.Explain("host1", "start domain", tt.code, tt.message)
		if baadal.KindOf(err) != tt.kind || baadal.CodeOf(err) != tt.want || err.Error() != tt.words {
			t.Errorf("%q:\n got %s %s %q\nwant %s %s %q", tt.message, baadal.KindOf(err), baadal.CodeOf(err), err, tt.kind, tt.want, tt.words)
		}
	}
}
