package simulator_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/simulator"
)

// slow is a world in which things take their time.
func slow() simulator.Config {
	return simulator.Config{StartTime: time.Second, ShutdownTime: 5 * time.Second, BootTime: 10 * time.Second}
}

func TestStatesMoveByThemselves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, slow())
		begun := time.Now()
		h, hv := c.run("host1", uuid1, "IITD_a_web"), c.Hypervisor()
		if took := time.Since(begun); took != time.Second {
			t.Errorf("start took %s", took)
		}
		c.must(c.DHCP().Apply(t.Context(), []baadal.Reservation{{Name: "a", MAC: "A2:00:00:00:00:01", IP: "192.168.10.11"}}))
		answers := func() bool { return c.Guests().Answers(t.Context(), "192.168.10.11") }
		at := func(d time.Duration, state string, up bool) {
			t.Helper()
			time.Sleep(time.Until(begun.Add(d)))
			if got := c.state(h, uuid1); got != state || answers() != up {
				t.Errorf("after %s: %s, answers %t", d, got, answers())
			}
		}
		at(10*time.Second, "running", false)
		at(11*time.Second, "running", true)
		c.must(hv.Reboot(t.Context(), h, uuid1))
		at(15*time.Second, "running", true)
		at(16*time.Second, "running", false)
		at(26*time.Second, "running", true)
		c.must(hv.Shutdown(t.Context(), h, uuid1))
		at(28*time.Second, "running", true)
		c.must(hv.Shutdown(t.Context(), h, uuid1)) // again: does not put it off
		at(31*time.Second, "off", false)
		c.wants(hv.Reboot(t.Context(), h, uuid1), "conflict")
	})
}

func TestCutGuestsAreSilent(t *testing.T) {
	t.Parallel()
	c := open(t, simulator.Config{})
	c.run("host1", uuid1, "IITD_a_web")
	c.must(c.DHCP().Apply(t.Context(), []baadal.Reservation{{Name: "a", MAC: "A2:00:00:00:00:01", IP: "192.168.10.11"}}))
	for _, want := range []bool{true, false} {
		if got := c.Guests().Answers(t.Context(), "192.168.10.11"); got != want {
			t.Errorf("answers %t, want %t", got, want)
		}
		c.must(c.Cut("host1"))
	}
	if c.Guests().Answers(t.Context(), "192.168.10.99") {
		t.Error("an address of nobody answers")
	}
}

// watching collects the events of a host until the test or the watch ends.
func watching(ctx context.Context, c *cloud, h baadal.Host) (events chan baadal.DomainEvent, ended chan error) {
	events, ended = make(chan baadal.DomainEvent, 100), make(chan error, 1)
	go func() { ended <- c.Hypervisor().Watch(ctx, h, func(e baadal.DomainEvent) { events <- e }) }()
	return events, ended
}

func drain(events chan baadal.DomainEvent) (got []string) {
	for {
		select {
		case e := <-events:
			if e.UUID == "" {
				got = append(got, "look")
				continue
			}
			got = append(got, e.State.String())
		default:
			return got
		}
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, slow())
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		h, hv := c.host("host1"), c.Hypervisor()
		events, ended := watching(ctx, c, h)
		others, _ := watching(ctx, c, c.host("host2"))
		synctest.Wait()
		c.run("host1", uuid1, "IITD_a_web")
		c.must(hv.Shutdown(ctx, h, uuid1))
		asked := time.Now()
		synctest.Wait()
		if d := cmp.Diff([]string{"look", "unknown", "running"}, drain(events)); d != "" {
			t.Error(d)
		}
		e := <-events // nobody else wakes the world
		if e.UUID != uuid1 || e.State != baadal.VMOff || !e.At.Equal(asked.Add(5*time.Second)) || !time.Now().Equal(e.At) {
			t.Errorf("event %+v at %s", e, time.Now())
		}
		c.must(c.VirshStart("host1", uuid1))
		c.must(c.VirshDestroy("host1", uuid1))
		c.must(c.VirshUndefine("host1", uuid1))
		synctest.Wait()
		if d := cmp.Diff([]string{"running", "off", "missing"}, drain(events)); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]string{"look"}, drain(others)); d != "" {
			t.Errorf("the other host: %s", d)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("watch ended with %v", err)
		}
	})
}

func TestWatchArmedForWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, slow())
		h := c.run("host1", uuid1, "IITD_a_web")
		c.must(c.Hypervisor().Shutdown(t.Context(), h, uuid1))
		ctx, cancel := context.WithCancel(t.Context())
		events, ended := watching(ctx, c, h)
		<-events
		begun := time.Now()
		if e := <-events; e.State != baadal.VMOff || time.Since(begun) != 5*time.Second {
			t.Errorf("event %+v after %s", e, time.Since(begun))
		}
		cancel()
		<-ended
	})
}

func TestWatchEndsWithTheConnection(t *testing.T) {
	t.Parallel()
	acts := map[string]func(c *cloud) error{
		"power":    func(c *cloud) error { return c.PowerOff("host1") },
		"cut":      func(c *cloud) error { return c.Cut("host1") },
		"libvirtd": func(c *cloud) error { return c.RestartLibvirtd("host1") },
		"world":    func(c *cloud) error { return c.Close() },
	}
	for name, act := range acts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := open(t, simulator.Config{})
			events, ended := watching(t.Context(), c, c.host("host1"))
			<-events
			c.must(act(c))
			c.wants(<-ended, "unavailable")
		})
	}
}

func TestHungLibvirtd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, simulator.Config{})
		h := c.run("host1", uuid1, "IITD_a_web")
		c.must(c.Hang("host1", true))
		begun := time.Now()
		_, err := c.Hypervisor().Domains(t.Context(), h)
		c.wants(err, "unavailable")
		if took := time.Since(begun); took != 30*time.Second {
			t.Errorf("gave up after %s", took)
		}
		short, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		c.wants(c.Hypervisor().Destroy(short, h, uuid1), "unavailable/host_timeout")

		// Neither other hosts nor sshd wait for it.
		begun = time.Now()
		_, err = c.Hypervisor().Domains(t.Context(), c.host("host2"))
		c.must(err)
		c.must(c.Prober().Alive(t.Context(), h))
		if took := time.Since(begun); took != 0 {
			t.Errorf("others waited %s", took)
		}

		// What happens meanwhile is told later, and calls that wait go on.
		c.must(c.Hang("host1", false))
		ctx, cancel := context.WithCancel(t.Context())
		events, ended := watching(ctx, c, h)
		<-events
		c.must(c.Hang("host1", true))
		c.must(c.VirshDestroy("host1", uuid1))
		synctest.Wait()
		if got := drain(events); len(got) != 0 {
			t.Errorf("a hung libvirtd told %q", got)
		}
		late := make(chan error, 1)
		go func() { late <- c.Hypervisor().Start(t.Context(), h, uuid1) }()
		time.Sleep(5 * time.Second)
		c.must(c.Hang("host1", false))
		c.must(<-late)
		synctest.Wait()
		if got := drain(events); !slices.Equal(got, []string{"off", "running"}) {
			t.Errorf("told %q", got)
		}
		cancel()
		<-ended
	})
}

func TestWatchGivesAHungLibvirtdUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, simulator.Config{})
		events, ended := watching(t.Context(), c, c.host("host1"))
		<-events
		begun := time.Now()
		c.must(c.Hang("host1", true))
		c.wants(<-ended, "unavailable/host_timeout")
		if took := time.Since(begun); took < 30*time.Second || took > 31*time.Second {
			t.Errorf("after %s", took)
		}
	})
}

func TestSilentHost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, simulator.Config{})
		h := c.create("host1", uuid1, "IITD_a_web")
		before := c.Snapshot()
		c.must(c.Cut("host1"))
		begun := time.Now()
		c.wants(c.Hypervisor().Start(t.Context(), h, uuid1), "unavailable/host_unreachable")
		c.wants(c.Disks().RemoveImage(t.Context(), h, store, "IITD_a_web", uuid1), "unavailable/host_unreachable")
		_, _, err := c.Prober().Fingerprint(t.Context(), "10.77.0.11:2222")
		c.wants(err, "unavailable")
		if took := time.Since(begun); took != 60*time.Millisecond {
			t.Errorf("three calls took %s", took)
		}
		c.wants(c.Prober().Alive(t.Context(), baadal.Host{Address: "10.77.9.9"}), "unavailable")
		c.must(c.Heal("host1"))
		if d := cmp.Diff(before, c.Snapshot()); d != "" {
			t.Error(d)
		}
	})
}

func TestLatencyDoesNotAddUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, simulator.Config{Hosts: 50, Latency: func(string) time.Duration { return time.Second }})
		begun := time.Now()
		done := make(chan error)
		for i := range 50 {
			h := c.host([]string{"host1", "host2", "host3"}[i%3])
			go func() { _, err := c.Hypervisor().Domains(t.Context(), h); done <- err }()
		}
		for range 50 {
			c.must(<-done)
		}
		if took := time.Since(begun); took != time.Second {
			t.Errorf("50 calls of 1 s at once took %s", took)
		}
	})
}

func TestTickWithAnotherClock(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := open(t, simulator.Config{ShutdownTime: time.Hour, Now: func() time.Time { return now }})
	h := c.run("host1", uuid1, "IITD_a_web")
	c.must(c.Hypervisor().Shutdown(t.Context(), h, uuid1))
	ctx, cancel := context.WithCancel(t.Context())
	events, ended := watching(ctx, c, h)
	<-events
	if got := c.state(h, uuid1); got != "running" {
		t.Fatal(got)
	}
	cancel()
	<-ended
	now = now.Add(time.Hour)
	c.Tick()
	if got := c.state(h, uuid1); got != "off" {
		t.Error(got)
	}
}
