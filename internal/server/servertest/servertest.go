// Package servertest runs a whole server for tests: the real service on a
// fresh SQLite database behind a real HTTP listener. Tasks are stored and not
// worked on, unless a test registers bodies and starts the queue.
package servertest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"testing"

	"baadal"
	"baadal/internal/auth"
	"baadal/internal/console"
	"baadal/internal/server"
	"baadal/internal/service"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
	"baadal/internal/task"
)

// Cloud is a running server with everything behind it.
type Cloud struct {
	URL     string
	HTTP    *httptest.Server
	Server  *server.Server
	Service *service.Service
	Queue   *task.Queue
	DB      *store.DB

	t      testing.TB
	hasher *auth.Hasher
}

// Person is a user with what he needs to sign in.
type Person struct {
	baadal.User
	Password string
	Token    string // an API token
}

// Fingerprint is what every host of a Cloud shows.
const Fingerprint = "SHA256:jDGsWEkSHkDDsRBCmVKUtYaODrjUtF5OgiGFgZCzdhM"

// sshd answers for hosts that do not exist.
type sshd struct{}

// Fingerprint is the same for every address.
func (sshd) Fingerprint(context.Context, string) (hostKey, fingerprint string, err error) {
	return "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl", Fingerprint, nil
}

// files answers for files on hosts that do not exist: an upload vanishes, and
// there is nothing to be read.
type files struct{}

// InspectImage finds nothing.
func (files) InspectImage(_ context.Context, _ baadal.Host, path string, _ bool) (baadal.ImageInfo, error) {
	return baadal.ImageInfo{}, baadal.Errorf(baadal.Invalid, "%s is not a usable disk image", path).WithCode("bad_image")
}

// WriteUpload reads all of r.
func (files) WriteUpload(_ context.Context, _ baadal.Host, _ baadal.Datastore, _ string, r io.Reader) (baadal.ImageInfo, error) {
	sum := sha256.New()
	n, err := io.Copy(sum, r)
	return baadal.ImageInfo{FileSize: n, SHA256: hex.EncodeToString(sum.Sum(nil))}, err
}

// Content is what every export of a Cloud holds.
const Content = "the bytes of an exported disk image"

// ReadImage writes Content.
func (files) ReadImage(_ context.Context, _ baadal.Host, _ baadal.ImageCopy, offset int64, w io.Writer) error {
	_, err := io.WriteString(w, Content[offset:])
	return err
}

// RemoveImageCopy is success.
func (files) RemoveImageCopy(context.Context, baadal.Host, baadal.ImageCopy) error { return nil }

// ForeignDomain knows none.
func (files) ForeignDomain(_ context.Context, host baadal.Host, ref string) (baadal.ForeignDomain, error) {
	return baadal.ForeignDomain{}, baadal.Errorf(baadal.NotFound, "%s does not know %s", host.Name, ref).WithCode("domain_unknown")
}

// Guest is every VM's consoles: what one types comes back, and "bye" ends it.
type Guest struct{}

// DialUnix connects to a guest.
func (Guest) DialUnix(context.Context, baadal.Host, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	go func() { // ends with the connection
		defer ours.Close()
		b := make([]byte, 1024)
		for {
			n, err := ours.Read(b)
			if err != nil || string(b[:n]) == "bye" {
				return
			}
			if _, err := ours.Write(b[:n]); err != nil {
				return
			}
		}
	}()
	return theirs, nil
}

// Screenshot is no picture, but something.
func (Guest) Screenshot(context.Context, baadal.Host, string) ([]byte, error) {
	return []byte("a picture"), nil
}

// New starts a server that stops when the test ends. Configure may change its
// configuration before it starts.
func New(t testing.TB, configure ...func(*server.Config)) *Cloud {
	t.Helper()
	db := storetest.Open(t)
	q := task.New(db, task.Options{})
	svc := service.New(db, q, service.Options{Prober: sshd{}, Files: files{}, Foreign: files{}, Consoles: console.New(Guest{}), Screens: Guest{}, NAT: service.NAT{Public: "203.0.113.1"}})
	cfg := server.Config{Service: svc}
	for _, f := range configure {
		f(&cfg)
	}
	s := server.New(cfg)
	hs := httptest.NewUnstartedServer(s.Handler())
	hs.Config = s.HTTPServer("")
	hs.Start()
	t.Cleanup(func() {
		s.Drain()
		hs.Close()
	})
	return &Cloud{
		URL: hs.URL, HTTP: hs, Server: s, Service: svc, Queue: q, DB: db, t: t,
		hasher: auth.NewHasher(auth.Params{MemoryKiB: 64, Time: 1, Threads: 1}), // sign-in replaces it by a dear one
	}
}

// Update changes the database, or ends the test.
func (c *Cloud) Update(fn func(tx *store.Tx) error) {
	c.t.Helper()
	if err := c.DB.Update(context.Background(), fn); err != nil {
		c.t.Fatal(err)
	}
}

// User makes a user with a password and a token. The organisation is made if
// it is new.
func (c *Cloud) User(name, organisation string, roles ...baadal.Role) Person {
	c.t.Helper()
	p := Person{Password: "password of " + name, Token: auth.NewSecret(auth.TokenPrefix)}
	hash, err := c.hasher.Hash(context.Background(), p.Password)
	if err != nil {
		c.t.Fatal(err)
	}
	if roles, err = baadal.NormaliseRoles(roles); err != nil {
		c.t.Fatal(err)
	}
	c.Update(func(tx *store.Tx) error {
		org, err := tx.Organisation(organisation)
		if baadal.KindOf(err) == baadal.NotFound {
			org, err = tx.CreateOrganisation(organisation, "")
		}
		if err != nil {
			return err
		}
		p.User = baadal.User{Username: name, OrganisationID: org.ID, Organisation: org.Name, Roles: roles}
		if err := tx.CreateUser(&p.User, hash); err != nil {
			return err
		}
		return tx.CreateToken(&baadal.Token{UserID: p.ID, Name: "test"}, auth.HashSecret(p.Token))
	})
	return p
}

// Furnish gives the cloud a host, a datastore, a network and a template, all
// named "one", ready for VMs.
func (c *Cloud) Furnish() {
	c.t.Helper()
	c.Update(func(tx *store.Tx) error {
		h := baadal.Host{
			Name: "one", Address: "192.0.2.1", SSHPort: 22, SSHUser: "root", Fingerprint: Fingerprint, State: baadal.HostUp,
			HostFacts: baadal.HostFacts{Hostname: "one", CPUs: 64, RAMMiB: 256 << 10, Virt: "qemu", Type: baadal.HostVirtual},
		}
		if err := tx.CreateHost(&h); err != nil {
			return err
		}
		d := baadal.Datastore{Name: "one", Path: "/mnt/one"}
		if err := tx.CreateDatastore(&d); err != nil {
			return err
		}
		usage := baadal.DatastoreUsage{Mounted: true, Writable: true, Capacity: 10 << 40, Free: 10 << 40}
		if _, err := tx.SetDatastoreUsage(d.ID, baadal.DatastoreOK, "", usage, []string{"one"}); err != nil {
			return err
		}
		m := baadal.Template{Name: "one", DatastoreID: d.ID, File: "one.img", Format: "qcow2", VirtualSize: 1 << 30, FileSize: 1 << 20, State: baadal.TemplateReady}
		if err := tx.CreateTemplate(&m); err != nil {
			return err
		}
		n := baadal.Network{
			Name: "one", VLAN: 10, CIDR: "192.168.10.0/24", Bridge: "ovs-net", Portgroup: "vlan10", VisibleToAll: true,
			First: "192.168.10.10", Last: "192.168.10.209", Applied: true,
		}
		addresses := make([]baadal.Address, 200)
		for i := range addresses {
			addresses[i] = baadal.Address{IP: fmt.Sprintf("192.168.10.%d", 10+i), MAC: fmt.Sprintf("02:00:00:00:00:%02X", i)}
		}
		return tx.CreateNetwork(&n, addresses)
	})
}

// VM makes a VM that is off and that no task holds.
func (c *Cloud) VM(owner Person, name string) baadal.VM {
	c.t.Helper()
	var vm baadal.VM
	c.Update(func(tx *store.Tx) error {
		h, err := tx.HostByRef("one")
		if err != nil {
			return err
		}
		d, err := tx.DatastoreByRef("one")
		if err != nil {
			return err
		}
		m, err := tx.TemplateByRef("one")
		if err != nil {
			return err
		}
		n, err := tx.NetworkByRef("one")
		if err != nil {
			return err
		}
		vm = baadal.VM{
			UUID: newUUID(), Name: name,
			Identity: baadal.Identity(owner.Organisation, owner.Username, name), OwnerID: owner.ID, OrganisationID: owner.OrganisationID,
			RequesterID: owner.ID, HostID: h.ID, DatastoreID: d.ID, TemplateID: m.ID, NetworkID: n.ID, VCPUs: 1, RAMMiB: 512, DiskGiB: 1,
			State: baadal.VMOff,
		}
		if err := tx.CreateVM(&vm); err != nil {
			return err
		}
		if _, err := tx.ClaimAddress(n.ID, vm.ID); err != nil {
			return err
		}
		if err := tx.SetSecret(vm.ID, "secret of "+name); err != nil {
			return err
		}
		if vm, err = tx.VM(vm.ID); err != nil {
			return err
		}
		_, err = tx.AddEvent(baadal.Event{
			Topic: "vm", Subject: baadal.Subject{Kind: "vm", ID: vm.ID, Name: vm.Name}, Version: vm.Generation, What: "created",
			OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID,
		})
		return err
	})
	return vm
}

// Task stores a pending task about a person that nobody works on.
func (c *Cloud) Task(owner Person) baadal.Task {
	c.t.Helper()
	t := baadal.Task{
		Kind: baadal.TaskVMStart, Subject: baadal.Subject{Kind: "vm", ID: -owner.ID, Name: "none"}, Params: []byte("{}"),
		RequesterID: owner.ID, OwnerID: owner.ID, OrganisationID: owner.OrganisationID,
	}
	c.Update(func(tx *store.Tx) error { return tx.InsertTask(&t) })
	return t
}

func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}
