// Package libvirttest is the conformance suite of hypervisors: what the real
// libvirt does, its simulator must do, too. It also runs a private libvirtd for
// tests. It must not know how a hypervisor is reached.
package libvirttest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"baadal"
)

// Fixture is a hypervisor with one host to work on.
type Fixture struct {
	Hypervisor Hypervisor
	Host       baadal.Host

	// NewDomain makes a domain that can be defined and started, with a UUID, a
	// name and disks of its own. The suite destroys and undefines it.
	NewDomain func(t *testing.T) baadal.Domain

	// NewDisk makes an empty disk of 1 GiB that can be plugged in; nil if the driver cannot do that.
	NewDisk func(t *testing.T, target string) baadal.DomainDisk

	// NewISO makes a file that can be put into a CD drive; nil if the driver cannot change what is in one.
	NewISO func(t *testing.T) string

	// OtherNetwork is where a domain's NIC can be moved to, without a MAC; its zero if the driver cannot do that.
	OtherNetwork baadal.DomainNIC

	// NoHeadroom says that the driver knows no memory devices.
	NoHeadroom bool

	// Foreign makes a domain that nobody of ours defined and returns its UUID; nil if that cannot be done.
	Foreign func(t *testing.T) string

	// ShutdownWithin is how long a started domain takes to shut down when asked; 0 if it has nobody inside who listens.
	ShutdownWithin time.Duration

	// NoReset says that the driver cannot reset a domain.
	NoReset bool

	// Overlay makes an overlay on a domain's disk, and names a file that can be
	// made; nil if the driver has no disks.
	Overlay func(t *testing.T, d baadal.Domain) (overlay, free string)

	NoImages bool // its snapshots have no data apart from their descriptions

	// NoCounters says that the driver lists active domains but counts nothing.
	NoCounters bool

	// NewNetwork names a libvirt network that the host does not have; nil if the
	// driver cannot change networks.
	NewNetwork func(t *testing.T) string

	// DeafBalloon says that there is no guest that gives memory back.
	DeafBalloon bool
}

// Exercise runs the suite. newFixture is called once per test.
func Exercise(t *testing.T, newFixture func(t *testing.T) Fixture) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(*testing.T, Fixture)
	}{
		{"Define", testDefine},
		{"DefineWhileRunning", testDefineWhileRunning},
		{"DefineRefused", testDefineRefused},
		{"Start", testStart},
		{"Destroy", testDestroy},
		{"Undefine", testUndefine},
		{"Shutdown", testShutdown},
		{"Reboot", testReboot},
		{"Suspend", testSuspend},
		{"Reset", testReset},
		{"Save", testSave},
		{"Resize", testResize},
		{"Headroom", testHeadroom},
		{"Stats", testStats},
		{"Snapshots", testSnapshots},
		{"CarrySnapshots", testCarrySnapshots},
		{"Half", testHalf},
		{"Freeze", testFreeze},
		{"Backups", testBackups},
		{"CopyDisk", testCopy},
		{"Foreign", testForeign},
		{"Unknown", testUnknown},
		{"Plug", testPlug},
		{"Drive", testDrive},
		{"NICs", testNICs},
		{"Autostart", testAutostart},
		{"Networks", testNetworks},
		{"Domains", testDomains},
		{"Events", testEvents},
		{"WatchEnds", testWatchEnds},
		{"Cancelled", testCancelled},
		{"Parallel", testParallel},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, newFixture(t)) })
	}
}

// nowhere is a UUID that no host knows.
const nowhere = "00000000-1111-4222-8333-444444444444"

// define makes a new domain and removes it with the test.
func (f Fixture) define(t *testing.T) baadal.Domain {
	t.Helper()
	d := f.NewDomain(t)
	f.remove(t, d.UUID)
	must(t, f.Hypervisor.Define(t.Context(), f.Host, d))
	return d
}

func (f Fixture) start(t *testing.T) baadal.Domain {
	t.Helper()
	d := f.define(t)
	must(t, f.Hypervisor.Start(t.Context(), f.Host, d.UUID))
	return d
}

// remove leaves nothing of a domain when the test ends.
func (f Fixture) remove(t *testing.T, uuid string) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
		defer cancel()
		if err := errors.Join(f.Hypervisor.Destroy(ctx, f.Host, uuid), f.Hypervisor.Undefine(ctx, f.Host, uuid)); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
}

func (f Fixture) wantState(t *testing.T, uuid string, want baadal.VMState) {
	t.Helper()
	got, err := f.Hypervisor.Domain(t.Context(), f.Host, uuid)
	must(t, err)
	if got.State != want {
		t.Fatalf("state is %s, want %s", got.State, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t *testing.T, err error, kind baadal.Kind) {
	t.Helper()
	if baadal.KindOf(err) != kind {
		t.Fatalf("error is %q (%v), want kind %q", baadal.KindOf(err), err, kind)
	}
}

func infoOf(d baadal.Domain, state baadal.VMState) baadal.DomainInfo {
	return baadal.DomainInfo{UUID: d.UUID, Name: d.Name, VMID: d.VMID, State: state, Persistent: true, VCPUs: d.VCPUs, RAMMiB: d.RAMMiB}
}

func testDefine(t *testing.T, f Fixture) {
	d := f.define(t)
	must(t, f.Hypervisor.Define(t.Context(), f.Host, d))
	got, err := f.Hypervisor.Domain(t.Context(), f.Host, d.UUID)
	must(t, err)
	if want := infoOf(d, baadal.VMOff); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func testDefineWhileRunning(t *testing.T, f Fixture) {
	d := f.start(t)
	d.RAMMiB *= 2
	must(t, f.Hypervisor.Define(t.Context(), f.Host, d))
	f.wantState(t, d.UUID, baadal.VMRunning)
	must(t, f.Hypervisor.Destroy(t.Context(), f.Host, d.UUID))
	got, err := f.Hypervisor.Domain(t.Context(), f.Host, d.UUID)
	must(t, err)
	if want := infoOf(d, baadal.VMOff); got != want {
		t.Errorf("the new definition is not there: %+v, want %+v", got, want)
	}
}

func testDefineRefused(t *testing.T, f Fixture) {
	d := f.define(t)
	other := f.NewDomain(t)
	other.Name = d.Name
	wantKind(t, f.Hypervisor.Define(t.Context(), f.Host, other), baadal.Conflict)
	for _, spoil := range []func(*baadal.Domain){
		func(d *baadal.Domain) { d.UUID = "not-a-uuid" },
		func(d *baadal.Domain) { d.Name = "" },
		func(d *baadal.Domain) { d.Virt = "magic" },
		func(d *baadal.Domain) { d.RAMMiB = 0 },
		func(d *baadal.Domain) { d.VCPUs = 0 },
		func(d *baadal.Domain) { d.Disks = nil },
	} {
		bad := f.NewDomain(t)
		spoil(&bad)
		wantKind(t, f.Hypervisor.Define(t.Context(), f.Host, bad), baadal.Invalid)
	}
}

func testStart(t *testing.T, f Fixture) {
	d := f.start(t)
	f.wantState(t, d.UUID, baadal.VMRunning)
	must(t, f.Hypervisor.Start(t.Context(), f.Host, d.UUID))
	got, err := f.Hypervisor.Domain(t.Context(), f.Host, d.UUID)
	must(t, err)
	if want := infoOf(d, baadal.VMRunning); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func testDestroy(t *testing.T, f Fixture) {
	d := f.start(t)
	for range 2 {
		must(t, f.Hypervisor.Destroy(t.Context(), f.Host, d.UUID))
		f.wantState(t, d.UUID, baadal.VMOff)
	}
	must(t, f.Hypervisor.Start(t.Context(), f.Host, d.UUID))
	f.wantState(t, d.UUID, baadal.VMRunning)
}

func testUndefine(t *testing.T, f Fixture) {
	d := f.start(t)
	wantKind(t, f.Hypervisor.Undefine(t.Context(), f.Host, d.UUID), baadal.Conflict)
	got, err := f.Hypervisor.Domain(t.Context(), f.Host, d.UUID)
	must(t, err)
	if want := infoOf(d, baadal.VMRunning); got != want {
		t.Errorf("the refused call changed it: %+v, want %+v", got, want)
	}
	must(t, f.Hypervisor.Destroy(t.Context(), f.Host, d.UUID))
	for range 2 {
		must(t, f.Hypervisor.Undefine(t.Context(), f.Host, d.UUID))
		_, err = f.Hypervisor.Domain(t.Context(), f.Host, d.UUID)
		wantKind(t, err, baadal.NotFound)
	}
	must(t, f.Hypervisor.Define(t.Context(), f.Host, d))
	f.wantState(t, d.UUID, baadal.VMOff)
}

func testShutdown(t *testing.T, f Fixture) {
	d := f.define(t)
	must(t, f.Hypervisor.Shutdown(t.Context(), f.Host, d.UUID)) // off already
	must(t, f.Hypervisor.Start(t.Context(), f.Host, d.UUID))
	began := time.Now()
	must(t, f.Hypervisor.Shutdown(t.Context(), f.Host, d.UUID))
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("returned after %s, not at once", took)
	}
	if f.ShutdownWithin == 0 {
		return
	}
	for time.Since(began) < f.ShutdownWithin {
		got, err := f.Hypervisor.Domain(t.Context(), f.Host, d.UUID)
		must(t, err)
		if got.State == baadal.VMOff {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("it is not off %s after it was asked", f.ShutdownWithin)
}

func testReboot(t *testing.T, f Fixture) {
	d := f.define(t)
	wantKind(t, f.Hypervisor.Reboot(t.Context(), f.Host, d.UUID), baadal.Conflict)
	must(t, f.Hypervisor.Start(t.Context(), f.Host, d.UUID))
	must(t, f.Hypervisor.Reboot(t.Context(), f.Host, d.UUID))
}

func testUnknown(t *testing.T, f Fixture) {
	ctx, h := t.Context(), f.Hypervisor
	_, err := h.Domain(ctx, f.Host, nowhere)
	wantKind(t, err, baadal.NotFound)
	wantKind(t, h.Start(ctx, f.Host, nowhere), baadal.NotFound)
	wantKind(t, h.Shutdown(ctx, f.Host, nowhere), baadal.NotFound)
	wantKind(t, h.Reboot(ctx, f.Host, nowhere), baadal.NotFound)
	must(t, h.Destroy(ctx, f.Host, nowhere))
	must(t, h.Undefine(ctx, f.Host, nowhere))
}

func testDomains(t *testing.T, f Fixture) {
	off, running := f.define(t), f.start(t)
	foreign := ""
	if f.Foreign != nil {
		foreign = f.Foreign(t)
	}
	for range 2 { // what is known from the first look must not change the second
		all, err := f.Hypervisor.Domains(t.Context(), f.Host)
		must(t, err)
		got := map[string]baadal.DomainInfo{}
		for _, d := range all {
			if _, twice := got[d.UUID]; twice {
				t.Errorf("%s is listed twice", d.Name)
			}
			got[d.UUID] = d
		}
		if want := infoOf(off, baadal.VMOff); got[off.UUID] != want {
			t.Errorf("got %+v, want %+v", got[off.UUID], want)
		}
		if want := infoOf(running, baadal.VMRunning); got[running.UUID] != want {
			t.Errorf("got %+v, want %+v", got[running.UUID], want)
		}
		if d, ok := got[foreign]; foreign != "" && (!ok || d.VMID != 0) {
			t.Errorf("foreign domain: %+v, listed %t", d, ok)
		}
	}
	must(t, f.Hypervisor.Undefine(t.Context(), f.Host, off.UUID))
	off.RAMMiB *= 2
	must(t, f.Hypervisor.Define(t.Context(), f.Host, off))
	all, err := f.Hypervisor.Domains(t.Context(), f.Host)
	must(t, err)
	for _, d := range all {
		if d.UUID == off.UUID && d.RAMMiB != off.RAMMiB {
			t.Errorf("memory is %d MiB after it was defined with %d", d.RAMMiB, off.RAMMiB)
		}
	}
}

// watcher collects the events of a running Watch.
type watcher struct {
	mu     sync.Mutex
	events []baadal.DomainEvent
	ended  chan error
	over   bool
	late   bool // an event came after the end
}

func (f Fixture) watch(ctx context.Context, t *testing.T) *watcher {
	t.Helper()
	w := &watcher{ended: make(chan error, 1)}
	go func() {
		err := f.Hypervisor.Watch(ctx, f.Host, func(e baadal.DomainEvent) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.late = w.late || w.over
			w.events = append(w.events, e)
		})
		w.mu.Lock()
		w.over = true
		w.mu.Unlock()
		w.ended <- err
	}()
	if first := w.await(t, "", func(baadal.DomainEvent) bool { return true }); first.At.IsZero() {
		t.Error("the first event has no time")
	}
	return w
}

// await waits up to a second for an event of uuid that fits.
func (w *watcher) await(t *testing.T, uuid string, fits func(baadal.DomainEvent) bool) baadal.DomainEvent {
	t.Helper()
	for began := time.Now(); time.Since(began) < time.Second; time.Sleep(2 * time.Millisecond) {
		w.mu.Lock()
		events := w.events
		w.mu.Unlock()
		for i, e := range events {
			if i == 0 && e.UUID != "" {
				t.Fatalf("the first event is %+v, not the empty one", e)
			}
			if e.UUID == uuid && fits(e) {
				w.mu.Lock()
				w.events = append(w.events[:1:1], w.events[i+1:]...)
				w.mu.Unlock()
				return e
			}
		}
	}
	t.Fatalf("no such event of %q in a second; seen %+v", uuid, w.events)
	return baadal.DomainEvent{}
}

func testEvents(t *testing.T, f Fixture) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := f.watch(ctx, t)
	d := f.NewDomain(t)
	f.remove(t, d.UUID)
	for _, step := range []struct {
		act  func(context.Context, baadal.Host, string) error
		want baadal.VMState
	}{
		{func(ctx context.Context, h baadal.Host, _ string) error { return f.Hypervisor.Define(ctx, h, d) }, baadal.VMUnknown},
		{f.Hypervisor.Start, baadal.VMRunning},
		{f.Hypervisor.Destroy, baadal.VMOff},
		{f.Hypervisor.Start, baadal.VMRunning},
		{f.Hypervisor.Destroy, baadal.VMOff},
		{f.Hypervisor.Undefine, baadal.VMMissing},
	} {
		must(t, step.act(t.Context(), f.Host, d.UUID))
		w.await(t, d.UUID, func(e baadal.DomainEvent) bool { return e.State == step.want })
	}
}

func testWatchEnds(t *testing.T, f Fixture) {
	ctx, cancel := context.WithCancel(t.Context())
	w := f.watch(ctx, t)
	other := f.watch(t.Context(), t) // two at once; it must not end with the first
	cancel()
	select {
	case err := <-w.ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Watch ended with %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("Watch does not end with its context")
	}
	d := f.start(t)
	other.await(t, d.UUID, func(e baadal.DomainEvent) bool { return e.State == baadal.VMRunning })
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.late {
		t.Error("fn was called after Watch had returned")
	}
}

func testCancelled(t *testing.T, f Fixture) {
	d := f.define(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	began := time.Now()
	_, errDomain := f.Hypervisor.Domain(ctx, f.Host, d.UUID)
	_, errDomains := f.Hypervisor.Domains(ctx, f.Host)
	for name, err := range map[string]error{
		"Domain": errDomain, "Domains": errDomains,
		"Watch": f.Hypervisor.Watch(ctx, f.Host, func(baadal.DomainEvent) {}),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s with an ended context: %v", name, err)
		}
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("took %s", took)
	}
	f.wantState(t, d.UUID, baadal.VMOff) // and others are not disturbed
}

func testParallel(t *testing.T, f Fixture) {
	domains := make([]baadal.Domain, 6)
	for i := range domains {
		domains[i] = f.NewDomain(t)
		f.remove(t, domains[i].UUID)
	}
	var wg sync.WaitGroup
	for _, d := range domains {
		wg.Go(func() {
			ctx, h := t.Context(), f.Hypervisor
			_, err := h.Domains(ctx, f.Host)
			for _, err := range []error{
				err, h.Define(ctx, f.Host, d), h.Start(ctx, f.Host, d.UUID),
				h.Destroy(ctx, f.Host, d.UUID), h.Undefine(ctx, f.Host, d.UUID),
			} {
				if err != nil {
					t.Errorf("%s: %v", d.Name, err)
				}
			}
		})
	}
	wg.Wait()
}
