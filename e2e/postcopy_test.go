package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"baadal"
)

// restless makes a guest write to its memory faster than a slow migration can
// copy it.
func restless(ctx context.Context, t *testing.T, vm baadal.VM) {
	t.Helper()
	ssh(ctx, t, vm, "dd if=/dev/urandom of=/run/source bs=1M count=24 2>/dev/null; (while :; do dd if=/run/source of=/run/load bs=1M conv=notrunc; done) >/dev/null 2>&1 &")
}

// goesOn waits until a migration's guest runs on the destination without all of
// its memory.
func goesOn(ctx context.Context, t *testing.T, task int64) {
	t.Helper()
	eventually(t, 90*time.Second, "in post-copy", func() error {
		now, err := cloud.Client.Task(ctx, task)
		if err != nil {
			return err
		}
		for _, s := range now.Steps {
			if s.Name == "migrate" && strings.Contains(s.Detail, "it goes on on") {
				t.Log(s.Detail)
				return nil
			}
		}
		if now.State.Ended() {
			t.Fatalf("%s: %s", now.State, now.Message)
		}
		return fmt.Errorf("it is at %q, %d %%", now.Step, now.Progress)
	})
}

// TestMigratePostCopy moves a guest that writes faster than it can be copied:
// without post-copy it stays, with it it arrives and runs on. When the cord of
// the source is pulled in the middle of it, the VM is off, in one place.
func TestMigratePostCopy(t *testing.T) {
	ctx := begin(t)
	vm := guest(ctx, t, baadal.VMCreate{Name: "restless", Host: "host1"})
	defer remove(ctx, t, vm.UUID)
	stayOff(ctx, t, vm)
	boot := ssh(ctx, t, vm, "cat", "/proc/sys/kernel/random/boot_id")
	restless(ctx, t, vm)
	slow := baadal.VMMigrate{To: "host2", BandwidthMiBs: 12, DeadlineSeconds: 25}
	if done := migrate(ctx, t, vm.UUID, slow); done.State != baadal.TaskFailed || done.Code != "deadline" {
		t.Errorf("without post-copy: %s %s", done.State, done.Message)
	}
	onlyOn(ctx, t, vm.UUID, "host1", "running")
	slow.PostCopy, slow.DeadlineSeconds = true, 120
	if done := migrate(ctx, t, vm.UUID, slow); done.State != baadal.TaskSuccess {
		t.Fatalf("%s: %s", done.State, done.Message)
	} else if !strings.Contains(fmt.Sprint(done.Steps), "by post-copy") {
		t.Errorf("it was no post-copy: %+v", done.Steps)
	}
	onlyOn(ctx, t, vm.UUID, "host2", "running")
	if got := ssh(ctx, t, vm, "cat", "/proc/sys/kernel/random/boot_id"); got != boot {
		t.Error("the guest was booted anew")
	}

	back := slow
	back.To, back.BandwidthMiBs = "host3", 8
	c, err := cloud.Client.MigrateVM(ctx, vm.UUID, back, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	goesOn(ctx, t, c.Task.ID)
	if err := theLab.Kill(ctx, "host2"); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	done, err := cloud.Client.WaitTask(ctx, c.Task.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the source lost power: %s after %s: %s", done.State, time.Since(begun).Round(time.Second), done.Message)
	if err := theLab.Boot(ctx, "host2"); err != nil {
		t.Fatal(err)
	}
	quiet(ctx, t)
	eventually(t, time.Minute, "with host2 up", func() error {
		h, err := cloud.Client.Host(ctx, "host2")
		if err == nil && h.State != baadal.HostUp {
			err = fmt.Errorf("it is %s: %s", h.State, h.Reason)
		}
		return err
	})
	if done.State != baadal.TaskFailed || done.Code != "postcopy_lost" {
		t.Errorf("%s %s: want its memory lost", done.State, done.Code)
	}
	onlyOn(ctx, t, vm.UUID, "host2", "shut off")
}
