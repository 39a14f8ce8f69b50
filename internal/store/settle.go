package store

import (
	"encoding/json"
	"fmt"

	"baadal"
)

// settle ends the states of a subject that only its task could have ended, when
// nobody will finish or undo that task any more: what was claimed for it comes
// back, and what it left half-made can be deleted. The task is not active now; if
// it was undone long ago, such states are those of the one that is at it since.
func (tx *Tx) settle(t *baadal.Task) error {
	s := t.Subject
	if holder, err := tx.ActiveTask(s); err != nil || holder != nil {
		return err
	}
	if t.UndoPending {
		if err := tx.settleOwed(t); err != nil {
			return err
		}
	}
	switch s.Kind {
	case "vm":
		if err := tx.ReleaseVMTarget(s.ID); err != nil {
			return err
		}
		if err := tx.ReleaseMoves(s.ID); err != nil {
			return err
		}
		if _, err := tx.exec(`UPDATE disks SET state = 'detached', target = '', updated_at = $1, generation = generation + 1
			WHERE vm_id = $2 AND state = 'creating'`, tx.now(), s.ID); err != nil {
			return fmt.Errorf("settle disks: %w", err)
		}
	case "template":
		if _, err := tx.exec(`UPDATE templates SET state = 'failed', updated_at = $1, generation = generation + 1
			WHERE id = $2 AND state = 'importing'`, tx.now(), s.ID); err != nil {
			return fmt.Errorf("settle template: %w", err)
		}
	}
	return nil
}

// settleOwed does to the store what the end of an undo would have done, where
// nothing is needed for it from outside: loops and the audit then bring servers
// and hosts in line with the store. A NIC that was to be added or removed stays
// the VM's: so the audit sees whether it is there.
func (tx *Tx) settleOwed(t *baadal.Task) error {
	id := t.Subject.ID
	switch t.Kind {
	case baadal.TaskNetworkApply:
		return tx.DeleteNetwork(id)
	case baadal.TaskNetworkDelete:
		return tx.SetNetworkDeleting(id, false)
	case baadal.TaskNetworkGrow:
		return tx.DropComing(id)
	case baadal.TaskNetworkShrink:
		return tx.KeepGoing(id)
	case baadal.TaskNICChange:
		var p struct {
			Index int    `json:"index"`
			MAC   string `json:"mac"`
		}
		if err := json.Unmarshal(t.Params, &p); err != nil {
			return fmt.Errorf("read task parameters: %w", err)
		}
		return tx.NICStayed(id, p.Index, p.MAC)
	}
	return nil
}
