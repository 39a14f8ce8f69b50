package service

import (
	"context"
	"encoding/json"
	"time"

	"baadal"
	"baadal/internal/store"
)

// Ready reports whether the database answers.
func (s *Service) Ready(ctx context.Context) error {
	return s.db.View(ctx, func(tx *store.Tx) error { _, err := tx.LastEventID(); return err })
}

// Stats are counts for monitoring.
type Stats struct {
	VMs, Hosts, Tasks map[string]int // by state
	Differences       int            // of the last audit
	OldestPendingTask time.Duration  // how long the oldest pending task has waited
}

// Stats counts what the cloud holds.
func (s *Service) Stats(ctx context.Context) (st Stats, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		all := baadal.Visibility{Scope: baadal.ScopeAny}
		vms, err := tx.VMs(baadal.ListQuery{Limit: 1, Filter: "state:any"}, all)
		if err != nil {
			return err
		}
		hosts, err := tx.Hosts(baadal.ListQuery{Limit: 1})
		if err != nil {
			return err
		}
		st.VMs, st.Hosts = vms.Facets["state"], hosts.Facets["state"]
		var oldest time.Time
		if st.Tasks, oldest, err = tx.TaskCounts(); err != nil {
			return err
		}
		if !oldest.IsZero() {
			st.OldestPendingTask = tx.Now().Sub(oldest)
		}
		body, err := tx.Document(auditDocument)
		if err == nil {
			var report baadal.Audit
			if err = json.Unmarshal(body, &report); err == nil {
				st.Differences = len(report.Differences)
			}
		}
		if baadal.KindOf(err) == baadal.NotFound {
			err = nil
		}
		return err
	})
	return st, err
}
