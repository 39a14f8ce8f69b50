package store

import (
	"fmt"

	"baadal"
)

// Settings returns every setting with the value in force: the stored one, or
// its default with generation 0.
func (tx *Tx) Settings() ([]baadal.Setting, error) {
	stored, err := collect(tx, scanSetting, `SELECT name, value, generation, updated_at, updated_by FROM settings`)
	if err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	all := baadal.Settings()
	for i := range all {
		for _, s := range stored {
			if s.Name == all[i].Name {
				all[i].Value, all[i].Generation, all[i].UpdatedAt, all[i].UpdatedBy = s.Value, s.Generation, s.UpdatedAt, s.UpdatedBy
			}
		}
	}
	return all, nil
}

func scanSetting(r row) (s baadal.Setting, err error) {
	var updated int64
	err = r.Scan(&s.Name, &s.Value, &s.Generation, &updated, &s.UpdatedBy)
	at := timeOf(updated)
	s.UpdatedAt = &at
	return s, err
}

// SettingValues returns the settings in force, for those who obey them.
func (tx *Tx) SettingValues() (baadal.SettingValues, error) {
	all, err := tx.Settings()
	if err != nil {
		return nil, err
	}
	values := make(baadal.SettingValues, len(all))
	for _, s := range all {
		values[s.Name] = s.Value
	}
	return values, nil
}

// SetSetting stores a value if it fits the setting. A generation other than 0
// must be the current one.
func (tx *Tx) SetSetting(name, value string, generation int64, by string) (baadal.Setting, error) {
	if err := baadal.CheckSetting(name, value); err != nil {
		return baadal.Setting{}, err
	}
	if err := tx.Lock("setting " + name); err != nil {
		return baadal.Setting{}, err
	}
	before, err := tx.setting(name)
	if err != nil {
		return before, err
	}
	if generation != 0 && generation != before.Generation {
		return before, baadal.Errorf(baadal.Stale, "setting %s was changed by somebody else", name).WithCode("stale").
			WithDetail("its generation is %d, the change was made for %d", before.Generation, generation)
	}
	_, err = tx.exec(`INSERT INTO settings (name, value, updated_at, updated_by) VALUES ($1, $2, $3, $4)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value, generation = settings.generation + 1,
			updated_at = excluded.updated_at, updated_by = excluded.updated_by`, name, value, tx.now(), by)
	if err != nil {
		return before, fmt.Errorf("set %s: %w", name, err)
	}
	if name == baadal.SettingAntiSpoofing {
		tx.Wake(TopicFlow)
	}
	return tx.setting(name)
}

func (tx *Tx) setting(name string) (baadal.Setting, error) {
	all, err := tx.Settings()
	if err != nil {
		return baadal.Setting{}, err
	}
	for _, s := range all {
		if s.Name == name {
			return s, nil
		}
	}
	return baadal.Setting{}, missing("setting", name)
}
