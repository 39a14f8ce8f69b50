package reconcile

import (
	"context"
	"slices"
	"sync"
	"time"

	"baadal"
	"baadal/internal/store"
)

// lookAt asks the host about one domain and writes down what it says. Events
// may be late or out of order; what the host answers now is the truth.
func (w *watcher) lookAt(ctx context.Context, uuid string) error {
	ctx, stop := context.WithTimeout(ctx, 15*time.Second)
	defer stop()
	info, err := w.l.sys.Hypervisor.Domain(ctx, w.host, uuid)
	state := info.State
	switch baadal.KindOf(err) {
	case "":
	case baadal.NotFound:
		state = baadal.VMMissing
	default:
		return err
	}
	differs, moving, err := w.differs(ctx, uuid, state, info.Saved)
	if moving {
		// The task's last word may be older than what was seen now: look after it.
		time.AfterFunc(lookAgain, func() { w.askLookAt(uuid) })
	}
	if err != nil || !differs {
		return err
	}
	// What ran and is not there any more may have gone with its host.
	if state != baadal.VMRunning && state != baadal.VMPaused {
		if err := w.checkBoot(ctx, true); err != nil {
			return err
		}
	}
	return w.l.db.Update(ctx, func(tx *store.Tx) error {
		vm, err := tx.VMByUUID(uuid)
		if err != nil {
			return ignoreGone(err)
		}
		if !w.judges(vm, state, info.Saved) {
			return nil
		}
		reason := baadal.OffReason(info.Saved)
		if state == baadal.VMMissing {
			reason = "host " + w.host.Name + " does not know its domain"
		}
		changed, now, err := tx.SetVMState(vm.ID, state, reason)
		if err != nil || !changed {
			return err
		}
		if state != baadal.VMRunning && vm.AnsweredAt != nil {
			if err := tx.SetVMAnswered(vm.ID, nil); err != nil {
				return err
			}
		}
		return note(tx, "vm", baadal.Subject{Kind: "vm", ID: vm.ID, Name: vm.Name}, now.Generation, state.String(), vm.OwnerID, vm.OrganisationID,
			baadal.Changes{"state": {Old: vm.State, New: state}, "reason": {Old: vm.Reason, New: reason}})
	})
}

// judges reports whether what was seen on this host says anything about the VM:
// not while it is created, deleted, or on another host; and a domain that is
// missing while a task holds the VM is the task's business. One that migrates is
// half on each of two hosts: until that task has ended, only it can tell. And a
// state that a task is bringing about is the task's to tell, so that the VM's
// history has whose doing it was.
func (w *watcher) judges(vm baadal.VM, state baadal.VMState, saved bool) bool {
	if vm.State == state && vm.Saved() == saved || vm.State == baadal.VMInQueue || vm.State == baadal.VMDeleted || vm.State == baadal.VMUnknown {
		return false
	}
	if vm.Task != nil && !vm.Task.State.Ended() {
		aim, power := aims[vm.Task.Kind]
		if vm.Task.Kind == baadal.TaskVMMigrate || power && aim == state {
			return false
		}
	}
	return vm.HostID == w.host.ID && (state != baadal.VMMissing || vm.Task == nil)
}

// aims are the states that the operations on a VM's power bring about.
var aims = map[baadal.TaskKind]baadal.VMState{
	baadal.TaskVMStart:    baadal.VMRunning,
	baadal.TaskVMShutdown: baadal.VMOff,
	baadal.TaskVMDestroy:  baadal.VMOff,
	baadal.TaskVMSuspend:  baadal.VMPaused,
	baadal.TaskVMResume:   baadal.VMRunning,
	baadal.TaskVMSave:     baadal.VMOff,
}

// lookAgain is how long after an event of a VM that a task holds it is looked at
// again.
const lookAgain = time.Second

// differs looks into the store without taking its write lock. moving tells that
// a task holds the VM.
func (w *watcher) differs(ctx context.Context, uuid string, state baadal.VMState, saved bool) (yes, moving bool, err error) {
	err = w.l.db.View(ctx, func(tx *store.Tx) error {
		vm, err := tx.VMByUUID(uuid)
		if err != nil {
			return ignoreGone(err)
		}
		yes, moving = w.judges(vm, state, saved), vm.Task != nil && vm.HostID == w.host.ID
		return nil
	})
	return yes, moving, err
}

// fullLook compares all domains of the host with the store; every difference is
// looked at once more by itself, as the list may be older than the store by now.
func (w *watcher) fullLook(ctx context.Context) error {
	look, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	if err := w.checkBoot(look, false); err != nil {
		return err
	}
	domains, err := w.l.sys.Hypervisor.Domains(look, w.host)
	if err != nil {
		return err
	}
	infos := make(map[string]baadal.DomainInfo, len(domains))
	for _, d := range domains {
		infos[d.UUID] = d
	}
	var vms []baadal.VM
	if err := w.l.db.View(ctx, func(tx *store.Tx) (err error) { vms, err = tx.VMsOnHost(w.host.ID); return err }); err != nil {
		return err
	}
	for _, vm := range vms {
		seen, there := infos[vm.UUID]
		if !there {
			seen.State = baadal.VMMissing
		}
		if w.judges(vm, seen.State, seen.Saved) {
			if err := w.lookAt(ctx, vm.UUID); err != nil {
				return err
			}
		}
	}
	return nil
}

// How many guests are asked at one time, and how often one that stays silent is
// asked again.
const (
	guestsAtOnce = 64
	silentEvery  = 30 * time.Second
)

// guests asks running VMs that have not answered since their start: every
// second while they are likely to boot, then every half minute.
func (l *Loops) guests(ctx context.Context) {
	asked := map[int64]time.Time{}
	l.every(ctx, "guests", l.opt.Guests, nil, func(ctx context.Context) error {
		var vms []baadal.VM
		var settings baadal.SettingValues
		err := l.db.View(ctx, func(tx *store.Tx) (err error) {
			if vms, err = tx.UnansweredVMs(); err != nil {
				return err
			}
			settings, err = tx.SettingValues()
			return err
		})
		if err != nil {
			return err
		}
		before := asked
		asked = make(map[int64]time.Time, len(vms))
		for _, vm := range vms {
			asked[vm.ID] = before[vm.ID]
		}
		limit := make(chan struct{}, guestsAtOnce)
		var wg sync.WaitGroup
		for _, vm := range turns(vms, before, l.db.Now().Add(-settings.Duration(baadal.SettingAnswerWait))) {
			limit <- struct{}{}
			asked[vm.ID] = time.Now()
			wg.Go(func() {
				defer func() { <-limit }()
				l.ask(ctx, vm)
			})
		}
		wg.Wait()
		return nil
	})
}

// turns picks who is asked in this round: those that started after a time and
// are likely to boot, the newest first; then those that have been silent for
// long, the longest not asked first, and no more of them than can be asked at
// one time: the next round, with whoever starts meanwhile, waits for this one.
func turns(vms []baadal.VM, asked map[int64]time.Time, booting time.Time) []baadal.VM {
	var fresh, silent []baadal.VM
	for _, vm := range vms {
		last, known := asked[vm.ID]
		switch {
		case vm.StateSince.After(booting):
			fresh = append(fresh, vm)
		case !known || time.Since(last) >= silentEvery:
			silent = append(silent, vm)
		}
	}
	slices.SortStableFunc(fresh, func(a, b baadal.VM) int { return b.StateSince.Compare(a.StateSince) })
	slices.SortStableFunc(silent, func(a, b baadal.VM) int { return asked[a.ID].Compare(asked[b.ID]) })
	return append(fresh, silent[:min(len(silent), guestsAtOnce)]...)
}

// ask notes the time if the VM's address answers.
func (l *Loops) ask(ctx context.Context, vm baadal.VM) {
	if vm.Address == "" || !l.sys.Answers(ctx, vm.Address) {
		return
	}
	err := l.db.Update(ctx, func(tx *store.Tx) error {
		now := tx.Now()
		fresh, err := tx.VM(vm.ID)
		if err != nil || fresh.State != baadal.VMRunning || fresh.AnsweredAt != nil {
			return ignoreGone(err)
		}
		if err := tx.SetVMAnswered(vm.ID, &now); err != nil {
			return err
		}
		return note(tx, "vm", baadal.Subject{Kind: "vm", ID: vm.ID, Name: vm.Name}, fresh.Generation+1, "answers", vm.OwnerID, vm.OrganisationID,
			map[string]any{"address": vm.Address, "after_ms": now.Sub(fresh.StateSince).Milliseconds()})
	})
	if err != nil && ctx.Err() == nil {
		l.log.Warn("answer not noted", "vm_id", vm.ID, "error", err)
	}
}
