package server_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/server"
	"baadal/internal/server/servertest"
	"baadal/internal/store"
)

// dial sends the head of a request over a bare connection.
func dial(t *testing.T, c *servertest.Cloud, head string, args ...any) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(c.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := fmt.Fprintf(conn, strings.ReplaceAll(head, "\n", "\r\n"), args...); err != nil {
		t.Fatal(err)
	}
	return conn
}

// A body that does not arrive holds its connection only for a while, whether
// somebody reads it or not.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	c := servertest.New(t, func(cfg *server.Config) { cfg.IOTimeout = 300 * time.Millisecond })
	root := c.User("root", "ADMIN", baadal.RoleAdmin)
	for name, path := range map[string]string{
		"read": "POST /api/v1/vms", "with key": "POST /api/v1/vms", "not read": "POST /api/v1/hosts/one/check", "no route": "POST /nothing", "upload": "PUT /api/v1/uploads",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key := ""
			if name == "with key" {
				key = "Idempotency-Key: k\n"
			}
			conn := dial(t, c, "%s HTTP/1.1\nHost: x\nAuthorization: Bearer %s\n%sContent-Length: 100\n\n{", path, root.Token, key)
			_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			answer, err := io.ReadAll(conn) // until the server closes
			if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 ") || strings.Contains(string(answer), " 500 ") {
				t.Errorf("%v: %s", err, answer)
			}
		})
	}
}

// A client that does not read its events loses its stream.
func TestStuckReader(t *testing.T) {
	t.Parallel()
	c := servertest.New(t, func(cfg *server.Config) { cfg.IOTimeout = 300 * time.Millisecond })
	root := c.User("root", "ADMIN", baadal.RoleAdmin)
	conn := dial(t, c, "GET /api/v1/events HTTP/1.1\nHost: x\nAuthorization: Bearer %s\n\n", root.Token)
	if err := conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	open := func() bool {
		a := ask(t, c, root.Token, "GET", "/metrics", "")
		return strings.Contains(string(a.body), "baadal_event_streams 1")
	}
	for range 100 {
		if open() {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if !open() {
		t.Fatal("the stream did not open")
	}
	large := []byte(fmt.Sprintf("%q", strings.Repeat("x", 1<<20)))
	for range 200 {
		c.Update(func(tx *store.Tx) error {
			_, err := tx.AddEvent(baadal.Event{Topic: "vm", Subject: baadal.Subject{Kind: "vm", ID: 1, Name: "x"}, What: "updated", Changes: large})
			return err
		})
		if !open() {
			return
		}
	}
	t.Error("the stuck stream is still open")
}

// Deadlines mean other things in HTTP/2; a live stream stays open there too.
func TestStreamOverHTTP2(t *testing.T) {
	t.Parallel()
	c := servertest.New(t, func(cfg *server.Config) {
		cfg.IOTimeout, cfg.Heartbeat = 400*time.Millisecond, 100*time.Millisecond
	})
	root := c.User("root", "ADMIN", baadal.RoleAdmin)
	hs := httptest.NewUnstartedServer(c.Server.Handler())
	hs.EnableHTTP2 = true
	hs.StartTLS()
	t.Cleanup(hs.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, hs.URL+"/api/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+root.Token)
	resp, err := hs.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.ProtoMajor != 2 || resp.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("protocol %s, headers %v", resp.Proto, resp.Header)
	}
	lines, beats := bufio.NewScanner(resp.Body), 0
	for lines.Scan() && beats < 15 {
		if lines.Text() == ": still here" {
			beats++
		}
	}
	if beats < 15 {
		t.Errorf("the stream ended after %d heartbeats: %v", beats, lines.Err())
	}
}
