package client_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"baadal"
	"baadal/client"
	"baadal/internal/server/servertest"
)

// Every noun's methods against the real server: the routes, the inputs and the
// answers fit together.

var none, dry = baadal.ChangeOptions{}, baadal.ChangeOptions{DryRun: true}

// furnished is a client of an administrator of a furnished cloud, in which a VM
// "off" is.
func furnished(t *testing.T) (context.Context, *client.Client, baadal.VM) {
	t.Helper()
	cloud := servertest.New(t)
	cloud.Furnish()
	root := cloud.User("root", "ADMIN", baadal.RoleAdmin)
	return t.Context(), newClient(t, cloud.URL, root.Token), cloud.VM(root, "off")
}

// try runs calls that are to be as they say.
func try(t *testing.T, calls map[string]func() error) {
	t.Helper()
	for name, call := range calls {
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHostsDatastoresTemplatesNetworks(t *testing.T) {
	t.Parallel()
	ctx, c, _ := furnished(t)
	try(t, map[string]func() error{
		"hosts": func() error { l, err := c.Hosts(ctx, baadal.ListQuery{Filter: "state:up"}); return total(l, 1, err) },
		"host":  func() error { h, err := c.Host(ctx, "one"); return same(h.Address, "192.0.2.1", err) },
		"add host": func() error {
			ch, err := c.AddHost(ctx, baadal.HostAdd{Address: "192.0.2.3", Fingerprint: servertest.Fingerprint}, none)
			return begun(ch.Task, baadal.TaskHostAdd, err)
		},
		"check": func() error {
			ch, err := c.CheckHost(ctx, "one", none)
			return begun(ch.Task, baadal.TaskHostCheck, err)
		},
		"remove host": func() error {
			_, err := c.RemoveHost(ctx, "one", none)
			return code(err, baadal.Conflict, "")
		},
		"datastores": func() error { l, err := c.Datastores(ctx, baadal.ListQuery{Filter: "one"}); return total(l, 1, err) },
		"datastore":  func() error { d, err := c.Datastore(ctx, "one"); return same(d.Path, "/mnt/one", err) },
		"add datastore": func() error {
			ch, err := c.AddDatastore(ctx, baadal.DatastoreAdd{Name: "two", Path: "/mnt/two"}, none)
			return same(ch.Resource.Name, "two", err)
		},
		"remove datastore": func() error {
			_, err := c.RemoveDatastore(ctx, "one", none)
			return code(err, baadal.Conflict, "datastore_in_use")
		},
		"templates": func() error { l, err := c.Templates(ctx, baadal.ListQuery{}); return total(l, 1, err) },
		"template":  func() error { m, err := c.Template(ctx, "one"); return same(m.File, "one.img", err) },
		"import template": func() error {
			ch, err := c.ImportTemplate(ctx, baadal.TemplateImport{Name: "x", URL: "http://192.0.2.8/x"}, dry)
			return planned(ch.Plan, err)
		},
		"delete template": func() error {
			_, err := c.DeleteTemplate(ctx, "one", none)
			return code(err, baadal.Conflict, "template_in_use")
		},
		"networks":  func() error { l, err := c.Networks(ctx, baadal.ListQuery{Filter: "one"}); return total(l, 1, err) },
		"network":   func() error { n, err := c.Network(ctx, "one"); return same(n.CIDR, "192.168.10.0/24", err) },
		"addresses": func() error { l, err := c.NetworkAddresses(ctx, "one"); return total(l, 200, err) },
		"create network": func() error {
			ch, err := c.CreateNetwork(ctx, baadal.NetworkCreate{Name: "n", VLAN: 9, CIDR: "10.9.0.0/24"}, none)
			return begun(ch.Task, baadal.TaskNetworkApply, err)
		},
		"edit network": func() error {
			name := "one"
			_, err := c.EditNetwork(ctx, "one", baadal.NetworkEdit{Name: &name}, none)
			return code(err, baadal.Invalid, "no_change")
		},
		"add range": func() error {
			ch, err := c.AddNetworkRange(ctx, "one", baadal.RangeAdd{First: "192.168.10.2", Last: "192.168.10.3"}, dry)
			return planned(ch.Plan, err)
		},
		"remove range": func() error {
			ch, err := c.RemoveNetworkRange(ctx, "one", "192.168.10.208", "192.168.10.209", dry)
			return planned(ch.Plan, err)
		},
		"delete network": func() error {
			_, err := c.DeleteNetwork(ctx, "one", none)
			return code(err, baadal.Conflict, "network_in_use")
		},
	})
}

func TestAffinities(t *testing.T) {
	t.Parallel()
	ctx, c, off := furnished(t)
	rule := baadal.AffinityTogether
	steps := []struct {
		what string
		do   func() error
	}{
		{"create", func() error {
			ch, err := c.CreateAffinity(ctx, baadal.AffinityCreate{Name: "web", Rule: baadal.AffinityApart, VMs: []string{off.Name}}, none)
			if err != nil {
				return err
			}
			return same(ch.Resource.Name, "web", err)
		}},
		{"show", func() error {
			f, err := c.Affinity(ctx, "web")
			return same(string(f.Rule), string(baadal.AffinityApart), err)
		}},
		{"edit", func() error {
			ch, err := c.EditAffinity(ctx, "web", baadal.AffinityEdit{Rule: &rule}, none)
			if err != nil {
				return err
			}
			return same(string(ch.Resource.Rule), string(rule), err)
		}},
		{"stale edit", func() error {
			_, err := c.EditAffinity(ctx, "web", baadal.AffinityEdit{Rule: &rule}, baadal.ChangeOptions{Generation: 99})
			return code(err, baadal.Stale, "stale")
		}},
		{"list", func() error {
			l, err := c.Affinities(ctx, baadal.ListQuery{Filter: "rule:together"})
			return total(l, 1, err)
		}},
		{"plan", func() error { ch, err := c.DeleteAffinity(ctx, "web", dry); return planned(ch.Plan, err) }},
		{"delete", func() error { _, err := c.DeleteAffinity(ctx, "web", none); return err }},
		{"gone", func() error { _, err := c.Affinity(ctx, "web"); return code(err, baadal.NotFound, "not_found") }},
	}
	for _, x := range steps {
		if err := x.do(); err != nil {
			t.Errorf("%s: %v", x.what, err)
		}
	}
}

func TestVMs(t *testing.T) {
	t.Parallel()
	ctx, c, off := furnished(t)
	try(t, map[string]func() error{
		"VM": func() error { v, err := c.VM(ctx, off.UUID); return same(v.Name, "off", err) },
		"create VM": func() error {
			ch, err := c.CreateVM(ctx, baadal.VMCreate{Name: "new", Template: "one", Network: "one"}, none)
			return begun(ch.Task, baadal.TaskVMCreate, err)
		},
		"plan VM": func() error {
			ch, err := c.CreateVM(ctx, baadal.VMCreate{Name: "new2", Template: "one", Network: "one"}, dry)
			return planned(ch.Plan, err)
		},
		"start VM":    func() error { ch, err := c.StartVM(ctx, "off", dry); return planned(ch.Plan, err) },
		"shutdown VM": func() error { _, err := c.ShutdownVM(ctx, "off", none); return code(err, baadal.Conflict, "vm_off") },
		"reboot VM":   func() error { _, err := c.RebootVM(ctx, "off", none); return code(err, baadal.Conflict, "vm_state") },
		"destroy VM":  func() error { _, err := c.DestroyVM(ctx, "off", none); return code(err, baadal.Conflict, "vm_off") },
		"delete VM":   func() error { ch, err := c.DeleteVM(ctx, "off", dry); return planned(ch.Plan, err) },
		"stale VM": func() error {
			_, err := c.DeleteVM(ctx, "off", baadal.ChangeOptions{Generation: 99})
			return code(err, baadal.Stale, "stale")
		},
		"restore VM": func() error { _, err := c.RestoreVM(ctx, "off", none); return code(err, baadal.Conflict, "vm_state") },
		"password":   func() error { p, err := c.VMPassword(ctx, "off"); return same(p, "secret of off", err) },
	})
}

func TestPeopleSettingsAuditEvents(t *testing.T) {
	t.Parallel()
	ctx, c, _ := furnished(t)
	try(t, map[string]func() error{
		"users": func() error { l, err := c.Users(ctx, baadal.ListQuery{Filter: "root"}); return total(l, 1, err) },
		"user":  func() error { u, err := c.User(ctx, "root"); return same(u.Organisation, "ADMIN", err) },
		"create user": func() error {
			u, err := c.CreateUser(ctx, baadal.UserCreate{Username: "new"}, none)
			return same(fmt.Sprint(len(u.OneTimePassword)), "19", err)
		},
		"update user": func() error {
			name := "Root"
			u, err := c.UpdateUser(ctx, "root", baadal.UserUpdate{Name: &name}, none)
			return same(u.Name, "Root", err)
		},
		"organisations": func() error { l, err := c.Organisations(ctx); return same(l.Items[0].Name, "ADMIN", err) },
		"settings":      func() error { l, err := c.Settings(ctx); return total(l, len(baadal.Settings()), err) },
		"update setting": func() error {
			s, err := c.UpdateSetting(ctx, baadal.SettingRetention, "48h", none)
			return same(s.Value, "48h", err)
		},
		"last audit": func() error { _, err := c.LastAudit(ctx); return code(err, baadal.NotFound, "") },
		"audit":      func() error { ch, err := c.RunAudit(ctx, true, none); return begun(ch.Task, baadal.TaskAudit, err) },
		"events": func() error {
			l, err := c.EventList(ctx, baadal.ListQuery{Filter: "topic:vm what:created off"})
			return total(l, 1, err)
		},
		"no such task":  func() error { _, err := c.Task(ctx, 4242); return code(err, baadal.NotFound, "") },
		"odd reference": func() error { _, err := c.VM(ctx, "../users?x=1#y"); return code(err, baadal.NotFound, "") },
		"bad list": func() error {
			_, err := c.VMs(ctx, baadal.ListQuery{Sort: "colour"})
			return code(err, baadal.Invalid, "")
		},
	})
}

func planned(plan *baadal.Plan, err error) error {
	if err == nil && plan == nil {
		err = errors.New("no plan")
	}
	return err
}

func total[T any](l baadal.List[T], want int, err error) error {
	if err == nil && (l.Total != want || len(l.Items) != min(want, 100) && len(l.Items) != want) {
		err = fmt.Errorf("total %d with %d items, want %d", l.Total, len(l.Items), want)
	}
	return err
}

func same(got, want string, err error) error {
	if err == nil && got != want {
		err = fmt.Errorf("got %q, want %q", got, want)
	}
	return err
}

func begun(t *baadal.Task, kind baadal.TaskKind, err error) error {
	if err == nil && (t == nil || t.Kind != kind || t.ID == 0) {
		err = fmt.Errorf("task %+v, want kind %q", t, kind)
	}
	return err
}

func code(err error, kind baadal.Kind, code string) error {
	if baadal.KindOf(err) != kind || code != "" && baadal.CodeOf(err) != code {
		return fmt.Errorf("error %w (%s, %s), want %s, %s", err, baadal.KindOf(err), baadal.CodeOf(err), kind, code)
	}
	return nil
}
