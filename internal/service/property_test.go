package service_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"baadal"
	"baadal/internal/simulator"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// TestNothingTwiceNothingLost asks for 200 VMs at once, of which a cloud with
// small hosts, two small networks and few ports has room for some: nothing is
// given out twice, no host is over its limits, and in the end all is free again.
func TestNothingTwiceNothingLost(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		c := newCloudOn(t, db, simulator.Config{Hosts: 3, HostCPUs: 8, HostRAMMiB: 8192})
		c.furnish(t, baadal.HostFacts{CPUs: 8, RAMMiB: 8192}, "10.0.1.0/26")
		c.network(t, "small", 20, "10.0.2.0/29") // four addresses
		for name, value := range map[string]string{baadal.SettingVNCFirst: "20000", baadal.SettingVNCLast: "20034", baadal.SettingHostSlots: "64"} {
			if _, err := c.UpdateSetting(t.Context(), c.admin, name, value, baadal.ChangeOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		made, refusals := c.createMany(t, 200)
		if len(made) < 20 || refusals["no_host"] == 0 || refusals["no_address"] == 0 {
			t.Errorf("%d VMs were made, refusals %v: the cloud is not small enough, or too small, to show anything", len(made), refusals)
		}
		t.Logf("%d VMs; refused: %v", len(made), refusals)
		c.checkClaims(t, len(made))
		c.run(t, made...)
		c.checkClaims(t, len(made))

		var deletions []*baadal.Task
		for _, k := range made {
			ch, err := c.ActVM(t.Context(), c.admin, baadal.ActionVMDelete, fmt.Sprint(k.Subject.ID), baadal.ChangeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			deletions = append(deletions, ch.Task)
		}
		c.run(t, deletions...)
		c.checkAllFree(t, len(made))
		for _, wrong := range c.world.Check() {
			t.Error(wrong)
		}
	})
}

// createMany asks for n VMs of different sizes at the same time and returns the
// tasks of those that were taken, and the others by code.
func (c *cloud) createMany(t *testing.T, n int) (made []*baadal.Task, refusals map[string]int) {
	t.Helper()
	refusals = map[string]int{}
	rnd := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same sizes each time
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range n {
		in := baadal.VMCreate{Name: fmt.Sprintf("vm%d", i), Template: "tiny", Network: "research", VCPUs: 1 + rnd.IntN(2), RAMMiB: 256 << rnd.IntN(4)}
		if i%3 == 0 {
			in.Network = "small"
		}
		wg.Go(func() {
			ch, err := c.CreateVM(t.Context(), c.orgadmin, in, baadal.ChangeOptions{})
			mu.Lock()
			defer mu.Unlock()
			switch baadal.KindOf(err) {
			case "":
				made = append(made, ch.Task)
			case baadal.Exhausted:
				refusals[baadal.CodeOf(err)]++
			default:
				t.Errorf("%s: %v", in.Name, err)
			}
		})
	}
	wg.Wait()
	return made, refusals
}

func (c *cloud) checkClaims(t *testing.T, vms int) {
	t.Helper()
	c.view(t, func(tx *store.Tx) error {
		all, err := tx.AllVMs()
		if err != nil {
			return err
		}
		if len(all) != vms {
			t.Errorf("%d VMs are stored, want %d", len(all), vms)
		}
		owner := map[string]string{}
		type sum struct{ vcpus, ram int }
		sums := map[int64]sum{}
		for _, vm := range all {
			for _, claim := range []string{"address " + vm.Address, "MAC " + vm.MAC, fmt.Sprint("port ", vm.VNCPort), "identity " + vm.Identity, "UUID " + vm.UUID} {
				if other := owner[claim]; other != "" {
					t.Errorf("%s is both %s's and %s's", claim, other, vm.Name)
				}
				owner[claim] = vm.Name
			}
			if vm.Address == "" || vm.MAC == "" || vm.VNCPort < 20000 || vm.VNCPort > 20034 {
				t.Errorf("%s has address %q, MAC %q, port %d", vm.Name, vm.Address, vm.MAC, vm.VNCPort)
			}
			s := sums[vm.HostID]
			sums[vm.HostID] = sum{s.vcpus + vm.VCPUs, s.ram + vm.RAMMiB}
		}
		hosts, err := tx.AllHosts()
		if err != nil {
			return err
		}
		for _, h := range hosts {
			if s := sums[h.ID]; s.vcpus > 2*h.CPUs || s.ram > 2*h.RAMMiB || s.vcpus != h.ClaimedVCPUs || s.ram != h.ClaimedRAMMiB {
				t.Errorf("%s carries %+v; it counts %d vCPUs and %d MiB, its limits are %d and %d", h.Name, s, h.ClaimedVCPUs, h.ClaimedRAMMiB, 2*h.CPUs, 2*h.RAMMiB)
			}
		}
		claimed, err := tx.ClaimedAddresses()
		if err == nil && len(claimed) != vms {
			t.Errorf("%d addresses are claimed for %d VMs", len(claimed), vms)
		}
		return err
	})
}

func (c *cloud) checkAllFree(t *testing.T, deleted int) {
	t.Helper()
	c.view(t, func(tx *store.Tx) error {
		all, err := tx.AllVMs()
		if err != nil {
			return err
		}
		for _, vm := range all {
			if vm.State != baadal.VMDeleted || vm.Address != "" || vm.VNCPort != 0 || vm.HostID != 0 || vm.Task != nil {
				t.Errorf("%s is %s and has %q, port %d, host %q", vm.Name, vm.State, vm.Address, vm.VNCPort, vm.Host)
			}
		}
		if len(all) != deleted {
			t.Errorf("%d VMs can be restored, want %d", len(all), deleted)
		}
		hosts, err := tx.AllHosts()
		if err != nil {
			return err
		}
		for _, h := range hosts {
			if h.VMs+h.ClaimedVCPUs+h.ClaimedRAMMiB != 0 {
				t.Errorf("%s: %d VMs, %d vCPUs, %d MiB are claimed still", h.Name, h.VMs, h.ClaimedVCPUs, h.ClaimedRAMMiB)
			}
		}
		networks, err := tx.AllNetworks()
		if err != nil {
			return err
		}
		for _, n := range networks {
			if n.Free != n.Addresses || n.VMs != 0 {
				t.Errorf("%s: %d of %d addresses are free, %d VMs", n.Name, n.Free, n.Addresses, n.VMs)
			}
		}
		active, err := tx.ActiveTasks()
		if err == nil && len(active) != 0 {
			t.Errorf("%d tasks are not done", len(active))
		}
		return err
	})
}
