package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Down ends the lab, whatever state it is in: up, half-way up, half-way down, crashed. Afterwards there is no process,
// mount, cgroup or link of it, and its folder holds no more than the caches. Programs that were started with NetOnly
// get a moment to end by themselves. Idempotent. It waits for another command on the same lab until ctx ends.
func (l *Lab) Down(ctx context.Context) error {
	if err := takesRoot(); err != nil {
		return fmt.Errorf("lab down: %w", err)
	}
	if !exists(l.dir) {
		return nil
	}
	release, err := acquireLock(ctx, l.lockPath(), true)
	if err != nil {
		return fmt.Errorf("lab down: %w", err)
	}
	defer release()
	if err := l.tearDown(ctx); err != nil {
		return fmt.Errorf("lab down: %w", err)
	}
	return nil
}

func takesRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("this takes root: run it again with sudo")
	}
	return nil
}

func (l *Lab) tearDown(ctx context.Context) error {
	if err := l.killAll(ctx); err != nil {
		return err
	}
	for _, name := range append([]string{"mnt", "nodes"}, datastores...) {
		if err := unmountBelow(filepath.Join(l.dir, name)); err != nil {
			return err
		}
	}
	// A file system daemon ends by itself when its last mount goes.
	for end := time.Now().Add(2 * time.Second); len(l.cgroups.members("")) > 0 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	if err := l.killMembers(ctx, ""); err != nil {
		return err
	}
	if err := l.cgroups.remove(""); err != nil {
		return err
	}
	// state.json goes last: as long as it is there, so may be the rest
	for _, name := range append(slices.Clone(datastores), "mnt", "nodes", "known_hosts", "id_ed25519", "id_ed25519.pub", "state.json.new",
		"state.json") {
		if err := os.RemoveAll(filepath.Join(l.dir, name)); err != nil {
			return fmt.Errorf("remove the lab's files: %w", err)
		}
	}
	return nil
}

// killAll ends every process of the nodes. Those that live among the machine's processes are asked first.
func (l *Lab) killAll(ctx context.Context) error {
	nodes := l.cgroupNodes()
	var asked []process
	for _, node := range nodes {
		for _, pid := range l.cgroups.members(node) {
			p, err := findProcess(pid)
			if err == nil && pid != os.Getpid() && isMachines(pid) && syscall.Kill(pid, syscall.SIGTERM) == nil {
				asked = append(asked, p)
			}
		}
	}
	for end := time.Now().Add(3 * time.Second); slices.ContainsFunc(asked, process.alive) && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	for _, node := range nodes {
		if err := l.killMembers(ctx, node); err != nil {
			return err
		}
	}
	return nil
}

// cgroupNodes lists the nodes that have cgroups, as far as they got.
func (l *Lab) cgroupNodes() []string {
	var nodes []string
	for _, h := range l.cgroups.hierarchies {
		entries, _ := os.ReadDir(filepath.Join(h.dir, l.cgroups.lab))
		for _, e := range entries {
			if e.IsDir() && e.Name() != mountsLeaf && !slices.Contains(nodes, e.Name()) {
				nodes = append(nodes, e.Name())
			}
		}
	}
	return nodes
}

// isMachines says whether a process lives in our own process namespace: its status then has one number for it.
func isMachines(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if numbers, ok := strings.CutPrefix(line, "NSpid:"); ok {
			return len(strings.Fields(numbers)) == 1
		}
	}
	return false
}

// killMembers kills what is in a cgroup until nothing is: while we look, more may be born.
func (l *Lab) killMembers(ctx context.Context, name string) error {
	empty := 0
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		pids := slices.DeleteFunc(l.cgroups.members(name), func(pid int) bool { return pid == os.Getpid() })
		if len(pids) == 0 {
			if empty++; empty == 2 {
				return nil
			}
			continue
		}
		empty = 0
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if time.Now().After(end) {
			return fmt.Errorf("end processes: %v do not die", pids)
		}
	}
}
