package simulator_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"baadal"
	"baadal/internal/libvirt/libvirttest"
	"baadal/internal/simulator"
)

// TestConformance holds the simulator to what the real libvirt does.
func TestConformance(t *testing.T) {
	t.Parallel()
	libvirttest.Exercise(t, func(t *testing.T) libvirttest.Fixture {
		c := open(t, simulator.Config{StartTime: 5 * time.Millisecond, ShutdownTime: 50 * time.Millisecond})
		h := c.host("host1")
		var last atomic.Int64
		return libvirttest.Fixture{
			Hypervisor: c.Hypervisor(), Host: h, ShutdownWithin: time.Second,
			NewNetwork:   func(*testing.T) string { return "testnet" },
			OtherNetwork: baadal.DomainNIC{Network: "ovs-net", Portgroup: "vlan20", VLAN: 20},
			NewDomain: func(t *testing.T) baadal.Domain {
				t.Helper()
				n := last.Add(1)
				uuid, identity := fmt.Sprintf("00000000-0000-4000-8000-%012d", n), fmt.Sprintf("IITD_a_vm%d", n)
				if err := c.Disks().CreateImage(t.Context(), h, image(uuid, identity)); err != nil {
					t.Fatal(err)
				}
				return definition(uuid, identity)
			},
			NewDisk: func(t *testing.T, target string) baadal.DomainDisk {
				t.Helper()
				n := last.Add(1)
				f := baadal.DiskFile{
					Datastore: store, Identity: "IITD_a_disks", UUID: fmt.Sprintf("00000000-0000-4000-8000-%012d", 0), DiskID: n, Name: baadal.DiskName("IITD_a_disks", int(n)),
				}
				f.Datastore.Name = "main"
				if err := c.Disks().CreateDisk(t.Context(), h, f, 1<<30); err != nil {
					t.Fatal(err)
				}
				return baadal.DomainDisk{Path: f.Path(), Format: "qcow2", Target: target, Serial: baadal.DiskSerial(n)}
			},
			NewISO: func(t *testing.T) string {
				t.Helper()
				name := fmt.Sprintf("cd%d.iso", last.Add(1))
				if _, err := c.AddTemplate(store.Path, name, 1<<20); err != nil {
					t.Fatal(err)
				}
				return store.TemplateFile(name)
			},
			Overlay: func(t *testing.T, d baadal.Domain) (overlay, free string) {
				t.Helper()
				z := baadal.DiskFreeze{
					DiskFile: baadal.DiskFile{Datastore: store, Identity: d.Name, UUID: d.UUID, Name: d.Name + ".qcow2"},
					Base:     "00000000-0000-4000-8000-00000000ba5e", Overlay: "new.qcow2", Bytes: 8 * gib,
				}
				if err := c.Disks().ShareDisk(t.Context(), h, z); err != nil {
					t.Fatal(err)
				}
				return z.New(), z.BaseCopy()
			},
			Foreign: func(t *testing.T) string {
				t.Helper()
				uuid, err := c.RogueDomain("host1", "pet")
				if err != nil {
					t.Fatal(err)
				}
				return uuid
			},
		}
	})
}
