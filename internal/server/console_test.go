package server_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"baadal"
	"baadal/internal/auth"
	"baadal/internal/server"
	"baadal/internal/server/servertest"
	"baadal/internal/store"
)

// seats is a cloud with a VM of anna's that runs, and bert who is not anna.
type seats struct {
	*servertest.Cloud
	anna, bert servertest.Person
	vm         baadal.VM
}

func newSeats(t *testing.T, configure ...func(*server.Config)) seats {
	t.Helper()
	s := seats{Cloud: servertest.New(t, append(configure, func(c *server.Config) { c.Heartbeat = 50 * time.Millisecond })...)}
	s.Furnish()
	s.anna, s.bert = s.User("anna", "CSE", baadal.RoleUser), s.User("bert", "CSE", baadal.RoleUser)
	s.vm = s.VM(s.anna, "web")
	s.state(baadal.VMRunning)
	return s
}

func (s seats) state(state baadal.VMState) {
	s.Update(func(tx *store.Tx) error {
		_, _, err := tx.SetVMState(s.vm.ID, state, "")
		return err
	})
}

func (s seats) ticket(t *testing.T) string {
	t.Helper()
	a := ask(t, s.Cloud, s.anna.Token, "POST", "/api/v1/vms/web/console", `{"kind":"serial"}`)
	if a.status != http.StatusCreated {
		t.Fatalf("ticket: %d %s", a.status, a.body)
	}
	var ticket baadal.ConsoleTicket
	if err := json.Unmarshal(a.body, &ticket); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(ticket.URL, ticket.Ticket) || time.Until(ticket.ExpiresAt) > baadal.ConsoleTicketTTL {
		t.Fatalf("%+v", ticket)
	}
	return ticket.Ticket
}

// dial opens a console, or returns the status and body of the refusal.
func (s seats) dial(t *testing.T, token, ticket, origin string) (ws *websocket.Conn, status int, body string) {
	t.Helper()
	h := http.Header{"Authorization": {"Bearer " + token}}
	if origin != "" {
		h.Set("Origin", origin)
	}
	ws, resp, err := websocket.Dial(t.Context(), s.URL+"/api/v1/console?ticket="+ticket, &websocket.DialOptions{HTTPHeader: h})
	if err != nil {
		raw, _ := io.ReadAll(resp.Body)
		return nil, resp.StatusCode, string(raw)
	}
	t.Cleanup(func() { _ = ws.CloseNow() })
	return ws, resp.StatusCode, ""
}

func (s seats) open(t *testing.T) *websocket.Conn {
	t.Helper()
	ws, status, body := s.dial(t, s.anna.Token, s.ticket(t), "")
	if ws == nil {
		t.Fatalf("%d %s", status, body)
	}
	say(t, ws, "hello")
	if got := hear(t, ws); got != "hello" {
		t.Fatalf("got %q", got)
	}
	return ws
}

func say(t *testing.T, ws *websocket.Conn, text string) {
	t.Helper()
	if err := ws.Write(t.Context(), websocket.MessageBinary, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, ws *websocket.Conn) string {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	_, b, err := ws.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// wantEnd reads until the server closes, and looks why.
func wantEnd(t *testing.T, ws *websocket.Conn, code int) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	for {
		if _, _, err := ws.Read(ctx); err != nil {
			if got := websocket.CloseStatus(err); int(got) != code {
				t.Errorf("it ended with %d (%v), want %d", got, err, code)
			}
			return
		}
	}
}

// A ticket is good once, for its owner, for a while, from our own pages.
func TestConsoleTickets(t *testing.T) {
	t.Parallel()
	s := newSeats(t)
	refused := func(token, ticket, origin, code string, status int) {
		t.Helper()
		ws, got, body := s.dial(t, token, ticket, origin)
		if ws != nil || got != status || !strings.Contains(body, code) {
			t.Errorf("%d %s, want %d %s", got, body, status, code)
		}
	}
	first := s.ticket(t)
	if a := ask(t, s.Cloud, s.anna.Token, "GET", "/api/v1/console?ticket="+first, ""); a.problem(t).Code != "not_a_websocket" {
		t.Errorf("%d %s", a.status, a.body)
	}
	refused(s.bert.Token, first, "", "bad_ticket", http.StatusForbidden)
	refused("bt_wrong", first, "", "not_signed_in", http.StatusUnauthorized)
	if ws, status, body := s.dial(t, s.anna.Token, first, s.URL); ws == nil { // none of that used it up
		t.Fatalf("%d %s", status, body)
	}
	refused(s.anna.Token, first, "", "bad_ticket", http.StatusForbidden)
	refused(s.anna.Token, "nonsense", "", "bad_ticket", http.StatusForbidden)
	refused(s.anna.Token, s.ticket(t), "http://evil.example", "evil", http.StatusForbidden)

	old := auth.NewSecret("bc_")
	s.Update(func(tx *store.Tx) error {
		return tx.AddConsoleTicket(auth.HashSecret(old), s.vm.ID, s.anna.ID, baadal.ConsoleSerial, tx.Now().Add(-time.Second))
	})
	refused(s.anna.Token, old, "", "bad_ticket", http.StatusForbidden)

	late := s.ticket(t) // the VM stops between asking and coming
	s.state(baadal.VMOff)
	refused(s.anna.Token, late, "", "vm_not_running", http.StatusConflict)
	if a := ask(t, s.Cloud, s.anna.Token, "POST", "/api/v1/vms/web/console", `{"kind":"screen"}`); a.problem(t).Code != "vm_not_running" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// A console says why it ends.
func TestConsoleEnds(t *testing.T) {
	t.Parallel()
	s := newSeats(t)
	ws := s.open(t)
	say(t, ws, "bye") // as when QEMU ends, and the VM runs elsewhere already
	wantEnd(t, ws, baadal.ConsoleMoved)

	ws = s.open(t)
	s.state(baadal.VMOff)
	say(t, ws, "bye")
	wantEnd(t, ws, baadal.ConsoleOff)
	s.state(baadal.VMRunning)

	ws = s.open(t)
	s.Update(func(tx *store.Tx) error {
		all, err := tx.Tokens(s.anna.ID)
		if err != nil {
			return err
		}
		return tx.DeleteToken(s.anna.ID, all[0].ID)
	})
	wantEnd(t, ws, baadal.ConsoleRefused)

	s = newSeats(t)
	ws = s.open(t)
	s.Server.Drain()
	wantEnd(t, ws, baadal.ConsoleMoved)
}

// Trouble of ours, or of the way, is no refusal: who looks may come back.
func TestConsoleEndsInTrouble(t *testing.T) {
	t.Parallel()
	s := newSeats(t)
	ws := s.open(t)
	if err := s.DB.Close(); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, ws, baadal.ConsoleMoved)

	s = newSeats(t, func(c *server.Config) { c.IOTimeout = 200 * time.Millisecond })
	ws = s.open(t)
	time.Sleep(time.Second) // pings are answered by who reads
	wantEnd(t, ws, baadal.ConsoleMoved)
}

// A serial line that another controller reads is said, not hung upon.
func TestSerialLineOfAnotherController(t *testing.T) {
	t.Parallel()
	s := newSeats(t)
	ticket := s.ticket(t)
	s.Update(func(tx *store.Tx) error {
		_, err := tx.HoldLine(s.vm.ID, "the other", tx.Now().Add(time.Minute))
		return err
	})
	if a := ask(t, s.Cloud, s.anna.Token, "POST", "/api/v1/vms/web/console", `{"kind":"serial"}`); a.problem(t).Code != "console_in_use" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if ws, status, body := s.dial(t, s.anna.Token, ticket, ""); ws != nil || !strings.Contains(body, "console_in_use") {
		t.Errorf("%d %s", status, body)
	}
	s.Update(func(tx *store.Tx) error { return tx.ReleaseLine(s.vm.ID, "the other") })
	ws := s.open(t)
	_ = ws.Close(websocket.StatusNormalClosure, "")
	eventuallyFree := func() (free bool) {
		s.Update(func(tx *store.Tx) (err error) {
			free, err = tx.HoldLine(s.vm.ID, "the other", tx.Now().Add(time.Minute))
			return err
		})
		return free
	}
	for begun := time.Now(); !eventuallyFree(); time.Sleep(20 * time.Millisecond) {
		if time.Since(begun) > 5*time.Second {
			t.Fatal("the line is held by nobody's console")
		}
	}
}
