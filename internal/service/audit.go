package service

import (
	"context"
	"encoding/json"
	"fmt"

	"baadal"
	"baadal/internal/store"
)

// auditDocument is where the audit's workflow leaves its report.
const auditDocument = "audit"

var cloud = baadal.Subject{Kind: "cloud", Name: "cloud"}

// LastAudit returns the newest report.
func (s *Service) LastAudit(ctx context.Context, a baadal.Actor) (report baadal.Audit, err error) {
	if err := may(a, baadal.ActionAuditRead); err != nil {
		return report, err
	}
	err = s.db.View(ctx, func(tx *store.Tx) error {
		body, err := tx.Document(auditDocument)
		if baadal.KindOf(err) == baadal.NotFound {
			return baadal.Errorf(baadal.NotFound, "no audit was made yet").WithNext("Make one", "baadal audit")
		}
		if err != nil {
			return err
		}
		if err := json.Unmarshal(body, &report); err != nil {
			return fmt.Errorf("read audit: %w", err)
		}
		return nil
	})
	return report, err
}

// RunAudit makes the task that compares the store with the world and, if
// asked, mends what is safe to mend. One audit runs at a time.
func (s *Service) RunAudit(ctx context.Context, a baadal.Actor, repair bool, opt baadal.ChangeOptions) (c baadal.Change[baadal.Audit], err error) {
	action := baadal.ActionAuditRead
	if repair {
		action = baadal.ActionAuditRepair
	}
	if err := may(a, action); err != nil {
		return c, err
	}
	if opt.DryRun {
		return baadal.Change[baadal.Audit]{Plan: &baadal.Plan{Summary: "compare the store with the world", Steps: s.queue.StepNames(baadal.TaskAudit)}}, nil
	}
	var t baadal.Task
	err = s.db.Update(ctx, func(tx *store.Tx) (err error) {
		if t, err = newTask(a, baadal.TaskAudit, cloud, map[string]any{"repair": repair}); err != nil {
			return err
		}
		return tx.InsertTask(&t)
	})
	if err != nil {
		return c, err
	}
	return baadal.Change[baadal.Audit]{Task: &t}, nil
}
