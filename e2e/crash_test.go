package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"baadal"
)

// TestKillNine kills the server with SIGKILL at random moments during 30
// creates and deletes. Afterwards every task has ended, and store, hosts,
// datastore and addresses agree to the last file.
func TestKillNine(t *testing.T) {
	ctx := begin(t)
	const vms, workers = 30, 5
	var working atomic.Bool
	working.Store(true)
	kills := make(chan int)
	go func() { // the chaos
		n := 0
		defer func() { kills <- n }()
		rnd := rand.New(rand.NewPCG(7, uint64(time.Now().UnixNano()))) //nolint:gosec // a random moment is all
		for working.Load() {
			time.Sleep(time.Duration(300+rnd.IntN(1500)) * time.Millisecond)
			if err := cloud.Kill(); err != nil {
				t.Errorf("kill: %v", err)
			}
			if err := cloud.Restart(ctx); err != nil {
				t.Errorf("restart: %v", err)
				return
			}
			n++
		}
	}()
	jobs := make(chan int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range jobs {
				name := fmt.Sprintf("crash%d", i)
				persist(ctx, t, name, true, func() (baadal.Change[baadal.VM], error) {
					return cloud.Client.CreateVM(ctx, baadal.VMCreate{Name: name, Template: "tiny", RAMMiB: 96}, baadal.ChangeOptions{})
				})
				if i%3 == 2 {
					continue // stays
				}
				persist(ctx, t, name, false, func() (baadal.Change[baadal.VM], error) {
					return cloud.Client.DeleteVM(ctx, name, baadal.ChangeOptions{})
				})
			}
		})
	}
	for i := range vms {
		jobs <- i
	}
	close(jobs)
	wg.Wait()
	working.Store(false)
	t.Logf("the server was killed %d times", <-kills)
	eventually(t, 2*time.Minute, "without active tasks", func() error {
		list, err := cloud.Client.Tasks(ctx, baadal.ListQuery{Filter: "active:yes"})
		if err == nil && list.Total > 0 {
			err = fmt.Errorf("%d tasks, first %s %s", list.Total, list.Items[0].Kind, list.Items[0].State)
		}
		return err
	})
	failures, err := cloud.Client.Tasks(ctx, baadal.ListQuery{Limit: 1000, Filter: "state:failed"})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range failures.Items { // also those that no one of the above waited for
		if strings.HasPrefix(k.Subject.Name, "crash") {
			t.Errorf("%s %s failed at %q: %s", k.Kind, k.Subject.Name, k.Step, k.Message)
		}
	}
	sameDomains(ctx, t)
	list, err := cloud.Client.VMs(ctx, baadal.ListQuery{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if list.Total != vms/3 {
		t.Errorf("%d VMs are left, want %d", list.Total, vms/3)
	}
	for _, vm := range list.Items {
		remove(ctx, t, vm.UUID)
	}
	nothingLeft(ctx, t)
}

// persist repeats a call until it went through although the server dies, and
// waits for its task: creations end with the VM, deletions without. A refusal
// is no answer: right after a start no host may be known to be up yet, and the
// VM may be held by a task that is just ending.
func persist(ctx context.Context, t *testing.T, name string, present bool, call func() (baadal.Change[baadal.VM], error)) {
	t.Helper()
	for ; ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		c, err := call()
		var id int64
		ours := false
		e, _ := errors.AsType[*baadal.Error](err)
		switch {
		case err == nil:
			id, ours = c.Task.ID, true
		case e != nil && e.TaskID != 0:
			id = e.TaskID
		case e != nil && (e.Kind == baadal.Conflict || e.Kind == baadal.NotFound):
			vm, err := cloud.Client.VM(ctx, name)
			gone := baadal.KindOf(err) == baadal.NotFound || err == nil && vm.State == baadal.VMDeleted
			if present && err == nil && !gone || !present && gone {
				return // an earlier try went through
			}
			t.Logf("%s again: %s: %s", name, e.Code, baadal.Message(e))
			continue
		default:
			continue
		}
		for ctx.Err() == nil {
			done, err := cloud.Client.WaitTask(ctx, id, nil)
			if err != nil {
				time.Sleep(50 * time.Millisecond)
				continue
			}
			if done.State != baadal.TaskSuccess {
				t.Errorf("%s %s: %s at %q: %s", done.Kind, name, done.State, done.Step, done.Message)
			}
			break
		}
		if ours {
			return
		}
		t.Logf("%s again: task %d was in the way: %s", name, id, baadal.Message(err))
	}
	t.Errorf("%s: %v", name, ctx.Err())
}

// sameDomains compares virsh list --all on all hosts with vm list.
func sameDomains(ctx context.Context, t *testing.T) {
	t.Helper()
	list, err := cloud.Client.VMs(ctx, baadal.ListQuery{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, vm := range list.Items {
		want = append(want, vm.Host+" "+vm.UUID+" "+vm.State.String())
	}
	hosts, err := cloud.Client.Hosts(ctx, baadal.ListQuery{})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts.Items {
		for uuid, s := range virsh(ctx, t, h.Name) {
			got = append(got, h.Name+" "+uuid+" "+strings.Replace(s, "shut off", "off", 1))
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		t.Errorf("vm list and virsh list differ:\n  list:  %s\n  virsh: %s", strings.Join(want, "\n         "), strings.Join(got, "\n         "))
	}
}

// deletedFolders lists vm_deleted as the machine sees it.
func deletedFolders(ctx context.Context, t *testing.T) []string {
	t.Helper()
	return strings.Fields(node(ctx, t, "host1", "ls", "-A", "/mnt/datastore/vm_deleted"))
}

// nothingLeft checks that without VMs there is no domain, no folder, no claimed
// address, no port, no console folder.
func nothingLeft(ctx context.Context, t *testing.T) {
	t.Helper()
	for _, h := range []string{"host1", "host2", "host3"} {
		if left := virsh(ctx, t, h); len(left) > 0 {
			t.Errorf("domains left on %s: %v", h, left)
		}
		if ports := node(ctx, t, h, "ovs-vsctl", "--bare", "--columns=name", "find", "interface", "external_ids:iface-status=active"); ports != "" {
			t.Errorf("ports left on %s: %s", h, ports)
		}
	}
	if left := node(ctx, t, "host1", "ls", "-A", "/mnt/datastore/vm_images"); left != "" {
		t.Errorf("left in vm_images: %s", left)
	}
	for _, d := range deletedFolders(ctx, t) {
		if strings.HasPrefix(d, ".") {
			t.Errorf("left in vm_deleted: %s", d)
		}
	}
	addresses, err := cloud.Client.NetworkAddresses(ctx, "Research")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses.Items {
		if a.VMID != 0 {
			t.Errorf("address %s is claimed by VM %d", a.IP, a.VMID)
		}
	}
}

// TestHostDiesDuringCreate pulls a host's cord, or cuts it off, while VMs are
// created on it. Its tasks end in minutes with a clear message, the other
// hosts' work never waits, and nothing is left when the host is back.
func TestHostDiesDuringCreate(t *testing.T) {
	for _, how := range []struct {
		name       string
		down, back func(context.Context, string) error
	}{
		{"power", func(ctx context.Context, h string) error { return theLab.Kill(ctx, h) }, func(ctx context.Context, h string) error { return theLab.Boot(ctx, h) }},
		{"network", func(ctx context.Context, h string) error { return theLab.Cut(ctx, h) }, func(ctx context.Context, h string) error { return theLab.Heal(ctx, h) }},
	} {
		t.Run(how.name, func(t *testing.T) {
			ctx := begin(t)
			tasks := make([]*baadal.Task, 0, 3)
			for i := range 3 {
				c, err := cloud.Client.CreateVM(ctx, baadal.VMCreate{Name: fmt.Sprintf("dies%d", i), Template: "tiny", RAMMiB: 96, Host: "host2"}, baadal.ChangeOptions{})
				if err != nil {
					t.Fatal(err)
				}
				tasks = append(tasks, c.Task)
			}
			time.Sleep(250 * time.Millisecond) // into the first start
			if err := how.down(ctx, "host2"); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			create(ctx, t, baadal.VMCreate{Name: "elsewhere", Host: "host3"})
			if took := time.Since(begun); took > 20*time.Second {
				t.Errorf("a creation on another host took %s", took)
			} else {
				t.Logf("a creation on another host took %s", took)
			}
			endedByTheHost(ctx, t, tasks)
			eventually(t, time.Minute, "host shown as down", func() error {
				h, err := cloud.Client.Host(ctx, "host2")
				if err == nil && h.State != baadal.HostDown {
					err = fmt.Errorf("it is %s", h.State)
				}
				return err
			})
			if _, err := cloud.Client.CreateVM(ctx, baadal.VMCreate{Name: "nowhere", Template: "tiny", Host: "host2"}, baadal.ChangeOptions{}); baadal.CodeOf(err) != "no_host" {
				t.Errorf("a creation on a host that is down: %v", err)
			}
			if err := how.back(ctx, "host2"); err != nil {
				t.Fatal(err)
			}
			eventually(t, 2*time.Minute, "everything taken back", func() error {
				list, err := cloud.Client.Tasks(ctx, baadal.ListQuery{Filter: "active:yes"})
				if err == nil && list.Total > 0 {
					err = fmt.Errorf("%d tasks are active, first: %s", list.Total, list.Items[0].Message)
				}
				return err
			})
			list, err := cloud.Client.VMs(ctx, baadal.ListQuery{})
			if err != nil {
				t.Fatal(err)
			}
			for _, vm := range list.Items {
				remove(ctx, t, vm.UUID)
			}
			nothingLeft(ctx, t)
		})
	}
}

// endedByTheHost waits for creations on host2, which is gone: at least one of
// them must have failed because of it, none may take long.
func endedByTheHost(ctx context.Context, t *testing.T, tasks []*baadal.Task) {
	t.Helper()
	failed := 0
	for _, k := range tasks {
		done, err := cloud.Client.WaitTask(ctx, k.ID, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s %s after %s: %s", done.Subject.Name, done.State, done.EndedAt.Sub(done.CreatedAt).Round(time.Second), done.Message)
		if done.State == baadal.TaskFailed {
			failed++
			if !strings.Contains(done.Message, "host2") {
				t.Errorf("the message does not name the host: %s", done.Message)
			}
		}
		if took := done.EndedAt.Sub(done.CreatedAt); took > 4*time.Minute {
			t.Errorf("it took %s to end", took)
		}
	}
	if failed == 0 {
		t.Error("the host was lost after all creations were done: nothing was tested")
	}
}

// TestHostKeyChanged gives a host another key: all work on it stops, with words
// that say what is pinned and what was seen.
func TestHostKeyChanged(t *testing.T) {
	ctx := begin(t)
	file := "/etc/ssh/ssh_host_ed25519_key"
	if path := theLab.NodePath("host1", "/etc/ssh"); path != "" {
		matches, _ := filepath.Glob(filepath.Join(path, "*_key"))
		if len(matches) == 1 {
			file = "/etc/ssh/" + filepath.Base(matches[0])
		}
	}
	swap := func(from, to string) {
		node(ctx, t, "host1", "mv", from, to)
		node(ctx, t, "host1", "mv", from+".pub", to+".pub")
	}
	restart := func() { node(ctx, t, "host1", "sh", "-c", `kill -HUP "$(cat /run/sshd.pid)"`) }
	swap(file, file+".old")
	node(ctx, t, "host1", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file)
	restart()
	// The controller's connection must be made anew to see the key.
	node(ctx, t, "host1", "sh", "-c", `for p in $(pgrep -f '[s]shd: root'); do kill "$p"; done`)
	eventually(t, 90*time.Second, "host down for its key", func() error {
		h, err := cloud.Client.Host(ctx, "host1")
		if err == nil && (h.State != baadal.HostDown || !strings.Contains(h.Reason, "key")) {
			err = fmt.Errorf("it is %s: %s", h.State, h.Reason)
		}
		return err
	})
	h, err := cloud.Client.Host(ctx, "host1")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the host says: %s", h.Reason)
	if !strings.Contains(h.Reason, h.Fingerprint) {
		t.Errorf("the reason does not name the pinned fingerprint: %s", h.Reason)
	}
	swap(file, file+".new")
	swap(file+".old", file)
	restart()
	eventually(t, 90*time.Second, "host up again", func() error {
		h, err := cloud.Client.Host(ctx, "host1")
		if err == nil && h.State != baadal.HostUp {
			err = fmt.Errorf("it is %s: %s", h.State, h.Reason)
		}
		return err
	})
}
