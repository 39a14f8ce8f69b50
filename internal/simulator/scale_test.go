package simulator_test

import (
	"fmt"
	"sync"
	"testing"

	"baadal"
	"baadal/internal/simulator"
)

// BenchmarkAllDomains looks at 2,500 hosts with 20 running domains each, as the
// controller does once a minute.
func BenchmarkAllDomains(b *testing.B) {
	const hosts, each = 2500, 20
	c := open(b, simulator.Config{Hosts: hosts, Capacity: 1 << 50})
	all := make([]baadal.Host, hosts)
	for i := range all {
		all[i] = c.host(fmt.Sprintf("host%d", i+1))
		for j := range each {
			n := i*each + j
			def := definition(fmt.Sprintf("00000000-0000-4000-8000-%012d", n), fmt.Sprintf("IITD_a_vm%d", n))
			def.NICs[0].MAC = baadal.RandomMAC([3]byte{byte(n >> 16), byte(n >> 8), byte(n)})
			c.must(c.Disks().CreateImage(b.Context(), all[i], image(def.UUID, def.Name)))
			c.must(c.Hypervisor().Define(b.Context(), all[i], def))
			c.must(c.Hypervisor().Start(b.Context(), all[i], def.UUID))
		}
	}
	for b.Loop() {
		var wg sync.WaitGroup
		for worker := range 8 {
			wg.Go(func() {
				for i := worker; i < hosts; i += 8 {
					ds, err := c.Hypervisor().Domains(b.Context(), all[i])
					if err != nil || len(ds) != each {
						b.Errorf("host %d: %d domains, %v", i, len(ds), err)
					}
				}
			})
		}
		wg.Wait()
	}
	b.ReportMetric(hosts*each, "domains/op")
}

// TestManyAtOnce is for the race detector: everything at once on few hosts.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	c := open(t, simulator.Config{Hosts: 4})
	hosts := make([]baadal.Host, 4)
	for i := range hosts {
		hosts[i] = c.host(fmt.Sprintf("host%d", i+1))
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	started := map[string]int{}
	for i := range 32 {
		wg.Go(func() {
			// Eight VMs, each tried on all four hosts at once.
			h, uuid, identity := hosts[i%4], fmt.Sprintf("00000000-0000-4000-8000-%012d", i/4), fmt.Sprintf("IITD_a_vm%d", i/4)
			def := definition(uuid, identity)
			def.NICs = nil
			if err := c.Disks().CreateImage(t.Context(), h, image(uuid, identity)); err != nil {
				t.Error(err)
			}
			if err := c.Hypervisor().Define(t.Context(), h, def); err != nil {
				t.Error(err)
			}
			err := c.Hypervisor().Start(t.Context(), h, uuid)
			if err != nil && baadal.CodeOf(err) != "disk_in_use" {
				t.Error(err)
			}
			if err == nil {
				mu.Lock()
				started[uuid]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	c.whole()
	for uuid, n := range started {
		if n != 1 {
			t.Errorf("%s runs %d times", uuid, n)
		}
	}
	if len(started) != 8 {
		t.Errorf("%d of 8 VMs run", len(started))
	}
}
