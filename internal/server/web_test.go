package server_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"

	"baadal/internal/server"
	"baadal/internal/server/servertest"
)

// fetch gets a path of the server without a sign-in; headers are pairs.
func fetch(t *testing.T, c *servertest.Cloud, path string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "identity") // or net/http unpacks by itself
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body := io.Reader(resp.Body)
	if resp.Header.Get("Content-Encoding") == "gzip" && resp.StatusCode == http.StatusOK {
		if body, err = gzip.NewReader(resp.Body); err != nil {
			t.Fatal(err)
		}
	}
	b, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func TestPagesAreSentPackedAndKept(t *testing.T) {
	t.Parallel()
	script := strings.Repeat("let a = 1;\n", 100)
	c := servertest.New(t, func(c *server.Config) {
		c.Pages = fstest.MapFS{"console.html": {Data: []byte("<!doctype html>console")}, "assets/a-1.js": {Data: []byte(script)}}
	})
	for _, tc := range []struct {
		path, kind, cache, body string
		packed                  bool
	}{
		{"/vms/any-name/console?kind=serial", "text/html; charset=utf-8", "no-cache", "<!doctype html>console", false}, // too small to pack
		{"/assets/a-1.js", "text/javascript; charset=utf-8", "public, max-age=31536000, immutable", script, true},
	} {
		for _, accept := range []string{"gzip, br", "gzip;q=0", "identity"} {
			resp, body := fetch(t, c, tc.path, "Accept-Encoding", accept)
			h := resp.Header
			packed := h.Get("Content-Encoding") == "gzip"
			if resp.StatusCode != http.StatusOK || body != tc.body || h.Get("Content-Type") != tc.kind || h.Get("Cache-Control") != tc.cache || packed != (tc.packed && accept == "gzip, br") {
				t.Errorf("%s for %s: %d, %v, %q", tc.path, accept, resp.StatusCode, h, body)
			}
			if csp := h.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'self'") || strings.Contains(csp, "unsafe") {
				t.Errorf("%s: %s", tc.path, csp)
			}
			again, _ := fetch(t, c, tc.path, "Accept-Encoding", accept, "If-None-Match", h.Get("ETag"))
			if again.StatusCode != http.StatusNotModified {
				t.Errorf("%s again: %d", tc.path, again.StatusCode)
			}
		}
	}
	if resp, _ := fetch(t, c, "/assets/nothing.js"); resp.StatusCode != http.StatusNotFound || resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("an asset that is not there: %d %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
}

func TestAProgramWithoutPagesSaysHowToBuildThem(t *testing.T) {
	t.Parallel()
	c := servertest.New(t)
	resp, body := fetch(t, c, "/vms/web/console")
	if resp.StatusCode != http.StatusNotImplemented || !strings.Contains(body, "built without its pages") || !strings.Contains(body, "make build") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if resp, _ := fetch(t, c, "/assets/a.js"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("an asset: %d", resp.StatusCode)
	}
}
