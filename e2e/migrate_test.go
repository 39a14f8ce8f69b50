package e2e_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/lab"
)

// guest makes a VM that answers to SSH.
func guest(ctx context.Context, t *testing.T, in baadal.VMCreate) baadal.VM {
	t.Helper()
	key, err := theLab.SSHPublicKey()
	if err != nil {
		t.Fatal(err)
	}
	in.SSHKeys = []string{key}
	vm := create(ctx, t, in)
	if vm, err = cloud.WaitAnswer(ctx, vm.UUID); err != nil {
		t.Fatal(err)
	}
	return vm
}

// migrate moves a VM and waits for the end of it, good or not.
func migrate(ctx context.Context, t *testing.T, ref string, in baadal.VMMigrate) baadal.Task {
	t.Helper()
	c, err := cloud.Client.MigrateVM(ctx, ref, in, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	done, err := cloud.Client.WaitTask(ctx, c.Task.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range done.Steps {
		t.Logf("%-20s %s %s", s.Name, s.State, s.Detail+s.Error)
	}
	return done
}

// onlyOn checks that of all hosts one has the VM's domain, in some state, and
// that the cloud says so.
func onlyOn(ctx context.Context, t *testing.T, ref, host, state string) {
	t.Helper()
	vm, err := cloud.Client.VM(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	if vm.Host != host {
		t.Errorf("%s is on %s, want %s", vm.Name, vm.Host, host)
	}
	for _, h := range []string{"host1", "host2", "host3"} {
		want := ""
		if h == host {
			want = state
		}
		if got := virsh(ctx, t, h)[vm.UUID]; got != want {
			t.Errorf("on %s it is %q, want %q", h, got, want)
		}
	}
}

var stamped = regexp.MustCompile(`^\[([0-9.]+)\] .*icmp_seq`)

// watched runs fn while the guest's address is pinged and one TCP connection to
// it tells its time, and returns the longest silence of each.
func watched(ctx context.Context, t *testing.T, vm baadal.VM, fn func()) (ping, tcp time.Duration) {
	t.Helper()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	gap := func(cmd *exec.Cmd, at func(line string) (time.Time, bool)) (longest func() time.Duration) {
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		result := make(chan time.Duration, 1)
		began := make(chan bool)
		go func() {
			var last time.Time
			var worst time.Duration
			lines := bufio.NewScanner(out)
			for lines.Scan() {
				now, ok := at(lines.Text())
				if !ok {
					continue
				}
				if last.IsZero() {
					close(began)
				} else {
					worst = max(worst, now.Sub(last))
				}
				last = now
			}
			result <- max(worst, time.Since(last)) // what is lost says nothing any more
		}()
		select {
		case <-began:
		case <-time.After(20 * time.Second):
			t.Fatalf("nothing comes from %q", cmd.Args)
		}
		return func() time.Duration {
			_ = cmd.Process.Kill()
			worst := <-result
			_ = cmd.Wait()
			return worst
		}
	}
	inNet := func(argv ...string) *exec.Cmd {
		return theLab.CommandWith(ctx, lab.Controller, lab.ExecOptions{NetOnly: true}, argv...)
	}
	pings := gap(inNet("ping", "-D", "-n", "-i", "0.02", vm.Address), func(line string) (time.Time, bool) {
		m := stamped.FindStringSubmatch(line)
		if m == nil {
			return time.Time{}, false
		}
		s, err := strconv.ParseFloat(m[1], 64)
		return time.UnixMicro(int64(s * 1e6)), err == nil
	})
	ticks := gap(inNet("ssh", "-n", "-i", theLab.SSHKeyPath(), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		"-o", "LogLevel=ERROR", "root@"+vm.Address, "--", "while :; do echo tick; usleep 20000 2>/dev/null || sleep 0.02; done"),
		func(line string) (time.Time, bool) { return time.Now(), line == "tick" })
	fn()
	time.Sleep(500 * time.Millisecond) // what was held up comes now
	return pings(), ticks()
}

// TestMigrateLive moves a VM that runs, with snapshots, then paused, then off.
func TestMigrateLive(t *testing.T) {
	ctx := begin(t)
	vm := guest(ctx, t, baadal.VMCreate{Name: "mover", Host: "host1"})
	defer remove(ctx, t, vm.UUID)
	ssh(ctx, t, vm, "echo before > /root/file; echo memory > /run/file; sync")
	ssh(ctx, t, vm, "(while :; do dd if=/dev/zero of=/run/load bs=64k count=64; done) >/dev/null 2>&1 &") // it writes to its memory all the time
	boot := ssh(ctx, t, vm, "cat", "/proc/sys/kernel/random/boot_id")

	ping, tcp := watched(ctx, t, vm, func() {
		if done := migrate(ctx, t, vm.UUID, baadal.VMMigrate{To: "host2"}); done.State != baadal.TaskSuccess || done.Message != "mover is migrated successfully" {
			t.Fatalf("%s: %s", done.State, done.Message)
		} else {
			t.Logf("migrated in %s", done.EndedAt.Sub(done.CreatedAt).Round(time.Millisecond))
		}
	})
	t.Logf("longest silence: ping %s, the TCP connection %s", ping.Round(time.Millisecond), tcp.Round(time.Millisecond))
	if ping > 5*time.Second || tcp > 10*time.Second {
		t.Error("that is too long")
	}
	onlyOn(ctx, t, vm.UUID, "host2", "running")
	if got := ssh(ctx, t, vm, "cat /root/file /run/file /proc/sys/kernel/random/boot_id"); got != "before\nmemory\n"+boot {
		t.Errorf("in the guest: %q", got)
	}
	if _, err := cloud.Client.MigrateVM(ctx, vm.UUID, baadal.VMMigrate{To: "host2"}, baadal.ChangeOptions{}); baadal.CodeOf(err) != "same_host" {
		t.Errorf("to where it is: %v", err)
	}

	node(ctx, t, "host2", "virsh", "-q", "suspend", vm.UUID)
	eventually(t, 2*time.Second, "shown as paused", state(ctx, vm.UUID, baadal.VMPaused))
	if done := migrate(ctx, t, vm.UUID, baadal.VMMigrate{To: "host3"}); done.State != baadal.TaskSuccess {
		t.Fatalf("paused: %s: %s", done.State, done.Message)
	}
	onlyOn(ctx, t, vm.UUID, "host3", "paused")
	node(ctx, t, "host3", "virsh", "-q", "resume", vm.UUID)
	eventually(t, 2*time.Second, "shown as running", state(ctx, vm.UUID, baadal.VMRunning))
	if got := ssh(ctx, t, vm, "cat", "/proc/sys/kernel/random/boot_id"); got != boot {
		t.Errorf("the guest was booted anew: %s, was %s", got, boot)
	}

	c, err := cloud.Client.DestroyVM(ctx, vm.UUID, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Await(ctx, c.Task, nil); err != nil {
		t.Fatal(err)
	}
	if done := migrate(ctx, t, vm.UUID, baadal.VMMigrate{Offline: true}); done.State != baadal.TaskSuccess {
		t.Fatalf("off: %s: %s", done.State, done.Message)
	}
	now, err := cloud.Client.VM(ctx, vm.UUID)
	if err != nil || now.Host == "host3" {
		t.Errorf("it is on %s: %v", now.Host, err)
	}
	onlyOn(ctx, t, vm.UUID, now.Host, "shut off")
	for _, h := range []string{"host1", "host2", "host3"} {
		if left := node(ctx, t, h, "sh", "-c", "ls -A /run/baadal"); (left != "") != (h == now.Host) {
			t.Errorf("console folders on %s: %q", h, left)
		}
	}
}

// TestMigrateKeepsSnapshots moves a VM with two snapshots: it can be reverted to
// both on the new host.
func TestMigrateKeepsSnapshots(t *testing.T) {
	ctx := begin(t)
	none, c := baadal.ChangeOptions{}, cloud.Client
	vm := guest(ctx, t, baadal.VMCreate{Name: "keeper", Host: "host1"})
	defer remove(ctx, t, vm.UUID)
	for _, name := range []string{"one", "two"} {
		ssh(ctx, t, vm, "echo "+name+" > /root/"+name+"; sync")
		ch, err := c.CreateSnapshot(ctx, vm.UUID, baadal.SnapshotCreate{Name: name}, none)
		snapshotAct(ctx, t, "Snapshotted successfully", ch, err)
	}
	if done := migrate(ctx, t, vm.UUID, baadal.VMMigrate{To: "host2"}); done.State != baadal.TaskSuccess {
		t.Fatalf("%s: %s", done.State, done.Message)
	}
	onlyOn(ctx, t, vm.UUID, "host2", "running")
	if got := ssh(ctx, t, vm, "cat /root/one /root/two"); got != "one\ntwo" {
		t.Errorf("after the migration: %q", got)
	}
	if tree := node(ctx, t, "host2", "virsh", "-q", "snapshot-list", "--tree", vm.UUID); strings.Join(strings.Fields(tree), " ") != "one | +- two" {
		t.Errorf("host2 knows\n%s", tree)
	}
	for _, x := range []struct{ name, files string }{{"one", "one"}, {"two", "one\ntwo"}} {
		ch, err := c.RevertSnapshot(ctx, vm.UUID, x.name, none)
		snapshotAct(ctx, t, "Reverted to snapshot successfully", ch, err)
		if got := ssh(ctx, t, vm, "cd /root; cat one two 2>/dev/null; true"); got != x.files {
			t.Errorf("reverted to %s: %q", x.name, got)
		}
	}
	if done := migrate(ctx, t, vm.UUID, baadal.VMMigrate{To: "host1"}); done.State != baadal.TaskSuccess {
		t.Fatalf("back: %s: %s", done.State, done.Message)
	}
	for _, name := range []string{"two", "one"} {
		ch, err := c.DeleteSnapshot(ctx, vm.UUID, name, none)
		snapshotAct(ctx, t, "Deleted snapshot successfully", ch, err)
	}
}

// TestMigrateGivenUp cancels a migration, and lets one run out of time: the VM
// stays and runs on.
func TestMigrateGivenUp(t *testing.T) {
	ctx := begin(t)
	vm := guest(ctx, t, baadal.VMCreate{Name: "stayer", Host: "host1"})
	defer remove(ctx, t, vm.UUID)
	boot := ssh(ctx, t, vm, "cat", "/proc/sys/kernel/random/boot_id")
	slow := baadal.VMMigrate{To: "host2", BandwidthMiBs: 2}
	c, err := cloud.Client.MigrateVM(ctx, vm.UUID, slow, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "copying", func() error {
		now, err := cloud.Client.Task(ctx, c.Task.ID)
		if err != nil {
			return err
		}
		for _, s := range now.Steps {
			if s.Name == "migrate" && strings.Contains(s.Detail, "MiB remain") {
				t.Log(s.Detail)
				return nil
			}
		}
		return fmt.Errorf("it is at %q", now.Step)
	})
	if _, err := cloud.Client.CancelTask(ctx, c.Task.ID); err != nil {
		t.Fatal(err)
	}
	done, err := cloud.Client.WaitTask(ctx, c.Task.ID, nil)
	if err != nil || done.State != baadal.TaskFailed || done.Code != "cancelled" || done.UndoPending {
		t.Errorf("cancelled: %s %s %s, undo pending %t: %v", done.State, done.Code, done.Message, done.UndoPending, err)
	}
	onlyOn(ctx, t, vm.UUID, "host1", "running")
	slow.DeadlineSeconds = 4
	if done := migrate(ctx, t, vm.UUID, slow); done.State != baadal.TaskFailed || done.Code != "deadline" {
		t.Errorf("late: %s %s %s", done.State, done.Code, done.Message)
	}
	onlyOn(ctx, t, vm.UUID, "host1", "running")
	if got := ssh(ctx, t, vm, "cat", "/proc/sys/kernel/random/boot_id"); got != boot {
		t.Errorf("the guest was booted anew")
	}
}

// quiet waits until no task has anything left to do or to undo.
func quiet(ctx context.Context, t *testing.T) {
	t.Helper()
	eventually(t, 3*time.Minute, "without active tasks", func() error {
		list, err := cloud.Client.Tasks(ctx, baadal.ListQuery{Filter: "active:yes"})
		if err == nil && list.Total > 0 {
			err = fmt.Errorf("%d tasks, first: %s %s %s", list.Total, list.Items[0].Kind, list.Items[0].State, list.Items[0].Message)
		}
		return err
	})
}

// TestMigrateKillNine kills the server at random moments of migrations: the VM
// runs on, in one place, and each migration ends.
func TestMigrateKillNine(t *testing.T) {
	ctx := begin(t)
	vm := guest(ctx, t, baadal.VMCreate{Name: "crasher", Host: "host1"})
	defer remove(ctx, t, vm.UUID)
	boot := ssh(ctx, t, vm, "cat", "/proc/sys/kernel/random/boot_id")
	const rounds = 5
	for i := range rounds {
		in := baadal.VMMigrate{BandwidthMiBs: 40}
		c, err := cloud.Client.MigrateVM(ctx, vm.UUID, in, baadal.ChangeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		after := time.Duration(rand.IntN(4000)) * time.Millisecond //nolint:gosec // a random moment is all
		time.Sleep(after)
		if err := cloud.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cloud.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		quiet(ctx, t)
		done, err := cloud.Client.Task(ctx, c.Task.ID)
		if err != nil {
			t.Fatal(err)
		}
		now, err := cloud.Client.VM(ctx, vm.UUID)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("round %d, killed after %s: %s on %s (%s %s)", i+1, after, now.State, now.Host, done.State, done.Message)
		onlyOn(ctx, t, vm.UUID, now.Host, "running")
		if got := ssh(ctx, t, vm, "cat", "/proc/sys/kernel/random/boot_id"); got != boot {
			t.Fatalf("the guest was booted anew")
		}
	}
}

// stayOff makes a VM stay as it is when its host comes back.
func stayOff(ctx context.Context, t *testing.T, vm baadal.VM) {
	t.Helper()
	never := baadal.AutostartNever
	if _, err := cloud.Client.EditVM(ctx, vm.UUID, baadal.VMEdit{Autostart: &never}, baadal.ChangeOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestMigrateHostDies pulls the power or the network cord of either side in the
// middle.
func TestMigrateHostDies(t *testing.T) {
	kill, boot := func(ctx context.Context, h string) error { return theLab.Kill(ctx, h) }, func(ctx context.Context, h string) error { return theLab.Boot(ctx, h) }
	cut, heal := func(ctx context.Context, h string) error { return theLab.Cut(ctx, h) }, func(ctx context.Context, h string) error { return theLab.Heal(ctx, h) }
	for _, side := range []struct {
		name, host, state string
		down, back        func(context.Context, string) error
	}{
		{"destination", "host2", "running", kill, boot},
		{"source", "host1", "shut off", kill, boot},
		{"destination-cut", "host2", "running", cut, heal},
		{"source-cut", "host1", "running", cut, heal},
	} {
		t.Run(side.name, func(t *testing.T) {
			ctx := begin(t)
			vm := guest(ctx, t, baadal.VMCreate{Name: "cord-" + side.name, Host: "host1"})
			defer remove(ctx, t, vm.UUID)
			stayOff(ctx, t, vm)
			boot := ssh(ctx, t, vm, "cat", "/proc/sys/kernel/random/boot_id")
			c, err := cloud.Client.MigrateVM(ctx, vm.UUID, baadal.VMMigrate{To: "host2", BandwidthMiBs: 5}, baadal.ChangeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Second)
			if err := side.down(ctx, side.host); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			done, err := cloud.Client.WaitTask(ctx, c.Task.ID, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s after %s: %s", done.State, time.Since(begun).Round(time.Second), done.Message)
			if done.State != baadal.TaskFailed {
				t.Error("it went well: nothing was tested")
			}
			if side.state == "running" {
				if got := virsh(ctx, t, "host1")[vm.UUID]; got != "running" {
					t.Errorf("on the source it is %q", got)
				}
			}
			if err := side.back(ctx, side.host); err != nil {
				t.Fatal(err)
			}
			quiet(ctx, t)
			eventually(t, time.Minute, "with all hosts up", func() error {
				h, err := cloud.Client.Host(ctx, side.host)
				if err == nil && h.State != baadal.HostUp {
					err = fmt.Errorf("it is %s: %s", h.State, h.Reason)
				}
				return err
			})
			onlyOn(ctx, t, vm.UUID, "host1", side.state)
			if side.state == "running" {
				if got := ssh(ctx, t, vm, "cat", "/proc/sys/kernel/random/boot_id"); got != boot {
					t.Error("the guest was booted anew")
				}
			}
		})
	}
}
