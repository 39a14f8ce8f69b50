package server_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"baadal"
	"baadal/internal/server"
	"baadal/internal/server/servertest"
)

// answer is a response that was read.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// problem decodes the body, which must be a problem.
func (a answer) problem(t *testing.T) server.Problem {
	t.Helper()
	if ct := a.header.Get("Content-Type"); ct != "application/problem+json" {
		t.Fatalf("Content-Type is %q, want a problem; body: %s", ct, a.body)
	}
	var p server.Problem
	if err := json.Unmarshal(a.body, &p); err != nil {
		t.Fatal(err)
	}
	if p.Status != a.status || p.Code == "" || p.Kind == "" || p.Title == "" || p.Instance != a.header.Get("X-Request-Id") {
		t.Errorf("incomplete problem %s with status %d, request %s", a.body, a.status, a.header.Get("X-Request-Id"))
	}
	return p
}

func into[T any](t *testing.T, a answer) T {
	t.Helper()
	var v T
	if a.status > 299 {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("decode %s: %v", a.body, err)
	}
	return v
}

// ask makes a call as somebody; "" is nobody. Headers are pairs.
func ask(t *testing.T, c *servertest.Cloud, token, method, path, body string, headers ...string) answer {
	t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, c.URL+path, r)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.HTTP.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, data}
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	c := servertest.New(t)
	c.Furnish()
	root := c.User("root", "ADMIN", baadal.RoleAdmin)
	tests := map[string]struct {
		method, path, body string
		headers            []string
		status             int
		code, field        string
	}{
		"unknown field":         {"POST", "/vms", `{"name":"a","template":"one","colour":"red"}`, nil, 422, "invalid", "colour"},
		"missing field":         {"POST", "/vms", `{"name":"a"}`, nil, 422, "invalid", ""},
		"wrong type":            {"POST", "/vms", `{"name":"a","template":"one","vcpus":"two"}`, nil, 422, "invalid", "vcpus"},
		"out of range":          {"POST", "/vms", `{"name":"a","template":"one","vcpus":65}`, nil, 422, "invalid", "vcpus"},
		"name with shell":       {"POST", "/vms", `{"name":";$(reboot)","template":"one"}`, nil, 422, "bad_name", "name"},
		"name with quotes":      {"POST", "/vms", `{"name":"a'\"b","template":"one"}`, nil, 422, "bad_name", "name"},
		"name with newline":     {"POST", "/vms", `{"name":"a\nb","template":"one"}`, nil, 422, "bad_name", "name"},
		"key with newline":      {"POST", "/vms", `{"name":"a","template":"one","ssh_keys":["ssh-ed25519 AAAA x\nruncmd: [reboot]"]}`, nil, 422, "bad_ssh_key", "ssh_keys"},
		"path with dots":        {"POST", "/datastores", `{"name":"a","path":"/mnt/../etc"}`, nil, 422, "invalid", "path"},
		"no body":               {"POST", "/vms", ``, nil, 400, "invalid", ""},
		"not JSON":              {"POST", "/vms", `{"name":`, nil, 400, "invalid", ""},
		"a form":                {"POST", "/vms", `name=a`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "invalid", ""},
		"unknown query":         {"GET", "/vms?statee=off", ``, nil, 422, "invalid", "statee"},
		"limit too large":       {"GET", "/vms?limit=100000", ``, nil, 422, "invalid", "limit"},
		"limit not a number":    {"GET", "/vms?limit=many", ``, nil, 422, "invalid", "limit"},
		"bad cursor":            {"GET", "/vms?after=xyz", ``, nil, 422, "", ""},
		"unknown filter":        {"GET", "/vms?filter=colour:red", ``, nil, 422, "", ""},
		"unknown sort":          {"GET", "/vms?sort=colour", ``, nil, 422, "", ""},
		"If-Match not a number": {"DELETE", "/hosts/one", ``, []string{"If-Match", `"one"`}, 422, "invalid", "If-Match"},
		"stale host":            {"DELETE", "/hosts/one", ``, []string{"If-Match", `"99"`}, 412, "stale", ""},
		"stale setting":         {"PUT", "/settings/vm.retention", `{"value":"24h"}`, []string{"If-Match", `"99"`}, 412, "stale", ""},
		"id not a number":       {"GET", "/tasks/one", ``, nil, 422, "invalid", "id"},
		"wait not a duration":   {"GET", "/tasks/1?wait=long", ``, nil, 422, "invalid", "wait"},
		"no such task":          {"GET", "/tasks/999", ``, nil, 404, "", ""},
		"no such VM":            {"GET", "/vms/nothing", ``, nil, 404, "", ""},
		"VM name with slash":    {"GET", "/vms/a%2Fb", ``, nil, 404, "", ""},
		"unknown setting":       {"PUT", "/settings/a.b", `{"value":"1"}`, nil, 404, "", ""},
		"no such route":         {"GET", "/nothing", ``, nil, 404, "no_route", ""},
		"wrong method":          {"DELETE", "/vms", ``, nil, 405, "method_not_allowed", ""},
		"bad key":               {"POST", "/vms", `{"name":"a","template":"one"}`, []string{"Idempotency-Key", strings.Repeat("x", 129)}, 422, "invalid", "Idempotency-Key"},
		"host not confirmed":    {"POST", "/hosts", `{"address":"192.0.2.9"}`, nil, 409, "fingerprint_unconfirmed", "fingerprint"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := ask(t, c, root.Token, tc.method, "/api/v1"+tc.path, tc.body, tc.headers...)
			p := a.problem(t)
			if a.status != tc.status || (tc.code != "" && p.Code != tc.code) {
				t.Errorf("status %d, code %s; want %d, %s: %s", a.status, p.Code, tc.status, tc.code, a.body)
			}
			named := slices.ContainsFunc(p.Errors, func(e server.FieldError) bool { return e.Field == tc.field })
			if tc.field != "" && !named {
				t.Errorf("field %q is not named in %s", tc.field, a.body)
			}
		})
	}
}

func TestWrongMethodNamesTheRightOnes(t *testing.T) {
	t.Parallel()
	c := servertest.New(t)
	a := ask(t, c, "", "PATCH", "/api/v1/vms", "")
	if a.status != http.StatusMethodNotAllowed || !strings.Contains(a.header.Get("Allow"), "POST") {
		t.Errorf("status %d, Allow %q", a.status, a.header.Get("Allow"))
	}
}

// The values of bad fields are not repeated: they may be secrets.
func TestProblemsKeepSecrets(t *testing.T) {
	t.Parallel()
	c := servertest.New(t)
	for _, body := range []string{
		`{"username":"a","password":"hunter2hunter2","x":1}`,
		`{"username":"a","password":"hunter2hunter2"`,
		`{"username":5,"password":["hunter2hunter2"]}`,
	} {
		if a := ask(t, c, "", "POST", "/api/v1/auth/sign-in", body); a.status < 400 || strings.Contains(string(a.body), "hunter2") {
			t.Errorf("%s answers %d %s", body, a.status, a.body)
		}
	}
}

// zeros is an endless body that counts what was read of it.
type zeros struct{ read atomic.Int64 }

func (z *zeros) Read(p []byte) (int, error) {
	z.read.Add(int64(len(p)))
	return len(p), nil
}

func TestLargeBodyIsRefusedUnread(t *testing.T) {
	t.Parallel()
	const size = 100 << 20
	c := servertest.New(t)
	root := c.User("root", "ADMIN", baadal.RoleAdmin)
	for name, length := range map[string]int64{"with length": size, "chunked": -1} {
		for _, path := range []string{"/vms", "/auth/sign-in"} {
			t.Run(name+path, func(t *testing.T) {
				t.Parallel()
				z := &zeros{}
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.URL+"/api/v1"+path, io.LimitReader(z, size))
				if err != nil {
					t.Fatal(err)
				}
				req.ContentLength = length
				req.Header.Set("Authorization", "Bearer "+root.Token)
				req.Header.Set("Content-Type", "application/json")
				start := time.Now()
				resp, err := c.HTTP.Client().Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				body, _ := io.ReadAll(resp.Body)
				if resp.StatusCode != http.StatusRequestEntityTooLarge || !bytes.Contains(body, []byte(`"code":"too_large"`)) {
					t.Errorf("status %d: %s", resp.StatusCode, body)
				}
				if took := time.Since(start); took > 5*time.Second || z.read.Load() > 16<<20 {
					t.Errorf("it took %s and %d bytes were read", took, z.read.Load())
				}
			})
		}
	}
}

func TestCancelTask(t *testing.T) {
	t.Parallel()
	c := servertest.New(t)
	rita := c.User("rita", "CSE")
	task := c.Task(rita)
	a := ask(t, c, rita.Token, "POST", "/api/v1/tasks/1/cancel", `{}`)
	if a.status != http.StatusOK {
		t.Fatalf("cancel: %d %s", a.status, a.body)
	}
	got := into[baadal.Task](t, a)
	if got.ID != task.ID || got.CancelBy != "rita" {
		t.Errorf("task %d is cancelled by %q", got.ID, got.CancelBy)
	}
}

func TestUpload(t *testing.T) {
	t.Parallel()
	c := servertest.New(t, func(cfg *server.Config) { cfg.MaxUpload = 8 << 20 })
	c.Furnish()
	root := c.User("root", "ADMIN", baadal.RoleAdmin)
	content := strings.Repeat("x", 5<<20)
	ok := ask(t, c, root.Token, "PUT", "/api/v1/uploads", content, "Content-Type", "application/octet-stream")
	if u := into[map[string]any](t, ok); ok.status != http.StatusCreated || u["size_bytes"] != float64(5<<20) || u["upload_id"] == "" ||
		u["sha256"] != fmt.Sprintf("%x", sha256.Sum256([]byte(content))) {
		t.Errorf("upload: %d %s", ok.status, ok.body)
	}
	for name, length := range map[string]int64{"with length": 9 << 20, "chunked": -1} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, c.URL+"/api/v1/uploads", io.LimitReader(&zeros{}, 9<<20))
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = length
			req.Header.Set("Authorization", "Bearer "+root.Token)
			resp, err := c.HTTP.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusRequestEntityTooLarge {
				t.Errorf("status %d", resp.StatusCode)
			}
		})
	}
}

func TestETagAndLocation(t *testing.T) {
	t.Parallel()
	c := servertest.New(t)
	c.Furnish()
	root := c.User("root", "ADMIN", baadal.RoleAdmin)
	vm := c.VM(root, "web")
	got := ask(t, c, root.Token, "GET", "/api/v1/vms/web", "")
	tag := got.header.Get("ETag")
	if tag == "" || tag[0] != '"' {
		t.Fatalf("ETag is %q", tag)
	}
	stale := ask(t, c, root.Token, "POST", "/api/v1/vms/web/start", "", "If-Match", `"424242"`)
	if stale.status != http.StatusPreconditionFailed {
		t.Errorf("stale start: %d %s", stale.status, stale.body)
	}
	dry := ask(t, c, root.Token, "POST", "/api/v1/vms/web/start?dry_run=true", "", "If-Match", tag)
	if p := into[baadal.Change[baadal.VM]](t, dry); dry.status != http.StatusOK || p.Plan == nil || p.Task != nil {
		t.Errorf("dry run: %d %s", dry.status, dry.body)
	}
	start := ask(t, c, root.Token, "POST", "/api/v1/vms/web/start", "", "If-Match", "W/"+tag)
	change := into[baadal.Change[baadal.VM]](t, start)
	if start.status != http.StatusAccepted || change.Task == nil || change.Resource == nil || change.Resource.ID != vm.ID {
		t.Fatalf("start: %d %s", start.status, start.body)
	}
	task := into[baadal.Task](t, ask(t, c, root.Token, "GET", start.header.Get("Location"), ""))
	if task.ID != change.Task.ID || task.Kind != baadal.TaskVMStart {
		t.Errorf("Location %s leads to task %d (%s)", start.header.Get("Location"), task.ID, task.Kind)
	}
	busy := ask(t, c, root.Token, "POST", "/api/v1/vms/web/start", "")
	if p := busy.problem(t); busy.status != http.StatusConflict || p.Task != task.ID || len(p.Next) == 0 {
		t.Errorf("second start: %d %s", busy.status, busy.body)
	}
}

func TestLists(t *testing.T) {
	t.Parallel()
	c := servertest.New(t)
	c.Furnish()
	root := c.User("root", "ADMIN", baadal.RoleAdmin)
	for _, name := range []string{"a", "b", "c"} {
		c.VM(root, name)
	}
	var names []string
	after := ""
	for range 5 {
		page := into[baadal.List[baadal.VM]](t, ask(t, c, root.Token, "GET", "/api/v1/vms?limit=2&sort=name&after="+after, ""))
		if page.Total != 3 || page.Facets["state"]["off"] != 3 {
			t.Errorf("total %d, facets %v", page.Total, page.Facets)
		}
		for _, vm := range page.Items {
			names = append(names, vm.Name)
			if !vm.Actions["start"].Allowed || vm.Actions["shutdown"].Allowed || vm.Actions["shutdown"].Code != "vm_off" {
				t.Errorf("actions of %s: %+v", vm.Name, vm.Actions)
			}
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if got := strings.Join(names, ""); got != "abc" {
		t.Errorf("pages hold %q", got)
	}
	for _, path := range []string{"/hosts", "/datastores", "/templates", "/networks", "/tasks", "/users", "/organisations", "/tokens", "/settings", "/event-log", "/networks/one/addresses"} {
		a := ask(t, c, root.Token, "GET", "/api/v1"+path, "")
		if l := into[map[string]any](t, a); l["items"] == nil || l["total"] == nil {
			t.Errorf("%s: %s", path, a.body)
		}
	}
	if a := ask(t, c, root.Token, "GET", "/api/v1/tasks", ""); !strings.Contains(string(a.body), `"items":[]`) {
		t.Errorf("an empty list is %s", a.body)
	}
}
