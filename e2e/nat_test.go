package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/lab"
)

// sshOutside prepares an ssh from the outside of the NAT box.
func sshOutside(ctx context.Context, address string, port int, argv ...string) *exec.Cmd {
	args := append([]string{
		"ssh", "-n", "-i", theLab.SSHKeyPath(), "-p", strconv.Itoa(port), "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no",
		"-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=3", "-o", "ServerAliveInterval=1", "root@" + address, "--",
	}, argv...)
	return theLab.CommandWith(ctx, lab.Outside, lab.ExecOptions{NetOnly: true}, args...)
}

func reachable(ctx context.Context, address string, port int) func() error {
	return func() error {
		if out, err := sshOutside(ctx, address, port, "true").CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
}

func closed(ctx context.Context, address string, port int) func() error {
	return func() error {
		if reachable(ctx, address, port)() == nil {
			return errors.New("it is reached")
		}
		return nil
	}
}

// session holds an ssh from the outside open; what it returns says when it ended.
func session(ctx context.Context, t *testing.T, address string, port int) <-chan time.Time {
	t.Helper()
	var cmd *exec.Cmd
	var out io.ReadCloser
	eventually(t, 20*time.Second, "a session from outside", func() (err error) {
		var words bytes.Buffer
		cmd = sshOutside(ctx, address, port, "while :; do echo alive; sleep 0.2; done")
		cmd.Stderr = &words
		if out, err = cmd.StdoutPipe(); err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		buf := make([]byte, 5)
		if _, err := io.ReadFull(out, buf); err != nil {
			return errors.Join(err, cmd.Wait(), errors.New(words.String()))
		}
		return nil
	})
	ended := make(chan time.Time, 1)
	go func() { // ends with the session
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
		ended <- time.Now()
	}()
	return ended
}

// TestPublicAddress reaches a real guest from outside at its public address,
// which it also goes out with; both end with the release, and come back after a
// restore and after the NAT box was flushed by hand.
func TestPublicAddress(t *testing.T) {
	ctx := begin(t)
	const pool = "203.0.113.16-203.0.113.19"
	if _, err := cloud.Client.AddPublics(ctx, baadal.PublicRange{Range: pool}, baadal.ChangeOptions{}); err != nil {
		t.Fatal(err)
	}
	key, err := theLab.SSHPublicKey()
	if err != nil {
		t.Fatal(err)
	}
	vm := create(ctx, t, baadal.VMCreate{Name: "public1", Public: true, SSHKeys: []string{key}})
	if _, err := cloud.WaitAnswer(ctx, vm.Name); err != nil || vm.Public != "203.0.113.16" {
		t.Fatalf("its public address is %q, %v", vm.Public, err)
	}
	eventually(t, 20*time.Second, "reached from outside", reachable(ctx, vm.Public, 22))
	if got, err := sshOutside(ctx, vm.Public, 22, "hostname").Output(); err != nil || strings.TrimSpace(string(got)) != vm.Name {
		t.Errorf("at its public address is %q, %v", got, err)
	}
	ssh(ctx, t, vm, "ping -c 2 -W 2 "+lab.OutsideAddress)
	if got := node(ctx, t, lab.Outside, "ip", "neigh", "show", vm.Public); !strings.Contains(got, "lladdr") {
		t.Errorf("what it sends does not leave with its address: %q", got)
	}
	if _, err := cloud.Client.RemovePublics(ctx, baadal.PublicRange{Range: pool}, baadal.ChangeOptions{}); baadal.CodeOf(err) != "public_in_use" {
		t.Errorf("removing addresses in use: %v", err)
	}
	node(ctx, t, lab.NAT, "nft", "flush", "ruleset")
	eventually(t, 10*time.Second, "reached again after the NAT box was flushed", reachable(ctx, vm.Public, 22))

	cut := session(ctx, t, vm.Public, 22)
	remove(ctx, t, vm.Name)
	select {
	case <-cut:
	case <-time.After(20 * time.Second):
		t.Error("a session outlives the VM")
	}
	eventually(t, 10*time.Second, "closed after the deletion", closed(ctx, vm.Public, 22))
	await(ctx, t, cloud.Client.RestoreVM, strconv.FormatInt(vm.ID, 10))
	if got, err := cloud.Client.VM(ctx, vm.Name); err != nil || got.Public != vm.Public {
		t.Errorf("restored, its public address is %q, %v", got.Public, err)
	}
	startVM(ctx, t, vm.Name)
	eventually(t, 40*time.Second, "reached after its restore", reachable(ctx, vm.Public, 22))

	cut = session(ctx, t, vm.Public, 22)
	no := false
	if _, err := cloud.Client.EditVM(ctx, vm.Name, baadal.VMEdit{Public: &no}, baadal.ChangeOptions{}); err != nil {
		t.Fatal(err)
	}
	released := time.Now()
	select {
	case at := <-cut:
		t.Logf("its session was cut %s after the release", at.Sub(released).Round(10*time.Millisecond))
	case <-time.After(10 * time.Second):
		t.Error("a session outlives the release")
	}
	eventually(t, 5*time.Second, "closed after the release", closed(ctx, vm.Public, 22))
	if out, err := theLab.CommandWith(ctx, lab.Outside, lab.ExecOptions{}, "ping", "-c", "1", "-W", "1", vm.Public).CombinedOutput(); err == nil {
		t.Errorf("its address answers though nobody has it: %s", out)
	}
	remove(ctx, t, vm.Name)
	if _, err := cloud.Client.RemovePublics(ctx, baadal.PublicRange{Range: pool}, baadal.ChangeOptions{}); err != nil {
		t.Error(err)
	}
}

// TestClearNAT takes the cloud off the NAT box and leaves what others have there;
// the server, once it runs again, puts it back.
func TestClearNAT(t *testing.T) {
	ctx := begin(t)
	tables := func() string { return node(ctx, t, lab.NAT, "nft", "list", "tables") }
	node(ctx, t, lab.NAT, "nft", "add", "table", "ip", "theirs")
	defer func() { node(ctx, t, lab.NAT, "nft", "delete", "table", "ip", "theirs") }()
	if got := tables(); !strings.Contains(got, "table ip baadal") {
		t.Fatalf("the NAT box has the tables %q", got)
	}
	if err := cloud.Kill(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		config := filepath.Join(filepath.Dir(theLab.Dir()), "server", "baadal.yaml")
		cmd := theLab.CommandWith(ctx, lab.Controller, lab.ExecOptions{NetOnly: true}, consoleBinary(ctx, t), "clear-nat", "--config", config)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "nothing of the cloud's any more") {
			t.Errorf("%v: %s", err, out)
		}
		if got := tables(); strings.Contains(got, "baadal") || !strings.Contains(got, "table ip theirs") {
			t.Errorf("the NAT box has the tables %q", got)
		}
	}
	if err := cloud.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the table is back", func() error {
		if got := tables(); !strings.Contains(got, "table ip baadal") {
			return fmt.Errorf("the NAT box has the tables %q", got)
		}
		return nil
	})
}

// TestForwardEndsWithoutController opens a guest's SSH port for 20 seconds, and
// kills the controller: the port closes on time, and the session is cut. Another
// one goes on, extended, over a flush of the NAT box.
func TestForwardEndsWithoutController(t *testing.T) {
	ctx := begin(t)
	key, err := theLab.SSHPublicKey()
	if err != nil {
		t.Fatal(err)
	}
	vm := create(ctx, t, baadal.VMCreate{Name: "forward1", SSHKeys: []string{key}})
	if _, err := cloud.WaitAnswer(ctx, vm.Name); err != nil {
		t.Fatal(err)
	}
	ssh(ctx, t, vm, "true")
	add := func(seconds int64) baadal.Forward {
		t.Helper()
		ch, err := cloud.Client.AddForward(ctx, vm.Name, baadal.ForwardAdd{Port: 22, Seconds: seconds}, baadal.ChangeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, 10*time.Second, "opened", reachable(ctx, ch.Resource.Public, ch.Resource.PublicPort))
		return *ch.Resource
	}
	f := add(20)
	if err := cloud.Kill(); err != nil {
		t.Fatal(err)
	}
	ended := session(ctx, t, f.Public, f.PublicPort)
	select {
	case at := <-ended:
		late := at.Sub(f.ExpiresAt)
		t.Logf("with the controller killed, a session of 20 s was cut %s after its end", late.Round(10*time.Millisecond))
		if late < -500*time.Millisecond || late > 3*time.Second {
			t.Errorf("cut %s after the end of the mapping", late)
		}
	case <-time.After(40 * time.Second):
		t.Error("the session outlives its mapping")
	}
	if err := closed(ctx, f.Public, f.PublicPort)(); err != nil {
		t.Errorf("after its end: %v", err)
	}
	if err := cloud.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "forgotten", func() error {
		all, err := cloud.Client.VMForwards(ctx, vm.Name)
		if err == nil && len(all.Items) > 0 {
			err = fmt.Errorf("there are %+v", all.Items)
		}
		return err
	})

	f = add(8)
	ended = session(ctx, t, f.Public, f.PublicPort)
	if _, err := cloud.Client.ExtendForward(ctx, vm.Name, f.ID, baadal.ForwardExtend{Seconds: 600}, baadal.ChangeOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
		t.Error("an extended session was cut")
	case <-time.After(time.Until(f.ExpiresAt.Add(2 * time.Second))):
	}
	if _, err := cloud.Client.EndForward(ctx, vm.Name, f.ID, baadal.ChangeOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("a session outlives the end of its mapping")
	}
	remove(ctx, t, vm.Name)
}

// TestNATBoxDies cuts the NAT box off, and takes its power, in the middle of
// creates and deletes: tasks never wait for it, and soon after it is back it
// leads to what there is now and to nothing that is gone.
func TestNATBoxDies(t *testing.T) {
	ctx := begin(t)
	const pool = "203.0.113.20-203.0.113.27"
	if _, err := cloud.Client.AddPublics(ctx, baadal.PublicRange{Range: pool}, baadal.ChangeOptions{}); err != nil {
		t.Fatal(err)
	}
	key, err := theLab.SSHPublicKey()
	if err != nil {
		t.Fatal(err)
	}
	public := func(name string) baadal.VM {
		t.Helper()
		return create(ctx, t, baadal.VMCreate{Name: name, Public: true, SSHKeys: []string{key}})
	}
	vms := []baadal.VM{public("natkept")}
	reached := func(what string, vm baadal.VM) {
		t.Helper()
		if _, err := cloud.WaitAnswer(ctx, vm.UUID); err != nil {
			t.Fatal(err)
		}
		eventually(t, 40*time.Second, what+" reached from outside", reachable(ctx, vm.Public, 22))
	}
	for _, turn := range []struct {
		name       string
		harm, heal func(context.Context, string) error
	}{{"cut", theLab.Cut, theLab.Heal}, {"rebooted", theLab.Kill, theLab.Boot}} {
		t.Log(turn.name)
		gone := public("natgone-" + turn.name)
		reached("the VM that will go", gone)
		mustLab(t, turn.harm(ctx, lab.NAT))
		begun := time.Now()
		remove(ctx, t, gone.UUID)
		fresh := public("natfresh-" + turn.name)
		t.Logf("deleted one and created one in %s without the box", time.Since(begun).Round(10*time.Millisecond))
		time.Sleep(5 * time.Second)
		mustLab(t, turn.heal(ctx, lab.NAT))
		reached("the VM made meanwhile", fresh)
		reached("the one that stayed", vms[0])
		eventually(t, 20*time.Second, "the deleted one closed", closed(ctx, gone.Public, 22))
		vms = append(vms, fresh)
	}
	removeAll(ctx, t, vms)
	if _, err := cloud.Client.RemovePublics(ctx, baadal.PublicRange{Range: pool}, baadal.ChangeOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the box led nowhere", func() error {
		if report := audit(ctx, t, false); len(report.Differences) > 0 {
			return fmt.Errorf("%+v", report.Differences)
		}
		return nil
	})
}
