package store

import (
	"fmt"

	"baadal"
)

// settle ends the states of a subject that only its task could have ended, when
// nobody will finish or undo that task any more: what was claimed for it comes
// back, and what it left half-made can be deleted.
func (tx *Tx) settle(s baadal.Subject) error {
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
