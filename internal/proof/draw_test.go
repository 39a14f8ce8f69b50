package proof_test

import (
	"context"
	"fmt"

	"baadal"
)

func (s *sequence) wish() { s.draw()() }

// draw decides what somebody will ask for.
func (s *sequence) draw() func() {
	actor := []baadal.Actor{s.asha, s.ravi}[s.rnd.IntN(2)]
	b := s.book(s.t)
	alive := 0
	for _, vm := range b.VMs {
		if vm.State != baadal.VMDeleted {
			alive++
		}
	}
	if len(b.VMs) == 0 || alive < 6 && s.rnd.IntN(5) == 0 {
		return s.drawCreate(actor)
	}
	switch s.rnd.IntN(16) {
	case 0, 1:
		return s.drawOther(b, actor)
	case 2, 3:
		return s.drawNAT(b, actor)
	}
	op, w := s.drawOperation(b, actor, alive > 8)
	w.opt.DryRun = false
	return func() {
		k, err := op.do(w)
		s.answered(fmt.Sprintf("%s: %s %s %+v", actor.User.Username, op.name, w.vm, []any{w.disk, w.snapshot, w.name, w.n, w.host}), k, err)
	}
}

// drawOperation draws one that is possible for some VM, most of the time.
func (s *sequence) drawOperation(b book, actor baadal.Actor, crowded bool) (op operation, w wish) {
	ops := operations()
	for range 8 {
		op = ops[s.rnd.IntN(len(ops))]
		for _, i := range s.rnd.Perm(len(b.VMs)) {
			w = s.fill(b, b.VMs[i], actor)
			w.opt.DryRun = true
			if _, err := op.do(w); err == nil && (!crowded || op.kind != baadal.TaskVMClone) {
				return op, w
			}
		}
		if s.rnd.IntN(10) == 0 {
			break // somebody is refused
		}
	}
	return op, w
}

func (s *sequence) drawCreate(actor baadal.Actor) func() {
	in := baadal.VMCreate{Name: fmt.Sprint("vm", s.rnd.IntN(10)), Template: s.one("tiny", "tiny2"), Network: s.one("research", "dmz"), VCPUs: 1 + s.rnd.IntN(3), RAMMiB: 256 << s.rnd.IntN(5), FullCopy: s.rnd.IntN(4) == 0, Public: s.rnd.IntN(4) == 0}
	if s.rnd.IntN(4) == 0 {
		in.Host = s.one("host1", "host2", "host3")
	}
	return func() {
		ch, err := s.CreateVM(context.Background(), actor, in, baadal.ChangeOptions{})
		s.answered(fmt.Sprintf("%s: create %+v", actor.User.Username, in), ch.Task, err)
	}
}

// answered notes the answer. Any refusal is good that is not a defect.
func (s *sequence) answered(what string, k *baadal.Task, err error) {
	s.latent.Lock()
	defer s.latent.Unlock()
	switch kind := baadal.KindOf(err); {
	case kind == baadal.Internal || kind == baadal.Stale:
		s.t.Errorf("%s: %v", what, err)
	case err != nil:
		s.say("%s: refused, %s: %v", what, baadal.CodeOf(err), err)
	case k != nil:
		s.say("%s: task %d", what, k.ID)
	default:
		s.say("%s: done", what)
	}
}

// fill draws the details of a wish for a VM from what there is.
func (s *sequence) fill(b book, vm baadal.VM, actor baadal.Actor) wish {
	w := wish{
		ctx: context.Background(), svc: s.Service, actor: actor, vm: fmt.Sprint(vm.ID), disk: baadal.FirstTarget,
		attached: "none", detached: "none", deleted: "none", snapshot: "none",
		name: fmt.Sprint("n", s.rnd.IntN(6)), n: 1 + s.rnd.IntN(4), flag: s.rnd.IntN(2) == 0, datastore: s.one("", "main", "second"), host: s.one("", "", "host1", "host2", "host3"),
	}
	for _, k := range b.Disks {
		if k.VMID != vm.ID {
			continue
		}
		id := fmt.Sprint(k.ID)
		switch k.State {
		case baadal.DiskAttached:
			w.attached = s.one(w.attached, id, id)
		case baadal.DiskDetached:
			w.detached = s.one(w.detached, id, id)
		case baadal.DiskDeleted:
			w.deleted = s.one(w.deleted, id, id)
		}
		w.disk = s.one(w.disk, id)
	}
	w.elsewhere = map[string]string{"main": "second", "second": "main"}[vm.Datastore]
	w.backup = "none"
	for _, k := range b.Backups {
		if k.VMID == vm.ID {
			w.backup = s.one(w.backup, fmt.Sprint(k.ID), fmt.Sprint(k.ID))
		}
	}
	for _, snap := range b.Snapshots[vm.ID] {
		w.snapshot = s.one(w.snapshot, snap.Name, snap.Name)
	}
	return w
}

func (s *sequence) one(of ...string) string { return of[s.rnd.IntN(len(of))] }

// drawOther draws a wish that is no task of a VM that there is: words, rules and
// schedules, which change what others find, and acts on backups.
func (s *sequence) drawOther(b book, actor baadal.Actor) func() {
	ctx, none := context.Background(), baadal.ChangeOptions{}
	ref := func() string { return fmt.Sprint(b.VMs[s.rnd.IntN(len(b.VMs))].ID) }
	vm, other, backup, group := ref(), ref(), "none", fmt.Sprint("group", s.rnd.IntN(2))
	if len(b.Backups) > 0 {
		backup = fmt.Sprint(b.Backups[s.rnd.IntN(len(b.Backups))].ID)
	}
	purpose, hosts := fmt.Sprint("purpose ", s.rnd.IntN(9)), []string{s.one("host1", "host2"), "host3"}[:s.rnd.IntN(3)]
	policy := baadal.Autostarts()[s.rnd.IntN(3)]
	rule := []baadal.AffinityRule{baadal.AffinityApart, baadal.AffinityTogether}[s.rnd.IntN(2)]
	name, every := fmt.Sprint("vm", s.rnd.IntN(10)), baadal.BackupType(s.one("never", "daily"))
	acts := []struct {
		what string
		do   func() (*baadal.Task, error)
	}{
		{"words " + vm, func() (*baadal.Task, error) {
			return taskOf(s.EditVM(ctx, actor, vm, baadal.VMEdit{Purpose: &purpose}, none))
		}},
		{fmt.Sprint("autostart of ", vm, " ", policy), func() (*baadal.Task, error) {
			return taskOf(s.EditVM(ctx, actor, vm, baadal.VMEdit{Autostart: &policy}, none))
		}},
		{fmt.Sprint("hosts of ", vm, " ", hosts), func() (*baadal.Task, error) {
			return taskOf(s.EditVM(ctx, actor, vm, baadal.VMEdit{Hosts: &hosts}, none))
		}},
		{fmt.Sprint(rule, " ", vm, " ", other, " as ", group), func() (*baadal.Task, error) {
			return taskOf(s.CreateAffinity(ctx, actor, baadal.AffinityCreate{Name: group, Rule: rule, VMs: []string{vm, other}}, none))
		}},
		{"no more " + group, func() (*baadal.Task, error) { return taskOf(s.DeleteAffinity(ctx, actor, group, none)) }},
		{"restore backup " + backup + " as " + name, func() (*baadal.Task, error) {
			return taskOf(s.RestoreBackup(ctx, actor, backup, baadal.BackupRestore{As: name}, none))
		}},
		{"verify backup " + backup, func() (*baadal.Task, error) { return taskOf(s.VerifyBackup(ctx, actor, backup, none)) }},
		{"delete backup " + backup, func() (*baadal.Task, error) { return taskOf(s.DeleteBackup(ctx, actor, backup, none)) }},
		{fmt.Sprint("back up ", vm, " ", every), func() (*baadal.Task, error) {
			_, err := s.SetBackupSchedule(ctx, actor, vm, baadal.BackupSchedule{Every: every, Keep: 1, Incremental: true})
			return nil, err
		}},
	}
	act := acts[s.rnd.IntN(len(acts))]
	return func() {
		k, err := act.do()
		s.answered(actor.User.Username+": "+act.what, k, err)
	}
}
