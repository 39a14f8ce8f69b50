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
			NewDomain: func(t *testing.T) baadal.Domain {
				t.Helper()
				n := last.Add(1)
				uuid, identity := fmt.Sprintf("00000000-0000-4000-8000-%012d", n), fmt.Sprintf("IITD_a_vm%d", n)
				if err := c.Disks().CreateImage(t.Context(), h, image(uuid, identity)); err != nil {
					t.Fatal(err)
				}
				return definition(uuid, identity)
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
