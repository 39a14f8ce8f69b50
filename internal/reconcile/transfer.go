package reconcile

import (
	"context"

	"baadal"
	"baadal/internal/store"
)

// removeTransfers asks for the removal of uploads and exports that nobody came
// for.
func (l *Loops) removeTransfers(ctx context.Context) error {
	return l.db.Update(ctx, func(tx *store.Tx) error {
		all, err := tx.IdleTransfers()
		if err != nil {
			return err
		}
		for _, f := range all {
			if err := ask(tx, systemTask(baadal.TaskTransferRemove, baadal.Subject{Kind: "transfer", ID: f.ID, Name: f.Name})); err != nil {
				return err
			}
		}
		return nil
	})
}
