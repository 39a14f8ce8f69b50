package service_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/simulator"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// meanwhile runs fn in a transaction that is not committed yet when during
// begins, and waits for both.
func meanwhile(t *testing.T, db *store.DB, fn func(tx *store.Tx) error, during func()) {
	t.Helper()
	meanwhileFor(t, db, 300*time.Millisecond, fn, during)
}

func meanwhileFor(t *testing.T, db *store.DB, hold time.Duration, fn func(tx *store.Tx) error, during func()) {
	t.Helper()
	at, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- db.Update(context.Background(), func(tx *store.Tx) error {
			err := fn(tx)
			close(at)
			time.Sleep(hold)
			return err
		})
	}()
	<-at
	during()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// TestChangesAtTheSameTime checks rules against what another controller is just
// about to commit.
func TestChangesAtTheSameTime(t *testing.T) {
	each := func(name string, test func(t *testing.T, c *cloud)) {
		t.Run(name, func(t *testing.T) {
			storetest.Each(t, func(t *testing.T, db *store.DB) {
				c := newCloudOn(t, db, simulator.Config{Hosts: 3})
				c.furnish(t, baadal.HostFacts{CPUs: 16, RAMMiB: 65536}, "10.0.1.0/28")
				test(t, c)
			})
		})
	}
	each("a VM is made on the template that is deleted", func(t *testing.T, c *cloud) {
		meanwhile(t, c.db, func(tx *store.Tx) error {
			if err := tx.Lock("placement"); err != nil { // as CreateVM
				return err
			}
			return tx.CreateVM(&baadal.VM{
				UUID: "u", Name: "ml", Identity: "IITD_asha_ml", OwnerID: c.faculty.User.ID, OrganisationID: c.faculty.User.OrganisationID,
				DatastoreID: 1, TemplateID: 1, NetworkID: 1, VCPUs: 1, RAMMiB: 512, DiskGiB: 1, State: baadal.VMInQueue,
			})
		}, func() {
			_, err := c.DeleteTemplate(t.Context(), c.admin, "tiny", baadal.ChangeOptions{})
			refused(t, err, baadal.Conflict, "template_in_use")
		})
	})
	each("two networks overlap", func(t *testing.T, c *cloud) {
		meanwhile(t, c.db, func(tx *store.Tx) error {
			if err := tx.Lock("network"); err != nil { // as CreateNetwork
				return err
			}
			n := baadal.Network{Name: "wide", VLAN: 50, CIDR: "10.9.0.0/24", Bridge: "ovs-net", Portgroup: "vlan50", First: "10.9.0.200", Last: "10.9.0.200"}
			return tx.CreateNetwork(&n, []baadal.Address{{IP: "10.9.0.200", MAC: baadal.RandomMAC([3]byte{9, 9, 9})}})
		}, func() {
			_, err := c.CreateNetwork(t.Context(), c.admin, baadal.NetworkCreate{Name: "narrow", VLAN: 51, CIDR: "10.9.0.0/28"}, baadal.ChangeOptions{})
			refused(t, err, baadal.Conflict, "subnet_overlaps")
		})
	})
	each("two administrators block each other", func(t *testing.T, c *cloud) {
		roles := []baadal.Role{baadal.RoleUser, baadal.RoleAdmin}
		if _, err := c.UpdateUser(t.Context(), c.admin, "asha", baadal.UserUpdate{Roles: &roles}, baadal.ChangeOptions{}); err != nil {
			t.Fatal(err)
		}
		meanwhile(t, c.db, func(tx *store.Tx) error {
			if err := tx.Lock("users"); err != nil { // as UpdateUser
				return err
			}
			u, err := tx.UserByName("root")
			if err != nil {
				return err
			}
			u.Blocked = true
			return tx.UpdateUser(&u)
		}, func() {
			blocked := true
			_, err := c.UpdateUser(t.Context(), c.admin, "asha", baadal.UserUpdate{Blocked: &blocked}, baadal.ChangeOptions{})
			refused(t, err, baadal.Conflict, "last_admin")
		})
	})
}

// TestKeyInURLIsNotShown imports from a URL whose query lets in: the template is
// everybody's to see.
func TestKeyInURLIsNotShown(t *testing.T) {
	c := newCloudOn(t, storetest.Open(t), simulator.Config{Hosts: 3})
	c.furnish(t, baadal.HostFacts{CPUs: 16, RAMMiB: 65536}, "10.0.1.0/28")
	site := httptest.NewServer(http.NotFoundHandler())
	defer site.Close()
	for _, base := range []string{site.URL, "http://127.0.0.1:1"} {
		ch, err := c.ImportTemplate(t.Context(), c.admin, baadal.TemplateImport{Name: "new", URL: base + "/a.img?sig=hunter2"}, baadal.ChangeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if ch.Resource.Source != base+"/a.img?…" {
			t.Errorf("the source is %q", ch.Resource.Source)
		}
		k := c.settle(t, ch.Task)[0]
		if k.State != baadal.TaskFailed || strings.Contains(k.Message, "hunter2") || !strings.Contains(k.Message, base) {
			t.Errorf("the import ends as %s: %s", k.State, k.Message)
		}
	}
}
