package server_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"baadal"
	"baadal/internal/store"
)

// viewers asks the service who looks at the VM, as an administrator.
func (s seats) viewers(t *testing.T) []baadal.ConsoleViewer {
	t.Helper()
	admin := baadal.Actor{User: baadal.User{ID: -1, Roles: []baadal.Role{baadal.RoleAdmin}}}
	all, err := s.Service.ConsoleViewers(t.Context(), admin, "web")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// wantNobody waits until nobody looks.
func (s seats) wantNobody(t *testing.T, words string) {
	t.Helper()
	for begun := time.Now(); len(s.viewers(t)) > 0; time.Sleep(20 * time.Millisecond) {
		if time.Since(begun) > 8*time.Second { // much less than a ping waits for its answer
			t.Fatal(words)
		}
	}
}

// Who keeps silent, so that no ping is answered, looks no longer than who does
// not once he may not any more.
func TestConsoleOfASilentClientEnds(t *testing.T) {
	t.Parallel()
	s := newSeats(t)
	s.open(t) // and is not read from again
	time.Sleep(200 * time.Millisecond)
	if n := len(s.viewers(t)); n != 1 {
		t.Fatalf("%d look", n)
	}
	s.Update(func(tx *store.Tx) error {
		u, err := tx.User(s.anna.ID)
		if err != nil {
			return err
		}
		u.Blocked = true
		return tx.UpdateUser(&u)
	})
	s.wantNobody(t, "a blocked user still looks")
}

// What takes the right to look away ends what is open: the role is gone, or the
// password has to be changed before anything else.
func TestConsoleEndsWithTheRight(t *testing.T) {
	t.Parallel()
	for name, take := range map[string]func(*baadal.User){
		"an administrator no more":         func(u *baadal.User) { u.Roles = []baadal.Role{baadal.RoleUser} },
		"the password must be changed":     func(u *baadal.User) { u.MustChange = true },
		"an administrator of other people": func(u *baadal.User) { u.OrganisationID++ },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSeats(t)
			s.User("someone", "EE")
			s.anna.Token = s.User("carl", "CSE", baadal.RoleOrgAdmin).Token
			ws := s.open(t)
			s.Update(func(tx *store.Tx) error {
				u, err := tx.UserByName("carl")
				if err != nil {
					return err
				}
				take(&u)
				return tx.UpdateUser(&u)
			})
			wantEnd(t, ws, baadal.ConsoleRefused)
		})
	}
}

// Who may look at a VM sees who does; others do not learn of it.
func TestConsoleViewers(t *testing.T) {
	t.Parallel()
	s := newSeats(t)
	list := func() []baadal.ConsoleViewer {
		return into[baadal.List[baadal.ConsoleViewer]](t, ask(t, s.Cloud, s.anna.Token, "GET", "/api/v1/vms/web/console", "")).Items
	}
	if got := list(); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	ws := s.open(t)
	if got := list(); len(got) != 1 || got[0].User != "anna" || got[0].Kind != baadal.ConsoleSerial || !got[0].Yours || got[0].VNCClient {
		t.Errorf("%+v", got)
	}
	if a := ask(t, s.Cloud, s.bert.Token, "GET", "/api/v1/vms/web/console", ""); a.status != http.StatusNotFound {
		t.Errorf("another user: %d %s", a.status, a.body)
	}
	_ = ws.Close(websocket.StatusNormalClosure, "")
	s.wantNobody(t, "who left is still there")
}

// A VM that ends while somebody types says why, like one that ends while nobody does.
func TestConsoleEndsWhileTyping(t *testing.T) {
	t.Parallel()
	s := newSeats(t)
	for range 10 {
		ws := s.open(t)
		s.state(baadal.VMOff)
		say(t, ws, "bye")
		for range 5 {
			_ = ws.Write(t.Context(), websocket.MessageBinary, []byte("more")) // it may be over
		}
		wantEnd(t, ws, baadal.ConsoleOff)
		s.state(baadal.VMRunning)
	}
}

// Who has too many open is told when he asks for the next one.
func TestTooManyConsoles(t *testing.T) {
	t.Parallel()
	s := newSeats(t)
	for range 32 {
		if ws, status, body := s.dial(t, s.anna.Token, s.ticket(t), ""); ws == nil {
			t.Fatalf("%d %s", status, body)
		}
	}
	a := ask(t, s.Cloud, s.anna.Token, "POST", "/api/v1/vms/web/console", `{"kind":"serial"}`)
	if p := a.problem(t); p.Code != "too_many_streams" || a.status != http.StatusTooManyRequests || !strings.Contains(p.Detail, "32") {
		t.Errorf("%d %s", a.status, a.body)
	}
}
