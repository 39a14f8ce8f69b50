package service

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"

	"baadal"
	"baadal/internal/auth"
	"baadal/internal/placement"
	"baadal/internal/store"
)

// creation is what a wish for a VM refers to, as found in the transaction.
type creation struct {
	owner     baadal.User
	template  baadal.Template
	network   baadal.Network
	networks  []baadal.Network // of its NICs beside the first one
	want      placement.Want
	settings  baadal.SettingValues
	secGroups []int64
	uuid      string // of a domain that is adopted; a new one if empty
}

// CreateVM places a VM, claims everything it needs, and makes the task that
// creates it: one transaction, so that nothing is ever chosen twice.
func (s *Service) CreateVM(ctx context.Context, a baadal.Actor, in baadal.VMCreate, opt baadal.ChangeOptions) (c baadal.Change[baadal.VM], err error) {
	if err := may(a, baadal.ActionVMCreate); err != nil {
		return c, err
	}
	if err := in.Validate(); err != nil {
		return c, err
	}
	var vm baadal.VM
	var t baadal.Task
	var choice placement.Choice
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		if err := tx.Lock("placement"); err != nil {
			return err
		}
		cr, err := s.resolve(tx, a, in)
		if err != nil {
			return err
		}
		if choice, err = choose(tx, cr); err != nil {
			return err
		}
		if vm, err = claim(tx, a, in, cr, choice); err != nil {
			return err
		}
		if t, err = newVMTask(a, baadal.TaskVMCreate, vm, 2, map[string]any{"full_copy": in.FullCopy, "wish": in}); err != nil {
			return err
		}
		deadline := tx.Now().Add(cr.settings.Duration(baadal.SettingCreateDeadline))
		t.Deadline = &deadline
		if err := tx.InsertTask(&t); err != nil {
			return err
		}
		if vm, err = tx.VM(vm.ID); err != nil {
			return err
		}
		if opt.DryRun {
			return errDryRun
		}
		return event(tx, a, baadal.Event{Subject: vmSubject(vm), Version: vm.Generation, What: "created", OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID},
			map[string]any{
				"host": baadal.Changed{New: vm.Host}, "address": baadal.Changed{New: vm.Address}, "template": baadal.Changed{New: vm.Template},
				"vcpus": baadal.Changed{New: vm.VCPUs}, "ram_mib": baadal.Changed{New: vm.RAMMiB}, "disk_gib": baadal.Changed{New: vm.DiskGiB},
			})
	})
	if isDryRun(err) {
		return baadal.Change[baadal.VM]{Plan: presentPlan(a, s.createPlan(vm, choice))}, nil
	}
	if err != nil {
		return c, hideHosts(a, err)
	}
	present(a, &vm)
	return baadal.Change[baadal.VM]{Resource: &vm, Task: &t}, nil
}

func (s *Service) createPlan(vm baadal.VM, choice placement.Choice) *baadal.Plan {
	return &baadal.Plan{
		Summary: fmt.Sprintf("create %s on %s with address %s", vm.Name, vm.Host, vm.Address),
		Host:    vm.Host, Datastore: vm.Datastore, Network: vm.Network, Why: choice.Why, Hosts: choice.Hosts,
		Claims: []string{
			fmt.Sprintf("%d vCPUs and %d MiB of memory on %s", vm.VCPUs, vm.RAMMiB, vm.Host),
			fmt.Sprintf("%d GiB on datastore %s", vm.DiskGiB, vm.Datastore),
			fmt.Sprintf("address %s (the lowest free one of %s; another may be taken meanwhile)", vm.Address, vm.Network),
		},
		Steps: s.queue.StepNames(baadal.TaskVMCreate),
	}
}

// resolve finds what the wish names and checks that the actor may use it.
func (s *Service) resolve(tx *store.Tx, a baadal.Actor, in baadal.VMCreate) (cr creation, err error) {
	if err := resolvePeople(tx, a, baadal.ActionVMCreate, in, &cr); err != nil {
		return cr, err
	}
	if cr.template, err = tx.TemplateFor(in.Template, a.Sees(baadal.ActionTemplateDelete)); err != nil {
		return cr, fieldOf(err, "template")
	}
	if err := usableTemplate(&cr.template); err != nil {
		return cr, err
	}
	disk := max(in.DiskGiB, cr.template.MinDiskGiB())
	if in.DiskGiB != 0 && in.DiskGiB < cr.template.MinDiskGiB() {
		return cr, baadal.Errorf(baadal.Invalid, "a disk of %d GiB is smaller than the template", in.DiskGiB).WithField("disk_gib").
			WithDetail("template %s needs %d GiB", cr.template.Name, cr.template.MinDiskGiB())
	}
	if in.Public {
		if err := s.needNAT(); err != nil {
			return cr, err
		}
	}
	cr.want = placement.Want{VCPUs: in.VCPUs, RAMMiB: in.RAMMiB, DiskBytes: int64(disk) << 30}
	if cr.want.Rules, err = wishedRules(tx, a, cr.owner, in.Hosts, in.Affinity); err != nil {
		return cr, err
	}
	if cr.secGroups, _, err = wishedSecGroups(tx, a, in.SecGroups); err != nil {
		return cr, err
	}
	if in.Host != "" {
		h, err := tx.HostByRef(in.Host)
		if err != nil {
			return cr, fieldOf(err, "host")
		}
		cr.want.Host = h.ID
	}
	// An overlay and the file it stands on share a datastore: one mount, one fate.
	cr.want.Datastore = cr.template.DatastoreID
	if in.Datastore != "" {
		d, err := tx.DatastoreByRef(in.Datastore)
		if err != nil {
			return cr, fieldOf(err, "datastore")
		}
		if d.ID != cr.template.DatastoreID {
			return cr, baadal.Errorf(baadal.Invalid, "template %s is on datastore %s, not on %s", cr.template.Name, cr.template.Datastore, d.Name).
				WithField("datastore").WithNext("Import the template there too", "baadal template import FILE --datastore "+d.Name)
		}
	}
	return cr, nil
}

// resolvePeople finds the settings, the owner and the network of a wish for a VM.
func resolvePeople(tx *store.Tx, a baadal.Actor, action baadal.Action, in baadal.VMCreate, cr *creation) (err error) {
	if cr.settings, err = tx.SettingValues(); err != nil {
		return err
	}
	cr.owner = a.User
	if in.Owner != "" && in.Owner != a.User.Username {
		if cr.owner, err = findUser(tx, a, in.Owner); err != nil {
			return fieldOf(err, "owner")
		}
	}
	if cr.owner.Blocked {
		return baadal.Errorf(baadal.Conflict, "%s is blocked", cr.owner.Username).WithField("owner")
	}
	if err := reach(a, action, cr.owner.OrganisationID); err != nil {
		return err
	}
	if cr.network, err = pickNetwork(tx, a, in.Network); err != nil {
		return fieldOf(err, "network")
	}
	cr.networks, err = moreNetworks(tx, a, cr.network, in.Networks)
	return err
}

// moreNetworks finds the networks of a VM's NICs beside the first one: each is
// another.
func moreNetworks(tx *store.Tx, a baadal.Actor, network baadal.Network, refs []string) (all []baadal.Network, err error) {
	if len(refs) >= baadal.MaxNICs {
		return nil, baadal.Errorf(baadal.Invalid, "%d networks are too many", len(refs)+1).WithField("networks").WithDetail("a VM can have %d NICs", baadal.MaxNICs)
	}
	taken := map[int64]bool{network.ID: true}
	for _, ref := range refs {
		n, err := pickNetwork(tx, a, ref)
		if err != nil {
			return nil, fieldOf(err, "networks")
		}
		if taken[n.ID] {
			return nil, baadal.Errorf(baadal.Invalid, "network %s is given twice", n.Name).WithField("networks")
		}
		taken[n.ID], all = true, append(all, n)
	}
	return all, nil
}

// fieldOf says which field of the wish an error is about.
func fieldOf(err error, field string) error {
	if e, ok := err.(*baadal.Error); ok { //nolint:errorlint // the store returns its own error, not a chain
		e.Field = field
		if e.Kind == baadal.NotFound {
			e.Kind = baadal.Invalid
		}
	}
	return err
}

func choose(tx *store.Tx, cr creation) (placement.Choice, error) {
	stores, err := tx.AllDatastores()
	if err != nil {
		return placement.Choice{}, err
	}
	hosts, exact, err := tx.RecentHosts()
	if err != nil {
		return placement.Choice{}, err
	}
	for {
		choice, err := placement.Choose(hosts, stores, cr.want, placement.LimitsOf(cr.settings))
		if exact {
			return choice, err
		}
		if err != nil { // there may be room by now
			if hosts, err = tx.AllHosts(); err != nil {
				return choice, err
			}
			exact = true
			continue
		}
		if right, err := tx.RenewHost(&hosts, choice.Host.ID); right || err != nil {
			return choice, err
		}
	}
}

// claim makes the VM's row with everything it owns.
func claim(tx *store.Tx, a baadal.Actor, in baadal.VMCreate, cr creation, choice placement.Choice) (baadal.VM, error) {
	keys := in.SSHKeys
	if len(keys) == 0 {
		keys = cr.owner.SSHKeys
	}
	vm := baadal.VM{
		UUID: cmp.Or(cr.uuid, newUUID()), Name: in.Name, Identity: baadal.Identity(cr.owner.Organisation, cr.owner.Username, in.Name),
		OwnerID: cr.owner.ID, OrganisationID: cr.owner.OrganisationID, RequesterID: a.User.ID,
		HostID: choice.Host.ID, DatastoreID: choice.Datastore.ID, TemplateID: cr.template.ID, NetworkID: cr.network.ID,
		VCPUs: in.VCPUs, RAMMiB: in.RAMMiB, DiskGiB: int(cr.want.DiskBytes >> 30),
		State: baadal.VMInQueue, Placement: choice.Why, Purpose: in.Purpose, SSHKeys: keys,
	}
	if err := tx.CreateVM(&vm); err != nil {
		return vm, err
	}
	if err := keepRules(tx, vm, cr.want.Rules); err != nil {
		return vm, err
	}
	if len(cr.secGroups) > 0 {
		if err := tx.SetVMSecGroups(vm.ID, cr.secGroups); err != nil {
			return vm, err
		}
	}
	for i, n := range append([]baadal.Network{cr.network}, cr.networks...) {
		if _, err := tx.ClaimNIC(n.ID, vm.ID, i); err != nil {
			return vm, err
		}
	}
	if _, err := tx.ClaimVNCPort(vm.ID, cr.settings.Int(baadal.SettingVNCFirst), cr.settings.Int(baadal.SettingVNCLast)); err != nil {
		return vm, err
	}
	if in.Public {
		if _, err := tx.ClaimPublic(vm.ID); err != nil {
			return vm, err
		}
	}
	if cr.uuid != "" { // its guest has passwords of its own
		return vm, nil
	}
	return vm, tx.SetSecret(vm.ID, auth.OneTimePassword())
}

// claimAgain gives a deleted VM a host, an address (its old one if that is
// free) and a port again.
func (s *Service) claimAgain(tx *store.Tx, a baadal.Actor, vm *baadal.VM, plan *baadal.Plan) error {
	if err := tx.Lock("placement"); err != nil {
		return err
	}
	if vm.PurgeAfter != nil && vm.PurgeAfter.Before(tx.Now()) {
		return baadal.Errorf(baadal.Conflict, "%s could be restored until %s", vm.Name, vm.PurgeAfter.Format("2006-01-02 15:04 MST")).WithCode("retention_over")
	}
	settings, err := tx.SettingValues()
	if err != nil {
		return err
	}
	want := placement.Want{VCPUs: vm.VCPUs, RAMMiB: vm.RAMMiB, Datastore: vm.DatastoreID, VM: vm.ID}
	if want.Rules, err = rulesFor(tx, a, *vm); err != nil {
		return err
	}
	choice, err := choose(tx, creation{settings: settings, want: want})
	if err != nil {
		return err
	}
	if choice, err = mountingAll(tx, *vm, choice, want, settings); err != nil {
		return err
	}
	vm.HostID, vm.Placement, vm.State = choice.Host.ID, choice.Why, baadal.VMInQueue
	plan.Host, plan.Why, plan.Hosts = choice.Host.Name, choice.Why, choice.Hosts
	if err := tx.UpdateVM(vm); err != nil {
		return err
	}
	if err := tx.ReclaimAddress(vm.NetworkID, vm.ID); err != nil {
		return err
	}
	if err := tx.ReclaimPublic(vm.ID); err != nil {
		return err
	}
	if _, err := tx.ClaimVNCPort(vm.ID, settings.Int(baadal.SettingVNCFirst), settings.Int(baadal.SettingVNCLast)); err != nil {
		return err
	}
	return nil
}

// newUUID returns a random (version 4) UUID.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
