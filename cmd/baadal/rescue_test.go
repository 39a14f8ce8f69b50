package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"baadal"
	"baadal/internal/service"
	"baadal/internal/store"
	"baadal/internal/task"
)

// TestRescue gets a new one-time password from the state folder of a server that
// is stopped; beside one that runs it is refused.
func TestRescue(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	config := filepath.Join(state, "baadal.yaml")
	if err := os.WriteFile(config, []byte("log: {level: error}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := func() (*service.Service, func()) {
		db, err := store.Open(t.Context(), store.Config{DSN: "sqlite:" + filepath.Join(state, "baadal.db")})
		if err != nil {
			t.Fatal(err)
		}
		return service.New(db, task.New(db, task.Options{}), service.Options{}), func() { _ = db.Close() }
	}
	o := serveOptions{config: config, state: state}
	var out bytes.Buffer
	start := func() string {
		out.Reset()
		svc, stop := server()
		defer stop()
		if err := bootstrap(t.Context(), &out, svc); err != nil {
			t.Fatal(err)
		}
		if err := rescue(t.Context(), io.Discard, o, "admin"); baadal.CodeOf(err) != "database_in_use" {
			t.Errorf("beside a server that runs: %v", err)
		}
		return out.String()
	}
	if said := start(); !firstPassword.MatchString(said) {
		t.Errorf("the first start says %q", said)
	}
	if said := start(); firstPassword.MatchString(said) || !regexp.MustCompile(`baadal rescue admin\n$`).MatchString(said) {
		t.Errorf("the second start says %q", said)
	}
	out.Reset()
	if err := rescue(t.Context(), &out, o, "admin"); err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`^The one-time password of admin is (\S+)\n`).FindStringSubmatch(out.String())
	if m == nil {
		t.Fatalf("it says %q", out.String())
	}
	svc, stop := server()
	defer stop()
	if _, user, err := svc.SignIn(t.Context(), "admin", m[1], ""); err != nil || !user.MustChange {
		t.Errorf("with the new password: %+v, %v", user, err)
	}
}
