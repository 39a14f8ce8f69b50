package baadal_test

import (
	"testing"
	"time"

	"baadal"
)

func TestSettingsHaveUsableDefaults(t *testing.T) {
	t.Parallel()
	all := baadal.Settings()
	if len(all) < 10 {
		t.Fatalf("only %d settings", len(all))
	}
	for i, s := range all {
		if err := baadal.CheckSetting(s.Name, s.Default); err != nil {
			t.Errorf("the default of %s: %v", s.Name, err)
		}
		if s.Doc == "" || s.Value != s.Default || (i > 0 && all[i-1].Name >= s.Name) {
			t.Errorf("%+v: no words, another value than its default, or not in order", s)
		}
	}
	all[0].Default = "spoilt"
	if baadal.Settings()[0].Default == "spoilt" {
		t.Error("the table can be changed from outside")
	}
}

func TestCheckSetting(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, value string
		ok          bool
	}{
		{baadal.SettingCPURatio, "1", true},
		{baadal.SettingCPURatio, "0.5", true},
		{baadal.SettingCPURatio, "1000", true},
		{baadal.SettingCPURatio, "1000.1", false},
		{baadal.SettingCPURatio, "0", false},
		{baadal.SettingCPURatio, "-2", false},
		{baadal.SettingCPURatio, "NaN", false},
		{baadal.SettingCPURatio, "Inf", false},
		{baadal.SettingCPURatio, "2,0", false},
		{baadal.SettingCPURatio, "", false},
		{baadal.SettingHostSlots, "1", true},
		{baadal.SettingHostSlots, "0", false},
		{baadal.SettingHostSlots, "1.5", false},
		{baadal.SettingHostSlots, "99999999999999999999", false},
		{baadal.SettingRetention, "30m", true},
		{baadal.SettingRetention, "30", false},
		{baadal.SettingRetention, "0s", false},
		{baadal.SettingRetention, "-1h", false},
		{baadal.SettingVNCFirst, "5900", true},
		{baadal.SettingVNCLast, "65535", true},
		{baadal.SettingVNCLast, "65536", false},
		{baadal.SettingVNCFirst, "70000", false},
	} {
		err := baadal.CheckSetting(c.name, c.value)
		if c.ok && err != nil {
			t.Errorf("%s = %q: %v", c.name, c.value, err)
		}
		if !c.ok {
			mustFail(t, err, baadal.Invalid, "", "value")
		}
	}
	mustFail(t, baadal.CheckSetting("placement.cpu_ration", "1"), baadal.NotFound, "", "")
}

func TestSettingValues(t *testing.T) {
	t.Parallel()
	var none baadal.SettingValues
	if none.Float(baadal.SettingCPURatio) != 2 || none.Int(baadal.SettingHostSlots) != 8 || none.Duration(baadal.SettingRetention) != 720*time.Hour {
		t.Error("the zero value does not hold the defaults")
	}
	some := baadal.SettingValues{baadal.SettingHostSlots: "3"}
	if some.Int(baadal.SettingHostSlots) != 3 || some.Float(baadal.SettingRAMRatio) != 2 {
		t.Error("a value does not come before its default")
	}
}
