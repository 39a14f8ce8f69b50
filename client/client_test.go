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

// Every noun's methods against the real server: the routes, the inputs and the
// answers fit together.
func TestNouns(t *testing.T) {
	t.Parallel()
	cloud := servertest.New(t)
	cloud.Furnish()
	root := cloud.User("root", "ADMIN", baadal.RoleAdmin)
	ctx, c := t.Context(), newClient(t, cloud.URL, root.Token)
	off := cloud.VM(root, "off")
	none, dry := baadal.ChangeOptions{}, baadal.ChangeOptions{DryRun: true}
	planned := func(plan *baadal.Plan, err error) error {
		if err == nil && plan == nil {
			err = errors.New("no plan")
		}
		return err
	}
	tests := map[string]func() error{
		"hosts": func() error { l, err := c.Hosts(ctx, baadal.ListQuery{Filter: "state:up"}); return total(l, 1, err) },
		"host":  func() error { h, err := c.Host(ctx, "one"); return same(h.Address, "192.0.2.1", err) },
		"add host": func() error {
			ch, err := c.AddHost(ctx, baadal.HostAdd{Address: "192.0.2.3", Fingerprint: servertest.Fingerprint}, none)
			return begun(ch.Task, baadal.TaskHostAdd, err)
		},
		"check": func() error {
			ch, err := c.CheckHost(ctx, "one", none)
			return begun(ch.Task, baadal.TaskHostCheck, err)
		},
		"remove host": func() error {
			_, err := c.RemoveHost(ctx, "one", none)
			return code(err, baadal.Conflict, "")
		},
		"datastores": func() error { l, err := c.Datastores(ctx, baadal.ListQuery{Filter: "one"}); return total(l, 1, err) },
		"datastore":  func() error { d, err := c.Datastore(ctx, "one"); return same(d.Path, "/mnt/one", err) },
		"add datastore": func() error {
			ch, err := c.AddDatastore(ctx, baadal.DatastoreAdd{Name: "two", Path: "/mnt/two"}, none)
			return same(ch.Resource.Name, "two", err)
		},
		"remove datastore": func() error {
			_, err := c.RemoveDatastore(ctx, "one", none)
			return code(err, baadal.Conflict, "datastore_in_use")
		},
		"templates": func() error { l, err := c.Templates(ctx, baadal.ListQuery{}); return total(l, 1, err) },
		"template":  func() error { m, err := c.Template(ctx, "one"); return same(m.File, "one.img", err) },
		"import template": func() error {
			ch, err := c.ImportTemplate(ctx, baadal.TemplateImport{Name: "x", URL: "http://192.0.2.8/x"}, dry)
			return planned(ch.Plan, err)
		},
		"delete template": func() error {
			_, err := c.DeleteTemplate(ctx, "one", none)
			return code(err, baadal.Conflict, "template_in_use")
		},
		"networks":  func() error { l, err := c.Networks(ctx, baadal.ListQuery{Filter: "one"}); return total(l, 1, err) },
		"network":   func() error { n, err := c.Network(ctx, "one"); return same(n.CIDR, "192.168.10.0/24", err) },
		"addresses": func() error { l, err := c.NetworkAddresses(ctx, "one"); return total(l, 200, err) },
		"create network": func() error {
			ch, err := c.CreateNetwork(ctx, baadal.NetworkCreate{Name: "n", VLAN: 9, CIDR: "10.9.0.0/24"}, none)
			return begun(ch.Task, baadal.TaskNetworkApply, err)
		},
		"delete network": func() error {
			_, err := c.DeleteNetwork(ctx, "one", none)
			return code(err, baadal.Conflict, "network_in_use")
		},
		"VM": func() error { v, err := c.VM(ctx, off.UUID); return same(v.Name, "off", err) },
		"create VM": func() error {
			ch, err := c.CreateVM(ctx, baadal.VMCreate{Name: "new", Template: "one", Network: "one"}, none)
			return begun(ch.Task, baadal.TaskVMCreate, err)
		},
		"plan VM": func() error {
			ch, err := c.CreateVM(ctx, baadal.VMCreate{Name: "new2", Template: "one", Network: "one"}, dry)
			return planned(ch.Plan, err)
		},
		"start VM":    func() error { ch, err := c.StartVM(ctx, "off", dry); return planned(ch.Plan, err) },
		"shutdown VM": func() error { _, err := c.ShutdownVM(ctx, "off", none); return code(err, baadal.Conflict, "vm_off") },
		"reboot VM":   func() error { _, err := c.RebootVM(ctx, "off", none); return code(err, baadal.Conflict, "vm_state") },
		"destroy VM":  func() error { _, err := c.DestroyVM(ctx, "off", none); return code(err, baadal.Conflict, "vm_off") },
		"delete VM":   func() error { ch, err := c.DeleteVM(ctx, "off", dry); return planned(ch.Plan, err) },
		"stale VM": func() error {
			_, err := c.DeleteVM(ctx, "off", baadal.ChangeOptions{Generation: 99})
			return code(err, baadal.Stale, "stale")
		},
		"restore VM": func() error { _, err := c.RestoreVM(ctx, "off", none); return code(err, baadal.Conflict, "vm_state") },
		"password":   func() error { p, err := c.VMPassword(ctx, "off"); return same(p, "secret of off", err) },
		"users":      func() error { l, err := c.Users(ctx, baadal.ListQuery{Filter: "root"}); return total(l, 1, err) },
		"user":       func() error { u, err := c.User(ctx, "root"); return same(u.Organisation, "ADMIN", err) },
		"create user": func() error {
			u, err := c.CreateUser(ctx, baadal.UserCreate{Username: "new"}, none)
			return same(fmt.Sprint(len(u.OneTimePassword)), "19", err)
		},
		"update user": func() error {
			name := "Root"
			u, err := c.UpdateUser(ctx, "root", baadal.UserUpdate{Name: &name}, none)
			return same(u.Name, "Root", err)
		},
		"organisations": func() error { l, err := c.Organisations(ctx); return same(l.Items[0].Name, "ADMIN", err) },
		"settings":      func() error { l, err := c.Settings(ctx); return total(l, len(baadal.Settings()), err) },
		"update setting": func() error {
			s, err := c.UpdateSetting(ctx, baadal.SettingRetention, "48h", none)
			return same(s.Value, "48h", err)
		},
		"last audit": func() error { _, err := c.LastAudit(ctx); return code(err, baadal.NotFound, "") },
		"audit":      func() error { ch, err := c.RunAudit(ctx, true, none); return begun(ch.Task, baadal.TaskAudit, err) },
		"events": func() error {
			l, err := c.EventList(ctx, baadal.ListQuery{Filter: "topic:vm what:created off"})
			return total(l, 1, err)
		},
		"no such task":  func() error { _, err := c.Task(ctx, 4242); return code(err, baadal.NotFound, "") },
		"odd reference": func() error { _, err := c.VM(ctx, "../users?x=1#y"); return code(err, baadal.NotFound, "") },
		"bad list": func() error {
			_, err := c.VMs(ctx, baadal.ListQuery{Sort: "colour"})
			return code(err, baadal.Invalid, "")
		},
	}
	for name, try := range tests {
		if err := try(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func total[T any](l baadal.List[T], want int, err error) error {
	if err == nil && (l.Total != want || len(l.Items) != min(want, 100) && len(l.Items) != want) {
		err = fmt.Errorf("total %d with %d items, want %d", l.Total, len(l.Items), want)
	}
	return err
}

func same(got, want string, err error) error {
	if err == nil && got != want {
		err = fmt.Errorf("got %q, want %q", got, want)
	}
	return err
}

func begun(t *baadal.Task, kind baadal.TaskKind, err error) error {
	if err == nil && (t == nil || t.Kind != kind || t.ID == 0) {
		err = fmt.Errorf("task %+v, want kind %q", t, kind)
	}
	return err
}

func code(err error, kind baadal.Kind, code string) error {
	if baadal.KindOf(err) != kind || code != "" && baadal.CodeOf(err) != code {
		return fmt.Errorf("error %w (%s, %s), want %s, %s", err, baadal.KindOf(err), baadal.CodeOf(err), kind, code)
	}
	return nil
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
