package e2e_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"baadal"
)

// chaosVM is a VM on its way, and what must be so afterwards.
type chaosVM struct {
	baadal.VM
	boot string // of its guest; another one means that it was booted anew
	role string // of what is lost next, seen from its migration
}

// chaos is the test's cloud: three VMs with two snapshots each.
type chaos struct {
	vms    []*chaosVM
	rnd    *rand.Rand
	want   int // how often each of the three is lost: the host that a VM leaves, the one that it goes to, the controller
	rounds map[string]int
	ended  map[string]int // how migrations ended
}

// TestMigrateChaos pulls the cord of the source, of the destination, and of the
// controller at ten random moments of a migration each. Afterwards each VM runs,
// or is off because its host died, in one place only, its snapshots are whole,
// and the audit is clean. Three VMs move at once: a host that dies is the source
// of some and the destination of others.
func TestMigrateChaos(t *testing.T) {
	if cloud == nil {
		t.Skip("a test on the lab: BAADAL_TEST_LAB is not set")
	}
	ctx, stop := context.WithTimeout(context.Background(), 15*time.Minute)
	defer stop()
	seed := number(t, "BAADAL_TEST_SEED", uint64(time.Now().UnixNano())) //nolint:gosec // any number
	t.Logf("BAADAL_TEST_SEED=%d", seed)
	c := &chaos{want: int(number(t, "BAADAL_TEST_ROUNDS", 10)), rnd: rand.New(rand.NewPCG(seed, 3)), rounds: map[string]int{}, ended: map[string]int{}} //nolint:gosec // random moments are all
	defer func() {
		for _, vm := range c.vms {
			remove(ctx, t, vm.UUID)
		}
	}()
	for i := range 3 {
		c.furnish(ctx, t, i)
	}
	begun := time.Now()
	for n := 0; c.rounds["source"] < c.want || c.rounds["destination"] < c.want; n++ {
		if n == 3*c.want {
			t.Fatalf("%v after %d waves", c.rounds, n)
		}
		c.loseHost(ctx, t)
	}
	for n := 0; c.rounds["controller"] < c.want; n++ {
		if n == 3*c.want {
			t.Fatalf("%v after %d kills", c.rounds, n)
		}
		c.loseController(ctx, t)
	}
	t.Logf("%v in %s; the migrations ended as %v", c.rounds, time.Since(begun).Round(time.Second), c.ended)
	for _, vm := range c.vms {
		c.revertToBoth(ctx, t, vm)
	}
}

// number reads a number from the environment.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// furnish makes a VM with two snapshots, before each of which a file was written.
func (c *chaos) furnish(ctx context.Context, t *testing.T, i int) {
	t.Helper()
	vm := guest(ctx, t, baadal.VMCreate{Name: fmt.Sprintf("chaos%d", i), Host: fmt.Sprintf("host%d", i+1)})
	c.vms = append(c.vms, &chaosVM{VM: vm})
	stayOff(ctx, t, vm)
	for _, name := range []string{"one", "two"} {
		ssh(ctx, t, vm, "echo "+name+" > /root/"+name+"; sync")
		ch, err := cloud.Client.CreateSnapshot(ctx, vm.UUID, baadal.SnapshotCreate{Name: name}, baadal.ChangeOptions{})
		snapshotAct(ctx, t, "Snapshotted successfully", ch, err)
	}
	c.vms[i].boot = ssh(ctx, t, vm, "cat", "/proc/sys/kernel/random/boot_id")
}

// sendAll begins a migration of each VM to the host that it is given, each at a
// moment of its own, and returns the tasks.
func (c *chaos) sendAll(ctx context.Context, t *testing.T, to func(*chaosVM) string) []int64 {
	t.Helper()
	tasks := make([]int64, len(c.vms))
	var wg sync.WaitGroup
	for i, vm := range c.vms {
		after := time.Duration(c.rnd.IntN(1500)) * time.Millisecond
		in := baadal.VMMigrate{To: to(vm), BandwidthMiBs: 12 + c.rnd.IntN(20)}
		wg.Go(func() {
			time.Sleep(after)
			ch, err := cloud.Client.MigrateVM(ctx, vm.UUID, in, baadal.ChangeOptions{})
			if err != nil {
				t.Errorf("migrate %s to %s: %v", vm.Name, in.To, err)
				return
			}
			tasks[i] = ch.Task.ID
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return tasks
}

// moment waits until some random point of the migrations that were begun just
// now.
func (c *chaos) moment() time.Duration {
	d := time.Duration(c.rnd.IntN(4000)) * time.Millisecond
	time.Sleep(d)
	return d
}

// loseHost moves the VMs of one host away and those of the others to it, and
// pulls its cord meanwhile.
func (c *chaos) loseHost(ctx context.Context, t *testing.T) {
	t.Helper()
	victim := c.pickVictim()
	others := slices.DeleteFunc([]string{"host1", "host2", "host3"}, func(h string) bool { return h == victim })
	for _, vm := range c.vms {
		vm.role = "destination"
		if vm.Host == victim {
			vm.role = "source"
		}
	}
	tasks := c.sendAll(ctx, t, func(vm *chaosVM) string {
		if vm.Host == victim {
			return others[c.rnd.IntN(len(others))]
		}
		return victim
	})
	after := c.moment()
	lost := time.Now()
	if err := theLab.Kill(ctx, victim); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Duration(c.rnd.IntN(6000)) * time.Millisecond)
	if err := theLab.Boot(ctx, victim); err != nil {
		t.Fatal(err)
	}
	quiet(ctx, t)
	eventually(t, time.Minute, "with all hosts up", func() error {
		h, err := cloud.Client.Host(ctx, victim)
		if err == nil && h.State != baadal.HostUp {
			err = fmt.Errorf("%s is %s: %s", victim, h.State, h.Reason)
		}
		return err
	})
	c.check(ctx, t, fmt.Sprintf("%s killed after %s", victim, after), victim, lost, tasks)
}

// pickVictim chooses the host to lose: one that gives rounds of the kind that
// is still wanted.
func (c *chaos) pickVictim() string {
	has := map[string]int{"host1": 0, "host2": 0, "host3": 0}
	for _, vm := range c.vms {
		has[vm.Host]++
	}
	hosts := []string{"host1", "host2", "host3"}
	c.rnd.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	slices.SortStableFunc(hosts, func(a, b string) int {
		if c.rounds["source"] <= c.rounds["destination"] {
			return has[b] - has[a]
		}
		return has[a] - has[b]
	})
	return hosts[0]
}

// loseController kills the server while all VMs move.
func (c *chaos) loseController(ctx context.Context, t *testing.T) {
	t.Helper()
	tasks := c.sendAll(ctx, t, func(vm *chaosVM) string {
		others := slices.DeleteFunc([]string{"host1", "host2", "host3"}, func(h string) bool { return h == vm.Host })
		return others[c.rnd.IntN(len(others))]
	})
	for _, vm := range c.vms {
		vm.role = "controller"
	}
	after := c.moment()
	lost := time.Now()
	if err := cloud.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cloud.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	quiet(ctx, t)
	c.check(ctx, t, fmt.Sprintf("controller killed after %s", after), "", lost, tasks)
}

// domstate is virsh's word for the states that a VM may be in.
var domstate = map[baadal.VMState]string{baadal.VMRunning: "running", baadal.VMOff: "shut off"}

// check counts the migrations that were on their way, looks where each VM is,
// that it is nowhere else, and whether its snapshots are whole, and starts what
// lost its power with the host dead.
func (c *chaos) check(ctx context.Context, t *testing.T, what, dead string, lost time.Time, tasks []int64) {
	t.Helper()
	var off []*chaosVM
	for i, vm := range c.vms {
		done, err := cloud.Client.Task(ctx, tasks[i])
		if err != nil {
			t.Fatal(err)
		}
		from := vm.Host
		eventually(t, time.Minute, "with "+vm.Name+" looked at", func() (err error) {
			if vm.VM, err = cloud.Client.VM(ctx, vm.UUID); err != nil {
				return err
			}
			if seen := node(ctx, t, vm.Host, "virsh", "-q", "domstate", vm.UUID); seen != domstate[vm.State] {
				return fmt.Errorf("it is %s, and %s on %s", vm.State, seen, vm.Host)
			}
			return nil
		})
		if done.EndedAt == nil || done.EndedAt.After(lost) { // it was on its way
			c.rounds[vm.role]++
			c.ended[done.State.String()]++
		}
		t.Logf("%s: %s of %s from %s: %s on %s; %s %s", what, "migration", vm.Name, from, vm.State, vm.Host, done.State, done.Message)
		if vm.State == baadal.VMOff {
			off = append(off, vm)
			if vm.Host != dead {
				t.Errorf("%s is off on %s, which did not die", vm.Name, vm.Host)
			}
		} else if boot := ssh(ctx, t, vm.VM, "cat", "/proc/sys/kernel/random/boot_id"); boot != vm.boot {
			t.Errorf("the guest of %s was booted anew", vm.Name)
		}
		if tree := node(ctx, t, vm.Host, "virsh", "-q", "snapshot-list", "--tree", vm.UUID); strings.Join(strings.Fields(tree), " ") != "one | +- two" {
			t.Errorf("%s knows these snapshots of %s:\n%s", vm.Host, vm.Name, tree)
		}
	}
	c.onlyThere(ctx, t)
	cleanAudit(ctx, t)
	if t.Failed() {
		t.FailNow()
	}
	for _, vm := range off {
		vmAct(ctx, t, cloud.Client.StartVM, vm.UUID)
		now, err := cloud.WaitAnswer(ctx, vm.UUID)
		if err != nil {
			t.Fatal(err)
		}
		vm.VM, vm.boot = now, ssh(ctx, t, now, "cat", "/proc/sys/kernel/random/boot_id")
	}
}

// onlyThere checks that each VM is on the host that the cloud says and on no
// other.
func (c *chaos) onlyThere(ctx context.Context, t *testing.T) {
	t.Helper()
	for _, h := range []string{"host1", "host2", "host3"} {
		has := virsh(ctx, t, h)
		for _, vm := range c.vms {
			want := ""
			if vm.Host == h {
				want = domstate[vm.State]
			}
			if has[vm.UUID] != want {
				t.Errorf("on %s %s is %q, want %q", h, vm.Name, has[vm.UUID], want)
			}
		}
	}
}

// revertToBoth shows that the data of both snapshots is there.
func (c *chaos) revertToBoth(ctx context.Context, t *testing.T, vm *chaosVM) {
	t.Helper()
	for _, x := range []struct{ name, files string }{{"one", "one"}, {"two", "one\ntwo"}} {
		ch, err := cloud.Client.RevertSnapshot(ctx, vm.UUID, x.name, baadal.ChangeOptions{})
		snapshotAct(ctx, t, "Reverted to snapshot successfully", ch, err)
		if got := ssh(ctx, t, vm.VM, "cd /root; cat one two 2>/dev/null; true"); got != x.files {
			t.Errorf("%s reverted to %s: %q", vm.Name, x.name, got)
		}
	}
}
