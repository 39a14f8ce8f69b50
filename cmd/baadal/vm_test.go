package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"baadal"
)

func TestSSHArgs(t *testing.T) {
	t.Parallel()
	got, err := sshArgs(baadal.VM{Name: "web1", State: baadal.VMRunning, Address: "192.168.10.11"}, "cloud", []string{"uptime"})
	if want := []string{"-l", "cloud", "192.168.10.11", "uptime"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q %v, want %q", got, err, want)
	}
	for _, v := range []baadal.VM{
		{State: baadal.VMRunning, Address: "-oProxyCommand=reboot"},
		{State: baadal.VMRunning},
		{State: baadal.VMOff, Address: "192.168.10.11"},
	} {
		if got, err := sshArgs(v, "cloud", nil); baadal.KindOf(err) != baadal.Conflict {
			t.Errorf("%+v: got %q %v", v, got, err)
		}
	}
}

func TestReadKeys(t *testing.T) {
	t.Parallel()
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHUm2DSfn6Vf0OX5l2kYkO3s7lqXQ3a2pNcQ0uW2dGZr asha@home"
	home := t.TempDir()
	file := func(name, content string) string {
		t.Helper()
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	two := file("two", "# mine\n"+key+"\n\n"+key+"2\n")
	if got, err := readKeys([]string{two}); err != nil || len(got) != 2 || got[0] != key {
		t.Errorf("got %q %v", got, err)
	}
	for _, bad := range []string{file("empty", "\n"), file("private", "-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n")} {
		if _, err := readKeys([]string{bad}); exitCode(err) != exitUsage || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, err := readKeys([]string{filepath.Join(home, "none")}); err == nil {
		t.Error("a missing file was taken")
	}

	c, _, _ := quietCLI()
	if got := c.defaultKeys(); got != nil {
		t.Errorf("keys without a home: %q", got)
	}
	c.getenv = func(name string) string { return map[string]string{"HOME": home}[name] }
	want := file(".ssh/id_ed25519.pub", key+"\n")
	file(".ssh/id_ed25519", "private")
	if got := c.defaultKeys(); !slices.Equal(got, []string{want}) {
		t.Errorf("got %q, want %q", got, want)
	}
}
