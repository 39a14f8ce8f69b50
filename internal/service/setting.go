package service

import (
	"context"

	"baadal"
	"baadal/internal/store"
)

// Settings lists every setting with its default.
func (s *Service) Settings(ctx context.Context, a baadal.Actor) (all []baadal.Setting, err error) {
	if err := may(a, baadal.ActionSettingRead); err != nil {
		return nil, err
	}
	err = s.db.View(ctx, func(tx *store.Tx) (err error) { all, err = tx.Settings(); return err })
	return all, err
}

// UpdateSetting changes one setting; it is in force at once.
func (s *Service) UpdateSetting(ctx context.Context, a baadal.Actor, name, value string, opt baadal.ChangeOptions) (set baadal.Setting, err error) {
	if err := first(may(a, baadal.ActionSettingUpdate), baadal.CheckSetting(name, value)); err != nil {
		return set, err
	}
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		before, err := tx.SettingValues()
		if err != nil {
			return err
		}
		if set, err = tx.SetSetting(name, value, opt.Generation, a.User.Username); err != nil {
			return err
		}
		if opt.DryRun {
			return errDryRun
		}
		return event(tx, a, baadal.Event{Subject: baadal.Subject{Kind: "setting", Name: name}, Version: set.Generation, What: "updated"},
			map[string]any{name: map[string]any{"old": before[name], "new": value}})
	})
	if isDryRun(err) {
		err = nil
	}
	return set, err
}
