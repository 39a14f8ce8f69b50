package server_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"baadal"
	"baadal/internal/server"
	"baadal/internal/server/servertest"
)

func signIn(t *testing.T, c *servertest.Cloud, username, password string, headers ...string) answer {
	t.Helper()
	return ask(t, c, "", "POST", "/api/v1/auth/sign-in", fmt.Sprintf(`{"username":%q,"password":%q}`, username, password), headers...)
}

func cookieOf(t *testing.T, a answer) *http.Cookie {
	t.Helper()
	cookies := (&http.Response{Header: a.header}).Cookies()
	if len(cookies) != 1 || cookies[0].Name != "baadal_session" {
		t.Fatalf("cookies: %v", a.header.Values("Set-Cookie"))
	}
	return cookies[0]
}

func TestSignInAndOut(t *testing.T) {
	t.Parallel()
	c := servertest.New(t)
	rita := c.User("rita", "CSE")
	a := signIn(t, c, "rita", rita.Password)
	in := into[server.SignedIn](t, a)
	cookie := cookieOf(t, a)
	if in.User.ID != rita.ID || in.MustChange || !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Secure || cookie.Path != "/" {
		t.Errorf("signed in %+v with cookie %v", in, cookie)
	}
	session := []string{"Cookie", cookie.Name + "=" + cookie.Value}
	if me := into[baadal.User](t, ask(t, c, "", "GET", "/api/v1/me", "", session...)); me.Username != "rita" {
		t.Errorf("me is %q", me.Username)
	}
	// Programs may send the session as a bearer too.
	if me := ask(t, c, cookie.Value, "GET", "/api/v1/me", ""); me.status != http.StatusOK {
		t.Errorf("session as bearer: %d", me.status)
	}
	out := ask(t, c, "", "POST", "/api/v1/auth/sign-out", "", session...)
	if gone := cookieOf(t, out); out.status != http.StatusNoContent || gone.MaxAge >= 0 || gone.Value != "" {
		t.Errorf("sign-out: %d %v", out.status, gone)
	}
	if me := ask(t, c, "", "GET", "/api/v1/me", "", session...); me.status != http.StatusUnauthorized {
		t.Errorf("after sign-out: %d", me.status)
	}
	for _, bad := range [][2]string{{"rita", "wrong"}, {"nobody", "wrong"}} {
		if a := signIn(t, c, bad[0], bad[1]); a.status != http.StatusUnauthorized || a.header.Get("Set-Cookie") != "" {
			t.Errorf("sign-in as %v: %d, cookie %q", bad, a.status, a.header.Get("Set-Cookie"))
		}
	}
}

func TestSecureCookie(t *testing.T) {
	t.Parallel()
	c := servertest.New(t, func(cfg *server.Config) { cfg.SecureCookies = true })
	rita := c.User("rita", "CSE")
	a := signIn(t, c, "rita", rita.Password)
	if !cookieOf(t, a).Secure || a.header.Get("Strict-Transport-Security") == "" {
		t.Errorf("cookie %v, HSTS %q", cookieOf(t, a), a.header.Get("Strict-Transport-Security"))
	}
}

func TestSignInIsLimited(t *testing.T) {
	t.Parallel()
	c := servertest.New(t)
	rita := c.User("rita", "CSE")
	for i := range 5 {
		if a := signIn(t, c, "rita", "wrong"); a.status != http.StatusUnauthorized {
			t.Fatalf("attempt %d: %d %s", i+1, a.status, a.body)
		}
	}
	a := signIn(t, c, "rita", rita.Password) // even the right one has to wait
	wait, err := strconv.Atoi(a.header.Get("Retry-After"))
	if a.status != http.StatusTooManyRequests || a.problem(t).Code != "sign_in_limited" || err != nil || wait < 1 || wait > 5 {
		t.Errorf("sixth attempt: %d, Retry-After %q: %s", a.status, a.header.Get("Retry-After"), a.body)
	}
}

// Without trusted proxies the header is anyone's claim; behind one it tells
// clients apart.
func TestLimitBehindProxy(t *testing.T) {
	t.Parallel()
	guess := func(t *testing.T, c *servertest.Cloud) int {
		t.Helper()
		for i := range 25 {
			a := signIn(t, c, fmt.Sprintf("user%d", i), "x", "X-Forwarded-For", fmt.Sprintf("198.51.100.9, 203.0.113.%d", i))
			if a.status == http.StatusTooManyRequests {
				return i
			}
		}
		return 25
	}
	if n := guess(t, servertest.New(t)); n != 20 {
		t.Errorf("without a trusted proxy: limited after %d, want 20", n)
	}
	trust := func(cfg *server.Config) { cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }
	if n := guess(t, servertest.New(t, trust)); n != 25 {
		t.Errorf("behind a trusted proxy: limited after %d, want never", n)
	}
}

func TestCrossSiteRequestsAreRefused(t *testing.T) {
	t.Parallel()
	c := servertest.New(t)
	root := c.User("root", "ADMIN", baadal.RoleAdmin)
	cookie := cookieOf(t, signIn(t, c, "root", root.Password))
	session := cookie.Name + "=" + cookie.Value
	origin := strings.TrimPrefix(c.URL, "http://")
	tests := map[string]struct {
		method  string
		headers []string
		status  int
	}{
		"another site's form":        {"POST", []string{"Cookie", session, "Sec-Fetch-Site", "cross-site"}, 403},
		"a sibling site":             {"POST", []string{"Cookie", session, "Sec-Fetch-Site", "same-site"}, 403},
		"old browser, foreign":       {"POST", []string{"Cookie", session, "Origin", "https://evil.example"}, 403},
		"our own page":               {"POST", []string{"Cookie", session, "Sec-Fetch-Site", "same-origin"}, 201},
		"old browser, our own":       {"POST", []string{"Cookie", session, "Origin", "http://" + origin}, 201},
		"reading across sites":       {"GET", []string{"Cookie", session, "Sec-Fetch-Site", "cross-site"}, 200},
		"a token needs no cookie":    {"POST", []string{"Authorization", "Bearer " + root.Token, "Sec-Fetch-Site", "cross-site"}, 201},
		"no browser":                 {"POST", []string{"Cookie", session}, 201},
		"a bad token with a cookie":  {"POST", []string{"Cookie", session, "Authorization", "Bearer x"}, 401},
		"an empty one with a cookie": {"POST", []string{"Cookie", session, "Authorization", "Bearer"}, 401},
	}
	n := 0
	for name, tc := range tests {
		n++
		body := ""
		if tc.method == "POST" {
			body = fmt.Sprintf(`{"name":"t%d"}`, n)
		}
		a := ask(t, c, "", tc.method, "/api/v1/tokens", body, tc.headers...)
		if a.status != tc.status {
			t.Errorf("%s: %d, want %d: %s", name, a.status, tc.status, a.body)
		}
		if a.status == 403 && a.problem(t).Code != "cross_origin" {
			t.Errorf("%s: %s", name, a.body)
		}
	}
	if a := signIn(t, c, "root", root.Password, "Sec-Fetch-Site", "cross-site"); a.status != http.StatusForbidden {
		t.Errorf("sign-in from another site: %d", a.status)
	}
}

func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	c := servertest.New(t)
	for _, path := range []string{"/", "/api", "/api/v1/me", "/nothing", "/api/openapi.json"} {
		a := ask(t, c, "", "GET", path, "")
		h := a.header
		if !strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") || h.Get("X-Content-Type-Options") != "nosniff" ||
			h.Get("X-Frame-Options") != "DENY" || h.Get("Cross-Origin-Resource-Policy") != "same-origin" || h.Get("Referrer-Policy") != "no-referrer" || h.Get("X-Request-Id") == "" {
			t.Errorf("%s: headers %v", path, h)
		}
	}
}

// Neither passwords nor tokens nor cookies reach the log; the request id does.
func TestAccessLogHasNoSecrets(t *testing.T) {
	t.Parallel()
	var log lockedWriter
	c := servertest.New(t, func(cfg *server.Config) { cfg.Logger = slog.New(slog.NewJSONHandler(&log, nil)) })
	root := c.User("root", "ADMIN", baadal.RoleAdmin)
	a := signIn(t, c, "root", root.Password)
	cookie := cookieOf(t, a)
	ask(t, c, "", "GET", "/api/v1/me", "", "Cookie", cookie.Name+"="+cookie.Value)
	last := ask(t, c, root.Token, "GET", "/api/v1/vms?filter=x", "")
	text := log.String()
	for _, secret := range []string{root.Password, root.Token, cookie.Value} {
		if strings.Contains(text, secret) {
			t.Errorf("the log contains %q", secret)
		}
	}
	for _, want := range []string{last.header.Get("X-Request-Id"), `"user":"root"`, `"path":"/api/v1/vms"`, `"status":200`, `"duration_ms"`} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %s:\n%s", want, text)
		}
	}
}

// A defect answers 500 with the request's id, which is in the log with the cause.
func TestPanicIsAProblem(t *testing.T) {
	t.Parallel()
	var log lockedWriter
	h := server.New(server.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}).Handler() // without a service
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/api/v1/me", nil)
	r.Header.Set("Authorization", "Bearer x")
	h.ServeHTTP(w, r)
	p := answer{w.Code, w.Header(), w.Body.Bytes()}.problem(t)
	if w.Code != http.StatusInternalServerError || p.Title != "internal error" || !strings.Contains(p.Detail, p.Instance) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), p.Instance) || !strings.Contains(log.String(), "nil pointer") {
		t.Errorf("the log does not tell the cause:\n%s", log.String())
	}
	if strings.Contains(w.Body.String(), "nil pointer") {
		t.Errorf("the answer tells the cause: %s", w.Body)
	}
}
