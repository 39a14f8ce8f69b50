package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"baadal"
	"baadal/client"
	"baadal/internal/server/servertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newClient(t *testing.T, base, token string) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{BaseURL: base, Token: token, UserAgent: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdle)
	return c
}

func TestNewRefusesBadURLs(t *testing.T) {
	t.Parallel()
	for _, u := range []string{"", "localhost:8080", "ftp://x", "http://", "::"} {
		if _, err := client.New(client.Config{BaseURL: u}); baadal.KindOf(err) != baadal.Invalid {
			t.Errorf("New(%q): %v", u, err)
		}
	}
	c, err := client.New(client.Config{BaseURL: "http://user:pw@host:1/base/?q#f"})
	if err != nil || c.BaseURL() != "http://host:1/base" {
		t.Errorf("base is %v, %v", c.BaseURL(), err)
	}
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	cloud := servertest.New(t)
	rita := cloud.User("rita", "CSE")
	ctx := t.Context()
	c := newClient(t, cloud.URL, "")
	if _, err := c.Me(ctx); baadal.KindOf(err) != baadal.Unauthenticated {
		t.Errorf("before: %v", err)
	}
	if _, err := c.SignIn(ctx, "rita", "wrong"); baadal.CodeOf(err) != "sign_in_failed" || c.Token() != "" {
		t.Errorf("wrong password: %v", err)
	}
	in, err := c.SignIn(ctx, "rita", rita.Password)
	if err != nil || in.User.ID != rita.ID || !strings.HasPrefix(c.Token(), "bs_") {
		t.Fatalf("sign in: %+v, %v", in, err)
	}
	made, err := c.CreateToken(ctx, "cli@host", time.Hour)
	if err != nil || made.Secret == "" || made.Token.ExpiresAt == nil {
		t.Fatalf("token: %+v, %v", made, err)
	}
	if err := c.ChangePassword(ctx, rita.Password, "another password"); err != nil {
		t.Fatal(err)
	}
	program := newClient(t, cloud.URL, made.Secret)
	if me, err := program.Me(ctx); err != nil || me.Username != "rita" {
		t.Errorf("with token: %+v, %v", me, err)
	}
	tokens, err := program.Tokens(ctx)
	if err != nil || tokens.Total != 2 {
		t.Errorf("tokens: %+v, %v", tokens, err)
	}
	if err := program.RevokeToken(ctx, made.Token.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := program.Me(ctx); baadal.KindOf(err) != baadal.Unauthenticated {
		t.Errorf("revoked: %v", err)
	}
	if _, err := c.SignIn(ctx, "rita", "another password"); err != nil {
		t.Fatal(err)
	}
	if err := c.SignOut(ctx); err != nil || c.Token() != "" {
		t.Errorf("sign out: %v", err)
	}
}

func TestProblem(t *testing.T) {
	t.Parallel()
	cloud := servertest.New(t)
	cloud.Furnish()
	root := cloud.User("root", "ADMIN", baadal.RoleAdmin)
	cloud.VM(root, "web")
	ctx, c := t.Context(), newClient(t, cloud.URL, root.Token)
	started, err := c.StartVM(ctx, "web", baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.StartVM(ctx, "web", baadal.ChangeOptions{})
	p, ok := errors.AsType[*client.Problem](err)
	e, ok2 := errors.AsType[*baadal.Error](err)
	if !ok || !ok2 || p.Status != http.StatusConflict || p.RequestID == "" || e.Code != "vm_busy" || e.TaskID != started.Task.ID || len(e.Next) == 0 {
		t.Fatalf("problem %+v, error %+v", p, e)
	}
	if !json.Valid(p.Body) || !strings.Contains(err.Error(), "held by task") {
		t.Errorf("body %s, words %q", p.Body, err)
	}
	_, err = c.CreateVM(ctx, baadal.VMCreate{Name: "a", Template: "one", VCPUs: 99}, baadal.ChangeOptions{})
	if p, ok = errors.AsType[*client.Problem](err); !ok || len(p.Fields) != 1 || p.Fields[0].Field != "vcpus" || !strings.Contains(err.Error(), "body.vcpus: ") {
		t.Errorf("bad field: %v", err)
	}
}

func TestAnswersThatAreNotOurs(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		status int
		body   string
		want   baadal.Kind
	}{
		"a proxy's error page": {502, "<html>", baadal.Unavailable},
		"another server":       {404, "not here", baadal.NotFound},
		"half a problem":       {409, `{"code":"x"}`, baadal.Conflict},
		"not JSON":             {200, "<html>", baadal.Internal},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
			}))
			t.Cleanup(s.Close)
			if _, err := newClient(t, s.URL, "").Me(t.Context()); baadal.KindOf(err) != tc.want {
				t.Errorf("%v is %s, want %s", err, baadal.KindOf(err), tc.want)
			}
		})
	}
}

func TestNoServer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	_, err = newClient(t, "http://"+addr, "secret-token").Me(t.Context())
	if baadal.KindOf(err) != baadal.Unavailable || baadal.CodeOf(err) != "no_connection" || !strings.Contains(err.Error(), addr) ||
		!strings.Contains(err.Error(), "refused") || strings.Contains(err.Error(), "secret-token") {
		t.Errorf("error is %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newClient(t, "http://"+addr, "").Me(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// lossy passes requests on to a server and may lose the answer.
func lossy(t *testing.T, target string, lose func(*http.Request) bool) (base string) {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(u)
	transport := &http.Transport{}
	proxy.Transport = transport
	proxy.FlushInterval = -1
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !lose(r) {
			proxy.ServeHTTP(w, r)
			return
		}
		proxy.ServeHTTP(httptest.NewRecorder(), r) // the server does it, and nobody hears
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
		transport.CloseIdleConnections()
	})
	return s.URL
}

// A create whose answer was lost is asked for again and made once.
func TestLostAnswerCreatesOnce(t *testing.T) {
	t.Parallel()
	cloud := servertest.New(t)
	cloud.Furnish()
	root := cloud.User("root", "ADMIN", baadal.RoleAdmin)
	var calls atomic.Int32
	base := lossy(t, cloud.URL, func(*http.Request) bool { return calls.Add(1) <= 2 })
	ch, err := newClient(t, base, root.Token).CreateVM(t.Context(), baadal.VMCreate{Name: "web", Template: "one"}, baadal.ChangeOptions{})
	if err != nil || ch.Task == nil || ch.Resource.Name != "web" {
		t.Fatalf("create: %+v, %v", ch, err)
	}
	if l, err := newClient(t, cloud.URL, root.Token).VMs(t.Context(), baadal.ListQuery{}); err != nil || l.Total != 1 || calls.Load() < 3 {
		t.Errorf("%d VMs after %d calls, %v", l.Total, calls.Load(), err)
	}
}

// What is not safe to repeat is not repeated.
func TestLostAnswerOfAnAct(t *testing.T) {
	t.Parallel()
	cloud := servertest.New(t)
	cloud.Furnish()
	root := cloud.User("root", "ADMIN", baadal.RoleAdmin)
	cloud.VM(root, "web")
	var calls atomic.Int32
	base := lossy(t, cloud.URL, func(*http.Request) bool { calls.Add(1); return true })
	_, err := newClient(t, base, root.Token).StartVM(t.Context(), "web", baadal.ChangeOptions{})
	if baadal.CodeOf(err) != "no_connection" || calls.Load() != 1 {
		t.Errorf("%d calls, %v", calls.Load(), err)
	}
}

func TestUploadTellsProgress(t *testing.T) {
	t.Parallel()
	cloud := servertest.New(t)
	cloud.Furnish()
	root := cloud.User("root", "ADMIN", baadal.RoleAdmin)
	const size = 3 << 20
	var last atomic.Int64
	up, err := newClient(t, cloud.URL, root.Token).Upload(t.Context(), "", io.LimitReader(zeros{}, size), size, last.Store)
	if err != nil || up.Size != size || len(up.SHA256) != 64 || last.Load() != size {
		t.Errorf("upload %+v, %v; progress %d", up, err, last.Load())
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestPages(t *testing.T) {
	t.Parallel()
	cloud := servertest.New(t)
	cloud.Furnish()
	root := cloud.User("root", "ADMIN", baadal.RoleAdmin)
	for i := range 7 {
		cloud.VM(root, fmt.Sprintf("vm%d", i))
	}
	c := newClient(t, cloud.URL, root.Token)
	var names []string
	for vm, err := range client.Pages(t.Context(), c.VMs, baadal.ListQuery{Limit: 3, Sort: "name"}) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, vm.Name)
	}
	if got := strings.Join(names, " "); got != "vm0 vm1 vm2 vm3 vm4 vm5 vm6" {
		t.Errorf("got %s", got)
	}
}
