package server_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/auth"
	"baadal/internal/server/servertest"
	"baadal/internal/store"
)

// relation is whose a thing is, seen from the one who asks.
type relation string

const (
	nobodys relation = "nobody's" // routes that are not about a thing with an owner
	own     relation = "own"
	sameOrg relation = "same organisation's"
	foreign relation = "another organisation's"
)

// bodies has an input that is good enough for each route that takes one.
var bodies = map[string]string{
	"change-password": `{"old":"wrong password","new":"new password"}`,
	"create-user":     `{"username":"new"}`,
	"update-user":     `{"name":"New Name"}`,
	"create-token":    `{"name":"new"}`,
	"add-host":        `{"address":"192.0.2.77","fingerprint":"` + servertest.Fingerprint + `"}`,
	"add-datastore":   `{"name":"new","path":"/mnt/new"}`,
	"import-template": `{"name":"new","url":"http://192.0.2.5/x.img"}`,
	"upload":          "some bytes",
	"create-network":  `{"name":"new","vlan":77,"cidr":"10.77.0.0/24"}`,
	"edit-network":    `{"dns":["192.0.2.53"]}`,
	"create-vm":       `{"name":"new","template":"one"}`,
	"run-audit":       `{}`,
	"console-ticket":  `{"kind":"serial"}`,

	"create-vnc-grant": `{"seconds":60}`,
	"extend-vnc-grant": `{"seconds":3600}`,

	"edit-vm":         `{"purpose":"new"}`,
	"add-disk":        `{"size_gib":1}`,
	"add-publics":     `{"range":"203.0.113.16/30"}`,
	"remove-publics":  `{"range":"203.0.113.16/30"}`,
	"add-forward":     `{"port":80,"seconds":60}`,
	"extend-forward":  `{"seconds":60}`,
	"grow-disk":       `{"size_gib":100}`,
	"insert-cdrom":    `{"iso":"tiny"}`,
	"add-nic":         `{"network":"research"}`,
	"change-nic":      `{"network":"research"}`,
	"eject-cdrom":     `{}`,
	"limit-disk":      `{"bytes_per_second":1048576,"iops":100}`,
	"create-snapshot": `{"name":"new"}`,
	"clone-vm":        `{"count":1}`,
	"flatten-vm":      `{}`,
	"import-vm":       `{"name":"new","upload_id":"waiting"}`,
	"launch-vm":       `{"name":"new","datastore":"one","image":"old"}`,
	"adopt-vm":        `{"host":"one","domain":"old"}`,

	"save-vm-as-template": `{"name":"new"}`,

	"create-affinity": `{"name":"new","rule":"apart"}`,
	"edit-affinity":   `{"rule":"together"}`,
	"create-secgroup": `{"name":"new"}`,
	"edit-secgroup":   `{"add":[{"direction":"in","protocol":"icmp"}]}`,

	"create-backup":         `{"incremental":true}`,
	"restore-backup":        `{"as":"new"}`,
	"set-backup-schedule":   `{"every":"daily","incremental":true,"keep":2}`,
	"set-snapshot-schedule": `{"daily":true,"weekly":false,"monthly":false,"yearly":false}`,
	"update-setting":        `{"value":"25h"}`,
	"add-network-range":     `{"first":"192.168.10.3"}`,
}

// readOf is the action that makes a thing visible at all.
var readOf = map[string]baadal.Action{
	"templates": baadal.ActionTemplateDelete, "exports": baadal.ActionVMExport,
	"vms": baadal.ActionVMRead, "users": baadal.ActionUserRead, "tasks": baadal.ActionTaskRead, "tokens": baadal.ActionTokenRead,
	"affinities": baadal.ActionAffinityRead, "secgroups": baadal.ActionSecGroupRead, "backups": baadal.ActionBackupRead,
}

// things is a cloud with one thing of each kind for each owner.
type things struct {
	*servertest.Cloud
	owners map[relation]servertest.Person // seen from whoever asks
	vms    map[relation]baadal.VM
	tasks  map[relation]baadal.Task

	exports map[relation]baadal.Transfer
	backups map[relation]baadal.Backup

	forwards map[relation]int64
}

// newThings makes a cloud as one person with the given role sees it.
func newThings(t *testing.T, role baadal.Role) things {
	t.Helper()
	c := servertest.New(t)
	c.Furnish()
	th := things{Cloud: c, forwards: map[relation]int64{}, exports: map[relation]baadal.Transfer{}, backups: map[relation]baadal.Backup{}, vms: map[relation]baadal.VM{}, tasks: map[relation]baadal.Task{}}
	th.owners = map[relation]servertest.Person{
		own:     c.User("me", "CSE", role),
		sameOrg: c.User("colleague", "CSE"),
		foreign: c.User("stranger", "EE"),
	}
	upload := baadal.Transfer{UUID: "waiting", Kind: baadal.TransferUpload, Name: "x", DatastoreID: 1, OwnerID: th.owners[own].ID}
	c.Update(func(tx *store.Tx) error {
		if err := tx.CreateTransfer(&upload); err != nil {
			return err
		}
		return tx.SetTransfer(upload.ID, baadal.TransferReady, baadal.ImageInfo{FileSize: 1})
	})
	for r, p := range th.owners {
		th.vms[r] = c.VM(p, "vm-"+p.Username)
		c.Update(func(tx *store.Tx) error {
			return tx.CreateSnapshot(&baadal.Snapshot{VMID: th.vms[r].ID, Name: "one", Type: baadal.SnapshotUser, Ready: true, VMState: baadal.VMOff})
		})
		c.Update(func(tx *store.Tx) error {
			b, _, err := tx.BackupOf(th.vms[r])
			if err != nil {
				return err
			}
			b.DatastoreID, b.Type = th.vms[r].DatastoreID, baadal.BackupUser
			if err := tx.CreateBackup(&b); err != nil {
				return err
			}
			b.State = baadal.BackupReady
			th.backups[r] = b
			return tx.UpdateBackup(&b)
		})
		c.Update(func(tx *store.Tx) error {
			g := baadal.VNCGrant{VMID: th.vms[r].ID, ByID: p.ID, ExpiresAt: tx.Now().Add(time.Hour)}
			return tx.AddVNCGrant(&g, tx.Now(), 10)
		})
		th.tasks[r] = c.Task(p)
		f := baadal.Transfer{
			UUID: p.Username, Kind: baadal.TransferExport, Name: "x.qcow2", DatastoreID: th.vms[r].DatastoreID,
			OwnerID: p.ID, OrganisationID: p.OrganisationID, RequesterID: p.ID,
		}
		c.Update(func(tx *store.Tx) error {
			m := baadal.Template{
				Name: "saved by " + p.Username, File: p.Username, DatastoreID: f.DatastoreID, State: baadal.TemplateReady, OwnerID: p.ID, OrganisationID: p.OrganisationID,
			}
			if err := tx.CreateTemplate(&m); err != nil {
				return err
			}
			if err := tx.CreateTransfer(&f); err != nil {
				return err
			}
			return tx.SetTransfer(f.ID, baadal.TransferReady, baadal.ImageInfo{FileSize: int64(len(servertest.Content)), SHA256: "ab"})
		})
		th.exports[r] = f
		open := baadal.Forward{VMID: th.vms[r].ID, Service: baadal.ForwardPort, Protocol: baadal.TCP, Port: 22, ExpiresAt: time.Now().Add(time.Hour), ByID: p.ID}
		c.Update(func(tx *store.Tx) error { return tx.AddForward(&open, 50000, 50009) })
		th.forwards[r] = open.ID
		c.Update(func(tx *store.Tx) error {
			if err := tx.CreateSecGroup(&baadal.SecGroup{Name: "secgroup-" + p.Username, OwnerID: p.ID, OrganisationID: p.OrganisationID}); err != nil {
				return err
			}
			return tx.CreateAffinity(&baadal.Affinity{Name: "affinity-" + p.Username, Rule: baadal.AffinityApart, OwnerID: p.ID, OrganisationID: p.OrganisationID})
		})
	}
	return th
}

// token makes a token of a person for one call, which may revoke it.
func (th things) token(p servertest.Person) (id int64, secret string) {
	secret = auth.NewSecret(auth.TokenPrefix)
	tok := baadal.Token{UserID: p.ID, Name: secret[:20]}
	th.Update(func(tx *store.Tx) error { return tx.CreateToken(&tok, auth.HashSecret(secret)) })
	return tok.ID, secret
}

// path fills in a route's parameters for a thing of the given owner.
func (th things) path(route, id string, r relation) string {
	noun, _, _ := strings.Cut(strings.TrimPrefix(route, "/api/v1/"), "/")
	ref := "one"
	switch noun {
	case "vms":
		ref = th.vms[r].Name
	case "users":
		ref = th.owners[r].Username
	case "affinities":
		ref = "affinity-" + th.owners[r].Username
	case "secgroups":
		ref = "secgroup-" + th.owners[r].Username
	case "tasks":
		ref = fmt.Sprint(th.tasks[r].ID)
	case "backups":
		ref = fmt.Sprint(th.backups[r].ID)
	case "exports":
		ref = fmt.Sprint(th.exports[r].ID)
	case "templates":
		ref = "saved%20by%20" + th.owners[r].Username
	case "tokens":
		if r == nobodys {
			return route
		}
		n, _ := th.token(th.owners[r])
		ref = fmt.Sprint(n)
	case "settings":
		ref = "vm.retention"
	}
	p := strings.NewReplacer("{ref}", ref, "{id}", ref, "{name}", ref, "{snapshot}", "one", "{disk}", "vda", "{range}", "192.168.10.3", "{forward}", fmt.Sprint(th.forwards[r])).Replace(route)
	// Nothing shall be gone for the next call.
	if slices.Contains([]string{"remove-host", "remove-datastore", "delete-template", "delete-export", "delete-backup", "delete-network", "create-user", "delete-affinity", "end-forward", "delete-secgroup"}, id) {
		p += "?dry_run=true"
	}
	return p
}

// allowed is any answer but a refusal: the call may still fail for the state
// things are in.
const allowed = 0

// expected derives the answer from the permission table.
func expected(me baadal.Actor, action baadal.Action, route, id string, r relation, owner servertest.Person) int {
	if me.ScopeOf(action) == baadal.ScopeNone {
		return http.StatusForbidden
	}
	noun, _, _ := strings.Cut(strings.TrimPrefix(route, "/api/v1/"), "/")
	read, owned := readOf[noun]
	if r == nobodys || !owned {
		return allowed
	}
	if noun == "tokens" { // revoking is all that can be done with a token
		read = action
	}
	switch {
	case !me.Reaches(read, owner.OrganisationID, owner.ID):
		return http.StatusNotFound
	case !me.Reaches(action, owner.OrganisationID, owner.ID):
		return http.StatusForbidden
	}
	return allowed
}

// Every route × every role × whose the thing is, against the permission table.
func TestPermissions(t *testing.T) {
	t.Parallel()
	spec := readSpec(t)
	for _, role := range baadal.Roles() {
		t.Run(string(role), func(t *testing.T) {
			t.Parallel()
			th := newThings(t, role)
			me := baadal.Actor{User: th.owners[own].User}
			cases := 0
			for _, route := range th.Server.Routes() {
				if route.Action == baadal.ActionPublic || route.ID == "stream-events" {
					continue // TestSignIn…, TestStream…
				}
				relations := []relation{nobodys}
				if strings.Contains(route.Path, "{") {
					relations = []relation{own, sameOrg, foreign}
				}
				for _, r := range relations {
					cases++
					_, secret := th.token(th.owners[own])
					a := ask(t, th.Cloud, secret, route.Method, th.path(route.Path, route.ID, r), bodies[route.ID])
					want := expected(me, route.Action, route.Path, route.ID, r, th.owners[r])
					got := a.status
					if got != http.StatusUnauthorized && got != http.StatusForbidden && got != http.StatusNotFound && got < 500 {
						got = allowed
					}
					if route.ID == "get-audit" && a.status == http.StatusNotFound {
						got = allowed // none was made yet
					}
					if got != want {
						t.Errorf("%s (%s) of %s thing: %d, want %d: %s", route.ID, route.Action, r, a.status, want, a.body)
					}
					if a.status < 400 {
						continue
					}
					if doc := spec[route.Path][strings.ToLower(route.Method)]; !slices.Contains(doc.Codes, a.problem(t).Code) {
						t.Errorf("%s answers with code %s, which is not documented", route.ID, a.problem(t).Code)
					}
				}
			}
			if cases < 60 {
				t.Errorf("only %d cases", cases)
			}
		})
	}
}

// Nobody gets anything without a valid sign-in; the order is 401 before all else.
func TestNobody(t *testing.T) {
	t.Parallel()
	th := newThings(t, baadal.RoleUser)
	blocked := th.User("blocked", "CSE")
	blocked.Blocked = true
	th.Update(func(tx *store.Tx) error { return tx.UpdateUser(&blocked.User) })
	credentials := map[string][]string{
		"none": nil, "wrong token": {"Authorization", "Bearer bt_wrong"}, "wrong scheme": {"Authorization", "Basic YTpi"},
		"empty": {"Authorization", "Bearer "}, "well-formed unknown token": {"Authorization", "Bearer " + auth.NewSecret("bt_")},
		"wrong cookie": {"Cookie", "baadal_session=bs_wrong"}, "blocked": {"Authorization", "Bearer " + blocked.Token},
	}
	for name, headers := range credentials {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, route := range th.Server.Routes() {
				if route.Action == baadal.ActionPublic {
					continue
				}
				a := ask(t, th.Cloud, "", route.Method, th.path(route.Path, route.ID, foreign), bodies[route.ID], headers...)
				if a.status != http.StatusUnauthorized || a.header.Get("WWW-Authenticate") == "" {
					t.Errorf("%s: %d %s", route.ID, a.status, a.body)
				}
			}
		})
	}
}

// Who must change his password can do nothing else before.
func TestPasswordMustBeChanged(t *testing.T) {
	t.Parallel()
	th := newThings(t, baadal.RoleAdmin)
	me := th.owners[own]
	th.Update(func(tx *store.Tx) error {
		hash, err := tx.PasswordHash(me.ID)
		if err != nil {
			return err
		}
		return tx.SetPassword(me.ID, hash, true)
	})
	for _, route := range th.Server.Routes() {
		if route.Action == baadal.ActionPublic {
			continue
		}
		_, secret := th.token(me)
		a := ask(t, th.Cloud, secret, route.Method, th.path(route.Path, route.ID, own), bodies[route.ID])
		refused := a.status == http.StatusForbidden && a.problem(t).Code == "password_change_required"
		if refused == (route.Action == baadal.ActionSelf) {
			t.Errorf("%s (%s): %d %s", route.ID, route.Action, a.status, a.body)
		}
	}
	body := fmt.Sprintf(`{"old":%q,"new":"something else"}`, me.Password)
	if a := ask(t, th.Cloud, me.Token, "POST", "/api/v1/auth/password", body); a.status != http.StatusNoContent {
		t.Fatalf("change: %d %s", a.status, a.body)
	}
	if a := ask(t, th.Cloud, me.Token, "GET", "/api/v1/vms", ""); a.status != http.StatusOK {
		t.Errorf("afterwards: %d %s", a.status, a.body)
	}
}

// Lists hold what their reader may see, no more.
func TestListsAreNarrowed(t *testing.T) {
	t.Parallel()
	want := map[baadal.Role]int{baadal.RoleUser: 1, baadal.RoleFaculty: 1, baadal.RoleOrgAdmin: 2, baadal.RoleAdmin: 3}
	for role, n := range want {
		t.Run(string(role), func(t *testing.T) {
			t.Parallel()
			th := newThings(t, role)
			for _, path := range []string{"/vms", "/tasks", "/users", "/event-log?filter=topic:vm"} {
				l := into[baadal.List[map[string]any]](t, ask(t, th.Cloud, th.owners[own].Token, "GET", "/api/v1"+path, ""))
				if l.Total != n || len(l.Items) != n {
					t.Errorf("%s: %d items, total %d; want %d", path, len(l.Items), l.Total, n)
				}
			}
		})
	}
}
