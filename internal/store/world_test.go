package store_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// world is a small cloud to begin with: one organisation, user, host,
// datastore, template and network.
type world struct {
	db        *store.DB
	org       baadal.Organisation
	user      baadal.User
	host      baadal.Host
	datastore baadal.Datastore
	template  baadal.Template
	network   baadal.Network
}

// newWorld fills an empty database; the network has the given number of addresses.
func newWorld(t testing.TB, db *store.DB, addresses int) *world {
	t.Helper()
	w := &world{db: db}
	update(t, db, func(tx *store.Tx) (err error) {
		if w.org, err = tx.CreateOrganisation("IITD", "Delhi"); err != nil {
			return err
		}
		w.user = baadal.User{Username: "asha", Name: "Asha Rao", OrganisationID: w.org.ID, Roles: []baadal.Role{baadal.RoleUser, baadal.RoleFaculty}}
		if err := tx.CreateUser(&w.user, "hash"); err != nil {
			return err
		}
		w.host = baadal.Host{
			Name: "h1", Address: "10.0.0.1", SSHPort: 22, SSHUser: "root", HostKey: "k", Fingerprint: "f", State: baadal.HostUp,
			HostFacts: baadal.HostFacts{Hostname: "h1", CPUs: 8, RAMMiB: 16384},
		}
		if err := tx.CreateHost(&w.host); err != nil {
			return err
		}
		w.datastore = baadal.Datastore{Name: "ds1", Path: "/mnt/datastore"}
		if err := tx.CreateDatastore(&w.datastore); err != nil {
			return err
		}
		w.template = baadal.Template{
			Name: "debian", OS: "Debian 12", DatastoreID: w.datastore.ID, File: "debian.qcow2", Format: "qcow2",
			VirtualSize: 2 << 30, FileSize: 1 << 20, State: baadal.TemplateReady, Source: "test",
		}
		if err := tx.CreateTemplate(&w.template); err != nil {
			return err
		}
		w.network, err = w.addNetwork(tx, "lab", 10, addresses)
		return err
	})
	return w
}

// addNetwork makes a network 10.<vlan>.0.0/16 of some size.
func (w *world) addNetwork(tx *store.Tx, name string, vlan, size int) (baadal.Network, error) {
	first := ipOf(vlan, 10)
	n := baadal.Network{
		Name: name, VLAN: vlan, CIDR: fmt.Sprintf("10.%d.0.0/16", vlan), Bridge: "ovs-net", Portgroup: fmt.Sprintf("vlan%d", vlan),
		First: first, Last: ipOf(vlan, 10+size-1), DNS: []string{"10.0.0.53"}, VisibleToAll: true,
	}
	all := make([]baadal.Address, size)
	for i := range all {
		all[i] = baadal.Address{IP: ipOf(vlan, 10+i), MAC: baadal.RandomMAC([3]byte{byte(vlan), byte(i >> 8), byte(i)})}
	}
	return n, tx.CreateNetwork(&n, all)
}

func ipOf(vlan, n int) string {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 10<<24|uint32(vlan)<<16|uint32(n))
	return netip.AddrFrom4(b).String()
}

// vm is a VM of the world that is not stored yet.
func (w *world) vm(name string) baadal.VM {
	return baadal.VM{
		UUID: "00000000-0000-4000-8000-" + fmt.Sprintf("%012s", name), Name: name, Identity: baadal.Identity(w.org.Name, w.user.Username, name),
		OwnerID: w.user.ID, RequesterID: w.user.ID, OrganisationID: w.org.ID, HostID: w.host.ID, DatastoreID: w.datastore.ID,
		TemplateID: w.template.ID, NetworkID: w.network.ID, VCPUs: 1, RAMMiB: 512, DiskGiB: 2, State: baadal.VMRunning,
	}
}

// create stores a VM with an address and a port.
func (w *world) create(t testing.TB, vm *baadal.VM) {
	t.Helper()
	update(t, w.db, func(tx *store.Tx) error { return create(tx, vm) })
}

func create(tx *store.Tx, vm *baadal.VM) error {
	if err := tx.CreateVM(vm); err != nil {
		return err
	}
	a, err := tx.ClaimAddress(vm.NetworkID, vm.ID)
	if err != nil {
		return err
	}
	vm.Address, vm.MAC = a.IP, a.MAC
	vm.VNCPort, err = tx.ClaimVNCPort(vm.ID, 20000, 85535)
	return err
}

func update(t testing.TB, db *store.DB, fn func(*store.Tx) error) {
	t.Helper()
	if err := db.Update(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

func view(t testing.TB, db *store.DB, fn func(*store.Tx) error) {
	t.Helper()
	if err := db.View(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

// wantError runs a transaction that must fail with a kind and a code.
func wantError(t testing.TB, db *store.DB, kind baadal.Kind, code string, fn func(*store.Tx) error) {
	t.Helper()
	err := db.Update(context.Background(), fn)
	if baadal.KindOf(err) != kind || baadal.CodeOf(err) != code {
		t.Errorf("got %v (kind %q, code %q), want kind %q, code %q", err, baadal.KindOf(err), baadal.CodeOf(err), kind, code)
	}
}

// anyone sees everything.
var anyone = baadal.Visibility{Scope: baadal.ScopeAny}
