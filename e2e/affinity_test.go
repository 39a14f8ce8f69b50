package e2e_test

import (
	"strings"
	"testing"
	"time"

	"baadal"
)

// TestAffinity keeps real VMs apart and on some hosts only: what placement chose
// is what the hosts have, and who is in the way is named.
func TestAffinity(t *testing.T) {
	ctx, none, c := begin(t), baadal.ChangeOptions{}, cloud.Client
	if _, err := c.CreateAffinity(ctx, baadal.AffinityCreate{Name: "web", Rule: baadal.AffinityApart}, none); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if _, err := c.DeleteAffinity(ctx, "web", none); err != nil {
			t.Error(err)
		}
	}()
	in := baadal.VMCreate{Name: "web-1", RAMMiB: 96, Affinity: []string{"web"}, Hosts: []string{"host1", "host2"}}
	one := create(ctx, t, in)
	defer remove(ctx, t, one.UUID)
	in.Name = "web-2"
	two := create(ctx, t, in)
	defer remove(ctx, t, two.UUID)
	if one.Host == two.Host || one.Host == "host3" || two.Host == "host3" {
		t.Errorf("they are on %s and %s", one.Host, two.Host)
	}
	onlyOn(ctx, t, one.UUID, one.Host, "running")
	onlyOn(ctx, t, two.UUID, two.Host, "running")
	in.Name = "web-3"
	in.Template = "tiny"
	_, err := c.CreateVM(ctx, in, none)
	if words := baadal.Message(err); baadal.CodeOf(err) != "no_host" || !strings.Contains(words, one.Host+": it has web-1 of the apart group web") || !strings.Contains(words, "host3: the VM may run on host1, host2 only") {
		t.Errorf("a third: %v", err)
	}
	_, err = c.MigrateVM(ctx, one.UUID, baadal.VMMigrate{To: two.Host}, none)
	if baadal.CodeOf(err) != "no_host" || !strings.Contains(baadal.Message(err), "web-2 of the apart group web") {
		t.Errorf("to the other: %v", err)
	}

	// What a person does all the same shows until it is undone.
	if done := migrate(ctx, t, one.UUID, baadal.VMMigrate{To: two.Host, IgnoreAffinity: true}); done.State != baadal.TaskSuccess {
		t.Fatalf("%s: %s", done.State, done.Message)
	}
	report := audit(ctx, t, false)
	for _, d := range report.Differences {
		t.Logf("%s of %s: %s", d.Kind, d.Subject.Name, d.Stored)
	}
	if len(report.Differences) != 2 || report.Differences[0].Kind != baadal.DiffAffinity {
		t.Errorf("the audit: %+v", report.Differences)
	}
	if done := migrate(ctx, t, one.UUID, baadal.VMMigrate{To: one.Host}); done.State != baadal.TaskSuccess {
		t.Fatalf("%s: %s", done.State, done.Message)
	}
	eventually(t, 5*time.Second, "without broken rules", func() error {
		vm, err := c.VM(ctx, one.UUID)
		if err == nil && len(vm.Broken) > 0 {
			t.Errorf("%v", vm.Broken)
		}
		return err
	})
}
