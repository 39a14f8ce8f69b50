package simulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"baadal"
)

// state is everything that survives a restart.
type state struct {
	Version      int
	Hosts        map[string]*host      // by name
	Datastores   map[string]*datastore // by mount point
	Reservations []baadal.Reservation  // by name
	DHCPBroken   bool
	DHCPRestarts int
	Names        []baadal.NameRecord // in the order of addresses
	NamesBroken  bool
	NameChanges  int
	Inode        int64 // the last one given out
}

const (
	stateVersion = 1
	stateFile    = "world.json"
	lockFile     = "world.lock"
)

// acquire makes the folder this process's own until release. The kernel lets
// go of it when the process dies.
func (w *World) acquire() error {
	if err := os.MkdirAll(w.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("make the simulated world's folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(w.cfg.Dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock the simulated world: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errors.Join(baadal.Errorf(baadal.Conflict, "the simulated world in %s is open already: %w", w.cfg.Dir, err).WithCode("world_in_use"), f.Close())
	}
	w.lock = f
	return nil
}

func (w *World) release() error {
	if w.lock == nil {
		return nil
	}
	defer func() { w.lock = nil }()
	return w.lock.Close()
}

// load reads the state file, or makes an empty world and says so.
func (w *World) load() (fresh bool, err error) {
	w.state = state{Version: stateVersion, Hosts: map[string]*host{}, Datastores: map[string]*datastore{}}
	if w.cfg.Dir == "" {
		fresh = true
	} else if fresh, err = w.read(); err != nil {
		return false, fmt.Errorf("read the simulated world: %w", err)
	}
	w.index()
	return fresh, nil
}

func (w *World) read() (fresh bool, err error) {
	b, err := os.ReadFile(filepath.Join(w.cfg.Dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(b, &w.state); err != nil {
		return false, err
	}
	if w.state.Version != stateVersion {
		return false, fmt.Errorf("version %d is not %d", w.state.Version, stateVersion)
	}
	return false, nil
}

// index makes everything that follows from the state.
func (w *World) index() {
	w.byAddr, w.writers, w.macs = map[string]*host{}, map[int64]*domain{}, map[string]map[*domain]bool{}
	for _, ds := range w.state.Datastores {
		ds.measure()
	}
	for _, h := range w.state.Hosts {
		h.init()
		w.byAddr[h.Address] = h
		for _, d := range h.Domains {
			if !d.active() {
				continue
			}
			w.register(d)
			if !d.due().IsZero() {
				h.pending[d] = true
			}
		}
	}
	w.indexReservations()
}

// save writes the state if it changed, so that it is there after SIGKILL (not
// after a power failure: nothing is synced). The lock is held.
func (w *World) save() error {
	if !w.dirty || w.cfg.Dir == "" {
		w.dirty = false
		return nil
	}
	b, err := json.Marshal(&w.state)
	if err != nil {
		return fmt.Errorf("save the simulated world: %w", err)
	}
	name := filepath.Join(w.cfg.Dir, stateFile)
	if err := os.WriteFile(name+".new", b, 0o600); err != nil {
		return fmt.Errorf("save the simulated world: %w", err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("save the simulated world: %w", err)
	}
	w.dirty = false
	return nil
}
