package placement_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/placement"
)

var limits = placement.LimitsOf(nil)

func host(id int64, cpus, ram, vcpus, claimed int) baadal.Host {
	return baadal.Host{
		ID: id, Name: fmt.Sprintf("host%d", id), State: baadal.HostUp, VMs: vcpus, ClaimedVCPUs: vcpus, ClaimedRAMMiB: claimed,
		HostFacts: baadal.HostFacts{CPUs: cpus, RAMMiB: ram},
	}
}

func datastore(id, freeGiB int64) baadal.Datastore {
	return baadal.Datastore{ID: id, Name: fmt.Sprintf("ds%d", id), State: baadal.DatastoreOK, Capacity: 100 << 30, Free: freeGiB << 30}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	down := host(9, 64, 1<<20, 0, 0)
	down.State, down.Reason = baadal.HostDown, "it does not answer"
	now := time.Now()
	elsewhere := datastore(1, 50)
	elsewhere.MeasuredAt, elsewhere.Hosts = &now, []string{"host2"}
	readOnly := datastore(1, 50)
	readOnly.State = baadal.DatastoreReadOnly
	want := placement.Want{VCPUs: 2, RAMMiB: 1024, DiskBytes: 1 << 30}
	for name, c := range map[string]struct {
		hosts  []baadal.Host
		stores []baadal.Datastore
		want   placement.Want
		host   string // chosen, or
		err    string // part of the error
	}{
		"emptiest":                {[]baadal.Host{host(1, 8, 8192, 4, 4096), host(2, 8, 8192, 0, 0)}, []baadal.Datastore{datastore(1, 50)}, want, "host2", ""},
		"tie goes to lower id":    {[]baadal.Host{host(2, 8, 8192, 0, 0), host(1, 8, 8192, 0, 0)}, []baadal.Datastore{datastore(1, 50)}, want, "host1", ""},
		"down is left out":        {[]baadal.Host{down, host(1, 8, 8192, 8, 4096)}, []baadal.Datastore{datastore(1, 50)}, want, "host1", ""},
		"wider than the host":     {[]baadal.Host{host(1, 1, 8192, 0, 0)}, []baadal.Datastore{datastore(1, 50)}, want, "", "it has 1 CPUs"},
		"memory claimed":          {[]baadal.Host{host(1, 8, 1024, 0, 1025)}, []baadal.Datastore{datastore(1, 50)}, want, "", "memory: 1025 of 2048 MiB are claimed"},
		"exactly full is allowed": {[]baadal.Host{host(1, 8, 1024, 14, 1024)}, []baadal.Datastore{datastore(1, 50)}, want, "host1", ""},
		"vcpus claimed":           {[]baadal.Host{host(1, 8, 8192, 15, 0)}, []baadal.Datastore{datastore(1, 50)}, want, "", "vCPUs: 15 of 16 are claimed"},
		"asked for":               {[]baadal.Host{host(1, 8, 8192, 4, 4096), host(2, 8, 8192, 0, 0)}, []baadal.Datastore{datastore(1, 50)}, placement.Want{VCPUs: 1, RAMMiB: 64, Host: 1}, "host1", ""},
		"datastore elsewhere":     {[]baadal.Host{host(1, 8, 8192, 0, 0), host(2, 8, 8192, 4, 4096)}, []baadal.Datastore{elsewhere}, want, "host2", ""},
		"no datastore":            {[]baadal.Host{host(1, 8, 8192, 0, 0)}, nil, want, "", "No datastore found."},
		"read-only datastore":     {[]baadal.Host{host(1, 8, 8192, 0, 0)}, []baadal.Datastore{readOnly}, want, "", "it is read only"},
		"full datastore":          {[]baadal.Host{host(1, 8, 8192, 0, 0)}, []baadal.Datastore{datastore(1, 0)}, want, "", "must stay free"},
		"over-claimed datastore":  {[]baadal.Host{host(1, 8, 8192, 0, 0)}, []baadal.Datastore{datastore(1, 50)}, placement.Want{VCPUs: 1, RAMMiB: 64, DiskBytes: 401 << 30}, "", "no datastore has room"},
		"no host":                 {nil, []baadal.Datastore{datastore(1, 50)}, want, "", "there is no host yet"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := placement.Choose(c.hosts, c.stores, c.want, limits)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || baadal.KindOf(err) != baadal.Exhausted {
					t.Fatalf("error = %v, want one with %q", err, c.err)
				}
				return
			}
			if err != nil || got.Host.Name != c.host {
				t.Fatalf("chose %q, %v; want %s", got.Host.Name, err, c.host)
			}
			if !strings.HasPrefix(got.Why, c.host+": ") {
				t.Errorf("why = %q does not speak of %s", got.Why, c.host)
			}
		})
	}
}

// TestChooseNeverOverfills places random VMs until nothing fits and checks the
// limits after every one.
func TestChooseNeverOverfills(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a repeatable test
	for range 50 {
		var hosts []baadal.Host
		for i := range 1 + rnd.IntN(6) {
			hosts = append(hosts, host(int64(i+1), 1+rnd.IntN(32), 512+rnd.IntN(32768), 0, 0))
		}
		placed := 0
		for misses := 0; misses < 10; {
			w := placement.Want{VCPUs: 1 + rnd.IntN(8), RAMMiB: 64 + rnd.IntN(8192)}
			c, err := placement.Choose(hosts, []baadal.Datastore{datastore(1, 50)}, w, limits)
			if err != nil {
				misses++
				continue
			}
			placed++
			for i := range hosts {
				if hosts[i].ID == c.Host.ID {
					hosts[i].ClaimedVCPUs += w.VCPUs
					hosts[i].ClaimedRAMMiB += w.RAMMiB
					hosts[i].VMs++
				}
				if hosts[i].ClaimedVCPUs > 2*hosts[i].CPUs || hosts[i].ClaimedRAMMiB > 2*hosts[i].RAMMiB {
					t.Fatalf("host %+v is over-filled", hosts[i])
				}
			}
		}
		if placed == 0 && hosts[0].CPUs >= 8 {
			t.Fatal("nothing was ever placed")
		}
	}
}
