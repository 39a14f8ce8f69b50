package server_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"baadal"
	"baadal/internal/server"
	"baadal/internal/server/servertest"
	"baadal/internal/service"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
	"baadal/internal/task"
)

// lockedWriter is a log that many requests write to.
type lockedWriter struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedWriter) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestHealth(t *testing.T) {
	t.Parallel()
	c := servertest.New(t, func(cfg *server.Config) { cfg.Version = "1.2.3" })
	if a := ask(t, c, "", "GET", "/healthz", ""); a.status != http.StatusOK || string(a.body) != "ok 1.2.3\n" {
		t.Errorf("healthz: %d %q", a.status, a.body)
	}
	if a := ask(t, c, "", "GET", "/readyz", ""); a.status != http.StatusOK {
		t.Errorf("readyz: %d %q", a.status, a.body)
	}
	c.Server.Drain()
	if a := ask(t, c, "", "GET", "/readyz", ""); a.status != http.StatusServiceUnavailable || a.problem(t).Code != "draining" || a.header.Get("Retry-After") == "" {
		t.Errorf("readyz while draining: %d %q", a.status, a.body)
	}
}

func TestReadyNeedsTheDatabase(t *testing.T) {
	t.Parallel()
	db, err := store.Open(t.Context(), store.Config{DSN: storetest.SQLiteDSN(t)})
	if err != nil {
		t.Fatal(err)
	}
	svc := service.New(db, task.New(db, task.Options{}), service.Options{})
	h := server.New(server.Config{Service: svc}).Handler()
	status := func(path string) int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code
	}
	if got := status("/readyz"); got != http.StatusOK {
		t.Errorf("readyz: %d", got)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if got := status("/readyz"); got != http.StatusServiceUnavailable {
		t.Errorf("readyz without a database: %d", got)
	}
	if got := status("/healthz"); got != http.StatusOK {
		t.Errorf("healthz without a database: %d", got)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	c := servertest.New(t)
	c.Furnish()
	root, rita := c.User("root", "ADMIN", baadal.RoleAdmin), c.User("rita", "CSE")
	c.VM(root, "web")
	ask(t, c, root.Token, "GET", "/api/v1/vms/web", "")
	ask(t, c, "", "GET", "/api/v1/no/such/"+strings.Repeat("x", 50), "")
	if a := ask(t, c, "", "GET", "/metrics", ""); a.status != http.StatusUnauthorized {
		t.Errorf("nobody: %d", a.status)
	}
	if a := ask(t, c, rita.Token, "GET", "/metrics", ""); a.status != http.StatusForbidden {
		t.Errorf("a user: %d", a.status)
	}
	a := ask(t, c, root.Token, "GET", "/metrics", "")
	for _, want := range []string{
		`baadal_vms{state="off"} 1`, `baadal_hosts{state="up"} 1`, "baadal_stats_up 1", "go_goroutines",
		`baadal_http_request_duration_seconds_count{route="GET /api/v1/vms/{ref}",status="200"} 1`,
		`baadal_http_request_duration_seconds_count{route="none",status="404"} 1`,
	} {
		if !strings.Contains(string(a.body), want) {
			t.Errorf("metrics lack %s\n%.3000s", want, a.body)
		}
	}
	public := servertest.New(t, func(cfg *server.Config) { cfg.MetricsPublic = true })
	if a := ask(t, public, "", "GET", "/metrics", ""); a.status != http.StatusOK {
		t.Errorf("public metrics: %d", a.status)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	c := servertest.New(t, func(cfg *server.Config) { cfg.Version = "<script>" })
	home := ask(t, c, "", "GET", "/", "")
	if home.status != http.StatusOK || !strings.Contains(string(home.body), `href="/api"`) || strings.Contains(string(home.body), "<script>") {
		t.Errorf("home: %d %s", home.status, home.body)
	}
	doc := ask(t, c, "", "GET", "/api", "")
	for _, r := range c.Server.Routes() {
		if !strings.Contains(string(doc.body), `id="`+r.ID+`"`) || !strings.Contains(string(doc.body), r.Path) {
			t.Errorf("the documentation lacks %s", r.ID)
		}
	}
	for _, bad := range []string{"http://", "https://", "<script"} {
		if i := strings.Index(string(doc.body), bad); i >= 0 {
			t.Errorf("the documentation contains %q: %.80s", bad, doc.body[i:])
		}
	}
	if a := ask(t, c, "", "GET", "/api/openapi.yaml", ""); a.status != http.StatusOK || !strings.Contains(string(a.body), "openapi: 3.1.0") {
		t.Errorf("openapi.yaml: %d", a.status)
	}
}
