package workflow

import (
	"context"
	"fmt"
	"strings"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// NICParams are the parameters of the operations on a VM's NICs. The row has the
// NIC's new claims from the transaction that made the task on.
type NICParams struct {
	Index   int              `json:"index"`
	MAC     string           `json:"mac"`
	Network string           `json:"network"`          // by name
	Before  baadal.DomainNIC `json:"before,omitempty"` // where it was, of a change
	Old     string           `json:"old,omitempty"`    // likewise: network and address in words
}

// nicAdd gives a VM another NIC, at once if it runs.
func (w *Workflows) nicAdd() task.Body {
	return task.Body{
		Kind:  baadal.TaskNICAdd,
		Steps: []task.Step{{Name: "plug", Do: w.plugNIC, Undo: w.unplugNIC}},
		Done:  nicChanged("has another NIC"),
		Undone: func(tx *store.Tx, r *task.Run) error {
			params, err := task.Params[NICParams](r)
			if err != nil {
				return err
			}
			return tx.DropNIC(r.Task.Subject.ID, params.Index)
		},
	}
}

// nicRemove takes a NIC away from a VM; its address is given back last.
func (w *Workflows) nicRemove() task.Body {
	return task.Body{
		Kind:  baadal.TaskNICRemove,
		Steps: []task.Step{{Name: "unplug", Do: w.unplugNIC, Undo: w.plugNIC}},
		Done: func(tx *store.Tx, r *task.Run) (string, error) {
			params, err := task.Params[NICParams](r)
			if err != nil {
				return "", err
			}
			if err := tx.DropNIC(r.Task.Subject.ID, params.Index); err != nil {
				return "", err
			}
			return nicChanged("has one NIC less")(tx, r)
		},
	}
}

// nicChange puts a NIC into another network. It keeps its MAC, and the guest its
// device: the new address was claimed together with it, so the DHCP server is
// told first. The old address is given back last.
func (w *Workflows) nicChange() task.Body {
	return task.Body{
		Kind: baadal.TaskNICChange,
		Steps: []task.Step{
			{Name: "dhcp", Do: w.applyDHCP, Undo: w.returnMAC},
			{Name: "network", Do: w.plugNIC, Undo: w.plugNICBack},
		},
		Done: func(tx *store.Tx, r *task.Run) (string, error) {
			params, err := task.Params[NICParams](r)
			if err != nil {
				return "", err
			}
			if err := tx.NICArrived(r.Task.Subject.ID, params.Index); err != nil {
				return "", err
			}
			if params.Index == 0 { // it is asked for at its new address
				if err := tx.SetVMAnswered(r.Task.Subject.ID, nil); err != nil {
					return "", err
				}
			}
			return nicChanged("is in network "+params.Network)(tx, r)
		},
		Undone: func(tx *store.Tx, r *task.Run) error {
			params, err := task.Params[NICParams](r)
			if err != nil {
				return err
			}
			return tx.NICStayed(r.Task.Subject.ID, params.Index, params.MAC)
		},
	}
}

// loadNIC reads the VM and the NIC that a task is about.
func (w *Workflows) loadNIC(ctx context.Context, r *task.Run) (p place, params NICParams, nic baadal.DomainNIC, err error) {
	if params, err = task.Params[NICParams](r); err != nil {
		return p, params, nic, err
	}
	if p, err = w.load(ctx, r); err != nil {
		return p, params, nic, err
	}
	for i := range p.nics {
		if p.nics[i].Index == params.Index {
			return p, params, p.nics[i].Domain(), nil
		}
	}
	return p, params, nic, baadal.Errorf(baadal.Internal, "NIC %d of %s has no address", params.Index, p.vm.Name)
}

func (w *Workflows) plugNIC(ctx context.Context, r *task.Run) error {
	p, _, nic, err := w.loadNIC(ctx, r)
	if err != nil {
		return err
	}
	return w.connect(ctx, r, p, nic)
}

func (w *Workflows) unplugNIC(ctx context.Context, r *task.Run) error {
	p, params, _, err := w.loadNIC(ctx, r)
	if err != nil {
		return err
	}
	return ignoreMissing(w.sys.NICPlugs.DropNIC(ctx, p.host, p.vm.UUID, params.MAC))
}

// returnMAC gives the NIC's MAC back to its old address, and tells the DHCP
// server.
func (w *Workflows) returnMAC(ctx context.Context, r *task.Run) error {
	params, err := task.Params[NICParams](r)
	if err != nil {
		return err
	}
	err = w.db.Update(ctx, func(tx *store.Tx) error { return tx.ReturnMAC(r.Task.Subject.ID, params.Index, params.MAC) })
	if err != nil {
		return err
	}
	return w.applyDHCP(ctx, r)
}

// plugNICBack puts the NIC back into its old network. The MAC goes first: the
// guest asks for its address as soon as it is there.
func (w *Workflows) plugNICBack(ctx context.Context, r *task.Run) error {
	if err := w.returnMAC(ctx, r); err != nil {
		return err
	}
	params, err := task.Params[NICParams](r)
	if err != nil {
		return err
	}
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	return ignoreMissing(w.connect(ctx, r, p, params.Before))
}

// connect gives a VM a NIC, or puts the one with its MAC where it belongs. If
// the VM is active its guest sees the link go down and come up, so that it asks
// for an address; before that the port's tag is read back.
func (w *Workflows) connect(ctx context.Context, r *task.Run, p place, nic baadal.DomainNIC) error {
	nic.Down = true
	if err := w.sys.NICPlugs.SetNIC(ctx, p.host, p.vm.UUID, nic); err != nil {
		return err
	}
	active, err := w.runsNow(ctx, p)
	if err != nil {
		return err
	}
	if active {
		if err := w.unlessOff(ctx, p, w.checkTag(ctx, r, p, nic)); err != nil {
			return err
		}
	}
	nic.Down = false
	return w.sys.NICPlugs.SetNIC(ctx, p.host, p.vm.UUID, nic)
}

// checkTag compares the tag of the port that a NIC has on its host's bridge with
// its network's, and sets it if it is another one: a port without its tag is in
// every network.
func (w *Workflows) checkTag(ctx context.Context, r *task.Run, p place, nic baadal.DomainNIC) error {
	const tries = 20
	mac := strings.ToUpper(nic.MAC)
	for try := 1; ; try++ {
		tags, err := w.sys.Prober.VLANs(ctx, p.host)
		if err != nil {
			return err
		}
		tag, plugged := tags[mac]
		switch {
		case plugged && tag == nic.VLAN:
			r.Detail("its port on %s has the tag %d", p.host.Name, tag)
			return nil
		case try == tries && !plugged:
			return baadal.Errorf(baadal.Conflict, "%s has no port for the NIC %s", p.host.Name, mac).WithCode("port_unknown")
		case try == tries:
			return baadal.Errorf(baadal.Conflict, "the port of the NIC %s on %s has the tag %d, and does not take %d", mac, p.host.Name, tag, nic.VLAN).WithCode("wrong_vlan")
		case plugged:
			if err := w.sys.Prober.SetVLAN(ctx, p.host, mac, nic.VLAN); err != nil && baadal.KindOf(err) != baadal.NotFound {
				return err
			}
		default:
			if err := sleep(ctx, 50*time.Millisecond); err != nil {
				return err
			}
		}
	}
}

// alignNICs gives a VM the NICs that it has claimed, and no others: a revert
// brings back those of the snapshot, in the networks in which they were.
func (w *Workflows) alignNICs(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	has, err := w.sys.NICPlugs.NICs(ctx, p.host, p.vm.UUID)
	if err != nil {
		return err
	}
	at := map[string]baadal.DomainNIC{}
	for _, n := range has {
		at[strings.ToUpper(n.MAC)] = n
	}
	for i := range p.nics {
		want := p.nics[i].Domain()
		mac := strings.ToUpper(want.MAC)
		now, plugged := at[mac]
		delete(at, mac)
		if plugged && now.VLAN == want.VLAN {
			if err := w.sys.NICPlugs.SetNIC(ctx, p.host, p.vm.UUID, want); err != nil {
				return err
			}
			continue
		}
		if err := w.connect(ctx, r, p, want); err != nil {
			return err
		}
	}
	held := false
	for mac, n := range at {
		err := w.sys.NICPlugs.DropNIC(ctx, p.host, p.vm.UUID, mac)
		if baadal.CodeOf(err) == "nic_held" {
			held, n.Down = true, true
			r.Detail("the guest does not let go of the NIC %s: its link is down until the next cold start", mac)
			err = w.sys.NICPlugs.SetNIC(ctx, p.host, p.vm.UUID, n)
		}
		if err != nil {
			return err
		}
	}
	if !held {
		return nil
	}
	return w.defineAsReverted(ctx, r, p)
}

// defineAsReverted defines a VM as its revert has left it, with the NICs that it
// has claimed.
func (w *Workflows) defineAsReverted(ctx context.Context, r *task.Run, p place) error {
	var l looked
	known, err := r.Output("look", &l)
	if err != nil {
		return err
	}
	if known {
		p.vm.VCPUs, p.vm.RAMMiB = l.VCPUs, l.RAMMiB
		if l.Disc != nil {
			p.disc = l.Disc.Path
		}
	}
	return w.sys.Hypervisor.Define(ctx, p.host, w.domain(p))
}

// nicChanged tells what was done with a NIC.
func nicChanged(what string) func(*store.Tx, *task.Run) (string, error) {
	return func(tx *store.Tx, r *task.Run) (string, error) {
		params, err := task.Params[NICParams](r)
		if err != nil {
			return "", err
		}
		vm, err := tx.VM(r.Task.Subject.ID)
		if err != nil {
			return "", err
		}
		nics, err := tx.NICs(vm.ID)
		if err != nil {
			return "", err
		}
		now := "removed"
		if nic, err := baadal.FindNIC(nics, fmt.Sprint(params.Index)); err == nil {
			now = nic.Address + " in " + nic.Network
		}
		changes, err := baadal.Changes{fmt.Sprintf("nic %d", params.Index): {Old: params.Old, New: now}}.JSON()
		if err != nil {
			return "", err
		}
		_, err = tx.AddEvent(baadal.Event{
			Topic: "vm", Subject: vmSubject(vm), Version: vm.Generation, What: what, Changes: changes,
			ActorID: r.Task.RequesterID, Actor: r.Task.Requester, OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID,
		})
		return vm.Name + " " + what, err
	}
}
