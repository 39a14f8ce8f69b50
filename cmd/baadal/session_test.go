package main

import (
	"os"
	"path/filepath"
	"testing"

	"baadal"
)

func TestKeyring(t *testing.T) {
	t.Parallel()
	c, _, _ := quietCLI()
	dir := t.TempDir()
	env := map[string]string{"XDG_CONFIG_HOME": dir}
	c.getenv = func(name string) string { return env[name] }
	k, err := c.loadKeyring()
	if err != nil {
		t.Fatal(err)
	}
	k.Current = "https://a.example.org"
	k.Servers["https://a.example.org"] = credential{Username: "asha", Token: "bt_a", TokenID: 1}
	k.Servers["http://127.0.0.1:8080"] = credential{Username: "ravi", Token: "bt_b", TokenID: 2}
	for range 2 { // the second time the file is there
		if err := c.saveKeyring(k); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "baadal", "credentials.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", info, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "baadal", "*")); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v %v", left, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "baadal", ".c*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}

	tokens := func(server, token string) {
		t.Helper()
		gotServer, gotToken, err := c.credentials()
		if err != nil || gotServer != server || gotToken != token {
			t.Errorf("got %q %q %v, want %q %q", gotServer, gotToken, err, server, token)
		}
	}
	tokens("https://a.example.org", "bt_a")
	env["BAADAL_SERVER"] = "http://127.0.0.1:8080/"
	tokens("http://127.0.0.1:8080", "bt_b")
	c.flags.server = "HTTPS://A.example.org"
	tokens("https://a.example.org", "bt_a")
	env["BAADAL_TOKEN"] = "bt_env"
	tokens("https://a.example.org", "bt_env")
	c.flags.tokenFile = filepath.Join(dir, "token")
	if err := os.WriteFile(c.flags.tokenFile, []byte("bt_file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens("https://a.example.org", "bt_file")

	// A token never goes to a server that it was not made for.
	delete(env, "BAADAL_TOKEN")
	c.flags.tokenFile, c.flags.server = "", "https://evil.example.org"
	if _, token, err := c.credentials(); token != "" || baadal.KindOf(err) != baadal.Unauthenticated {
		t.Errorf("got %q %v", token, err)
	}
}

func TestServerURL(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"http://localhost:8080/": "http://localhost:8080", "https://Cloud.Example.org/baadal//": "https://cloud.example.org/baadal",
		"cloud.example.org": "", "ftp://x": "", "http://user:secret@x": "", "http://": "", ":": "",
	} {
		if got, err := normalURL(in); got != want || (err != nil) != (want == "") {
			t.Errorf("normalURL(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for in, want := range map[string]bool{"https://x": true, "http://127.0.0.1:80": true, "http://[::1]:80": true, "http://localhost": true, "http://x": false, "http://10.0.0.1": false} {
		if encrypted(in) != want {
			t.Errorf("encrypted(%q) = %v", in, !want)
		}
	}
}
