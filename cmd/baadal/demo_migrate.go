package main

import (
	"bufio"
	"context"
	"fmt"
	"time"

	"baadal"
	"baadal/internal/demo"
)

// showMigration moves a VM to another host while it runs, and watches one SSH
// session to it: the session must live on, and how long it was silent is said.
func showMigration(ctx context.Context, s show, cloud *demo.Cloud, vm baadal.VM) error {
	session, stop := context.WithCancel(ctx)
	defer stop()
	cmd := sshCommand(session, cloud, vm, "while :; do echo tick; usleep 20000 2>/dev/null || sleep 0.02; done")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("watch %s: %w", vm.Name, err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("watch %s: %w", vm.Name, err)
	}
	defer func() { stop(); _ = cmd.Wait() }() // it was killed, and says so
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		return fmt.Errorf("watch %s: the SSH session ended at once", vm.Name)
	}
	silence, moved := make(chan time.Duration, 1), make(chan struct{})
	go func() { // ends with the session
		var longest time.Duration
		last, done := time.Now(), moved
		for lines.Scan() {
			now := time.Now()
			longest, last = max(longest, now.Sub(last)), now
			select {
			case <-done: // the first line after the move: the session lives
				silence <- longest
				done = nil
			default:
			}
		}
		close(silence)
	}()
	c, err := cloud.Client.MigrateVM(ctx, vm.UUID, baadal.VMMigrate{}, baadal.ChangeOptions{})
	if err != nil {
		return err
	}
	t, err := cloud.Await(ctx, c.Task, nil)
	if err != nil {
		return err
	}
	close(moved)
	now, err := cloud.Client.VM(ctx, vm.UUID)
	if err != nil {
		return err
	}
	select {
	case longest, lives := <-silence:
		if !lives || now.Host == vm.Host {
			return fmt.Errorf("%s moved from %s to %s, and its SSH session lived on: %t", vm.Name, vm.Host, now.Host, lives)
		}
		s.say("%s moved from %s to %s while it ran, in %d ms; one SSH session to it lived on, silent for %d ms at most",
			vm.Name, vm.Host, now.Host, t.EndedAt.Sub(t.CreatedAt).Milliseconds(), longest.Milliseconds())
	case <-time.After(30 * time.Second):
		return fmt.Errorf("%s moved to %s, and its SSH session is silent since", vm.Name, now.Host)
	}
	return nil
}
