package service

import (
	"context"

	"baadal"
	"baadal/internal/store"
)

// Events returns events after an id that the actor may see, oldest first.
func (s *Service) Events(ctx context.Context, a baadal.Actor, after int64, topics []string, ids []int64, limit int) (all []baadal.Event, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) (err error) {
		all, err = tx.EventsAfter(after, topics, ids, a.Sees(baadal.ActionEventRead), limit)
		return err
	})
	return all, err
}

// EventList lists the history that the actor may see, newest first.
func (s *Service) EventList(ctx context.Context, a baadal.Actor, q baadal.ListQuery) (list baadal.List[baadal.Event], err error) {
	err = s.db.View(ctx, func(tx *store.Tx) (err error) {
		list, err = tx.Events(q, a.Sees(baadal.ActionEventRead), nil)
		return err
	})
	return list, err
}

// EventSignal returns a channel that wakes when there may be new events.
func (s *Service) EventSignal() (wake <-chan struct{}, stop func()) { return s.db.Subscribe("event") }

// LastEventID returns the id of the newest event; 0 if there is none.
func (s *Service) LastEventID(ctx context.Context) (id int64, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) (err error) { id, err = tx.LastEventID(); return err })
	return id, err
}

// BeginIdempotent notes that a create with this key is at work, or returns the
// answer that the first call with it got.
func (s *Service) BeginIdempotent(ctx context.Context, a baadal.Actor, key, requestHash string) (prior *store.Response, err error) {
	err = s.db.Update(ctx, func(tx *store.Tx) (err error) {
		prior, err = tx.BeginIdempotent(a.User.ID, key, requestHash)
		return err
	})
	return prior, err
}

// FinishIdempotent keeps the answer for later calls with the same key.
func (s *Service) FinishIdempotent(ctx context.Context, a baadal.Actor, key string, status int, body []byte) error {
	return s.db.Update(ctx, func(tx *store.Tx) error { return tx.FinishIdempotent(a.User.ID, key, status, body) })
}

// DropIdempotent forgets a key whose call failed, so that it may be used again.
func (s *Service) DropIdempotent(ctx context.Context, a baadal.Actor, key string) error {
	return s.db.Update(ctx, func(tx *store.Tx) error { return tx.DropIdempotent(a.User.ID, key) })
}
