package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// state is what state.json holds. It is written before the things it speaks of are made.
type state struct {
	Version int                   `json:"version"`
	Hosts   int                   `json:"hosts"`
	Virt    string                `json:"virt"`  // kvm or qemu
	DHCP    string                `json:"dhcp"`  // DHCPISC or DHCPKea
	Ready   bool                  `json:"ready"` // Up came to its end
	Nodes   map[string]*nodeState `json:"nodes"`
}

type nodeState struct {
	Process process `json:"process"` // process 1 of the node; zero when it was never on
	Cut     bool    `json:"cut"`     // unplugged from the management network and the trunk
}

const stateVersion = 1

// ErrNotUp means that the folder holds no lab.
var ErrNotUp = errors.New("there is no lab here: run lab up first")

func (l *Lab) statePath() string { return filepath.Join(l.dir, "state.json") }

func (l *Lab) loadState() (*state, error) {
	b, err := os.ReadFile(l.statePath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("lab %s: %w", l.dir, ErrNotUp)
	} else if err != nil {
		return nil, fmt.Errorf("read the lab's state: %w", err)
	}
	s := new(state)
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("read the lab's state: %s: %w", l.statePath(), err)
	}
	if s.Version != stateVersion {
		return nil, fmt.Errorf("read the lab's state: version %d, want %d: take it down with the program that made it",
			s.Version, stateVersion)
	}
	if s.DHCP == "" { // made when there was no other
		s.DHCP = DHCPISC
	}
	return s, nil
}

func (l *Lab) saveState(s *state) error {
	b, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return fmt.Errorf("write the lab's state: %w", err)
	}
	if err := replaceFile(l.statePath(), append(b, '\n')); err != nil {
		return fmt.Errorf("write the lab's state: %w", err)
	}
	return nil
}

// replaceFile writes a file so that a reader, or a crash, sees the old content or the new, never a part.
func replaceFile(path string, b []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// acquireLock takes the lock of a folder, so that two commands do not work in one lab at once. With wait it waits for the other until
// ctx ends; else it fails at once and names it. The lock goes with the process that holds it, however it ends.
func acquireLock(ctx context.Context, path string, wait bool) (release func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		}
		if !wait || ctx.Err() != nil || (!errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR)) {
			holder, _ := os.ReadFile(path)
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: another lab command (process %s) is at work: %w",
				path, strings.TrimSpace(string(holder)), err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	_ = f.Truncate(0)
	_, _ = f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	return func() { _ = f.Close() }, nil
}

// change runs fn on the state under the lab's lock and saves the state after it, also when fn fails.
func (l *Lab) change(ctx context.Context, fn func(*state) error) error {
	if _, err := l.loadState(); err != nil {
		return err
	}
	if err := takesRoot(); err != nil {
		return err
	}
	release, err := acquireLock(ctx, l.lockPath(), true)
	if err != nil {
		return err
	}
	defer release()
	s, err := l.loadState()
	if err != nil {
		return err
	}
	return errors.Join(fn(s), l.saveState(s))
}

func (l *Lab) lockPath() string { return filepath.Join(l.dir, "lock") }
