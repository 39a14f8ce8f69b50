package baadal_test

import (
	"testing"
	"time"

	"baadal"
)

func TestBackupSchedule(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		in     baadal.BackupSchedule
		field  string
		period time.Duration
	}{
		{baadal.BackupSchedule{Every: baadal.BackupNever, Keep: 1}, "", 0},
		{baadal.BackupSchedule{Every: baadal.BackupDaily, Keep: 1000, Incremental: true}, "", 24 * time.Hour},
		{baadal.BackupSchedule{Every: baadal.BackupWeekly, Keep: 1}, "", 7 * 24 * time.Hour},
		{baadal.BackupSchedule{Every: baadal.BackupMonthly, Keep: 1}, "", 30 * 24 * time.Hour},
		{baadal.BackupSchedule{Every: baadal.BackupUser, Keep: 1}, "every", 0},
		{baadal.BackupSchedule{Keep: 1}, "every", 0},
		{baadal.BackupSchedule{Every: baadal.BackupDaily}, "keep", 24 * time.Hour},
		{baadal.BackupSchedule{Every: baadal.BackupDaily, Keep: 1001}, "keep", 24 * time.Hour},
	} {
		field := ""
		if err, ok := test.in.Validate().(*baadal.Error); ok { //nolint:errorlint // as it is returned
			field = err.Field
		}
		if field != test.field || test.in.Period() != test.period {
			t.Errorf("%+v: field %q, period %s", test.in, field, test.in.Period())
		}
	}
}

func TestBackupActions(t *testing.T) {
	t.Parallel()
	all := []baadal.Action{baadal.ActionBackupVerify, baadal.ActionBackupRestore, baadal.ActionBackupReplace, baadal.ActionBackupDelete}
	for _, test := range []struct {
		name string
		b    baadal.Backup
		want [4]string // codes in the order of all
	}{
		{"ready", baadal.Backup{State: baadal.BackupReady}, [4]string{}},
		{"needed", baadal.Backup{State: baadal.BackupReady, Standing: 2}, [4]string{3: "backup_needed"}},
		{"damaged", baadal.Backup{State: baadal.BackupDamaged}, [4]string{1: "backup_damaged", 2: "backup_damaged"}},
		{"making", baadal.Backup{State: baadal.BackupMaking}, [4]string{"backup_not_ready", "backup_not_ready", "backup_not_ready", "backup_not_ready"}},
		{"held", baadal.Backup{State: baadal.BackupReady, Task: &baadal.TaskRef{ID: 7, Kind: baadal.TaskBackupVerify}}, [4]string{"busy", "busy", "busy", "busy"}},
	} {
		for i, a := range all {
			if got := baadal.CodeOf(test.b.CheckAction(a)); got != test.want[i] {
				t.Errorf("%s: %s gives %q, want %q", test.name, a, got, test.want[i])
			}
		}
	}
}
