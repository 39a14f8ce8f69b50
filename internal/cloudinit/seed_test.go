package cloudinit_test

import (
	"bytes"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/kdomanski/iso9660"

	"baadal"
	"baadal/internal/cloudinit"
	"baadal/internal/needs"
)

var update = flag.Bool("update", false, "write testdata/*.golden anew")

const (
	key1 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGmZ anna@desk"
	key2 = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ== a: b # c - 'd'"
)

var full = cloudinit.Config{
	InstanceID: "0b6e4d3a-1111-4222-8333-aaaaaaaaaaaa", Hostname: "Web_1",
	SSHKeys: []string{key1, key2}, Password: "Kq7mWz3hTn8rPx2d",
}

// read returns the label and the files of an ISO image.
func read(t *testing.T, iso []byte) (string, map[string]string) {
	t.Helper()
	img, err := iso9660.OpenImage(bytes.NewReader(iso))
	if err != nil {
		t.Fatal(err)
	}
	label, err := img.Label()
	if err != nil {
		t.Fatal(err)
	}
	root, err := img.RootDir()
	if err != nil {
		t.Fatal(err)
	}
	children, err := root.GetChildren()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, c := range children {
		b, err := io.ReadAll(c.Reader())
		if err != nil {
			t.Fatal(err)
		}
		files[c.Name()] = string(b)
	}
	return label, files
}

func TestSeed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]cloudinit.Config{
		"full":    full,
		"minimal": {InstanceID: "id-1"},
		"words":   {InstanceID: "2024-01-01", Hostname: "no", Password: `0123"\'#: x`[:9]},
	} {
		iso, err := cloudinit.Seed(c)
		if err != nil {
			t.Fatal(err)
		}
		label, files := read(t, iso)
		if label != "cidata" || len(files) != 2 {
			t.Errorf("label %q, %d files", label, len(files))
		}
		golden := filepath.Join("testdata", name+".golden")
		got := "== meta-data\n" + files["meta-data"] + "== user-data\n" + files["user-data"]
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		again, err := cloudinit.Seed(c)
		if err != nil || !bytes.Equal(iso, again) {
			t.Errorf("%s: a second seed differs (%v)", name, err)
		}
	}
}

// Another reader than the library that wrote it.
func TestSeedIsoinfo(t *testing.T) {
	t.Parallel()
	needs.Programs(t, "isoinfo")
	iso, err := cloudinit.Seed(full)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "seed.iso")
	if err := os.WriteFile(file, iso, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "isoinfo", "-d", "-i", file).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Volume id: cidata\n") {
		t.Errorf("%v: %s", err, out)
	}
	out, err = exec.CommandContext(t.Context(), "isoinfo", "-i", file, "-x", "/user-data;1").Output()
	_, files := read(t, iso)
	if err != nil || string(out) != files["user-data"] {
		t.Errorf("%v: %s", err, out)
	}
}

func TestSeedRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]cloudinit.Config{
		"no id":         {},
		"id with break": {InstanceID: "a\nb"},
		"key options":   {InstanceID: "a", SSHKeys: []string{`command="x" ` + key1}},
		"two keys":      {InstanceID: "a", SSHKeys: []string{key1 + "\n" + key1}},
		"password":      {InstanceID: "a", Password: "a\nb"},
	} {
		if _, err := cloudinit.Seed(c); baadal.KindOf(err) != baadal.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSeedLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	if _, err := cloudinit.Seed(full); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

func TestHostname(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"web": "web", "Web_1": "web-1", "": "vm", "___": "vm", "-a-": "a", "é": "vm", "a.b": "a-b",
		strings.Repeat("x", 80): strings.Repeat("x", 63), strings.Repeat("x", 62) + "__": strings.Repeat("x", 62),
	} {
		if got := cloudinit.Hostname(in); got != want {
			t.Errorf("Hostname(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestPassword(t *testing.T) {
	t.Parallel()
	re := regexp.MustCompile(`^[A-HJ-NP-Za-km-np-z][A-HJ-NP-Za-km-np-z2-9]{15}$`)
	seen := map[string]bool{}
	for range 1000 {
		p, err := cloudinit.Password()
		if err != nil || !re.MatchString(p) || seen[p] {
			t.Fatalf("password %q, %v", p, err)
		}
		seen[p] = true
	}
}

// FuzzSeed looks whether any host name, key comment and password that are taken
// come back unchanged from the YAML.
func FuzzSeed(f *testing.F) {
	f.Add("web", "anna@desk", "Kq7mWz3hTn8rPx2d")
	f.Add("a: b", "a: b # c", "'\"{}[]&*!|>%@`")
	f.Add("no", "- x", "null")
	f.Add("\u2028", "\u0085 \u2029 \xff é", "0x10")
	f.Add("x", ": ", "-")
	hostname := regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	f.Fuzz(func(t *testing.T, name, comment, password string) {
		key := "ssh-ed25519 AAAA " + comment
		iso, err := cloudinit.Seed(cloudinit.Config{InstanceID: "id", Hostname: name, SSHKeys: []string{key, key1}, Password: password})
		if baadal.KindOf(err) == baadal.Invalid {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		_, files := read(t, iso)
		var got struct {
			Hostname string
			Password string
			Keys     []string `yaml:"ssh_authorized_keys"`
		}
		if !strings.HasPrefix(files["user-data"], "#cloud-config\n") {
			t.Fatalf("user-data is %q", files["user-data"])
		}
		if err := yaml.Unmarshal([]byte(files["user-data"]), &got); err != nil {
			t.Fatalf("%v in %q", err, files["user-data"])
		}
		if !hostname.MatchString(got.Hostname) || got.Password != password || len(got.Keys) != 2 || got.Keys[1] != key1 {
			t.Fatalf("got %+v of %q", got, files["user-data"])
		}
		if !strings.HasPrefix(got.Keys[0], "ssh-ed25519 AAAA ") || utf8.RuneCountInString(got.Keys[0]) != utf8.RuneCountInString(key) {
			t.Fatalf("key is %q, was %q", got.Keys[0], key)
		}
	})
}
