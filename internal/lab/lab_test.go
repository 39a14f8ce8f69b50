package lab_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal/internal/lab"
	"baadal/internal/needs"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	const rest = " S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 100 200"
	tests := map[string]struct {
		line  string
		start uint64
		fails bool
	}{
		"plain":            {"7 (bash)" + rest, 4711, false},
		"name with spaces": {"7 (a b c)" + rest, 4711, false},
		"name with ) S 1":  {"7 (x) S 1 2)" + rest, 4711, false},
		"no name":          {"7 S 1", 0, true},
		"short":            {"7 (bash) S 1 2", 0, true},
		"start no number":  {"7 (bash)" + strings.Replace(rest, "4711", "x", 1), 0, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start, state, err := lab.ParseStat([]byte(test.line))
			if (err != nil) != test.fails || start != test.start || (err == nil && state != 'S') {
				t.Errorf("ParseStat(%q) = %d, %c, %v", test.line, start, state, err)
			}
		})
	}
}

func TestParseCgroups(t *testing.T) {
	t.Parallel()
	const (
		tmpfs  = "24 1 0:25 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
		joint  = "25 24 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
		memory = "26 24 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
		again  = "99 24 0:27 / /mnt/elsewhere rw,relatime - cgroup cgroup rw,memory\n"
		named  = "27 24 0:28 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd\n"
		hybrid = "28 24 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
		v2     = "24 1 0:25 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
	)
	tests := map[string]struct {
		mounts  string
		unified bool
		want    string
		fails   bool
	}{
		"version 1":            {tmpfs + joint + memory + again + named, false, "cpu,cpuacct memory", false},
		"hybrid":               {tmpfs + joint + memory + hybrid, false, "cpu,cpuacct memory", false},
		"hybrid, asked for v2": {tmpfs + joint + memory + hybrid, true, "v2", false},
		"systemd's v1 and v2":  {tmpfs + named + hybrid, false, "v2", false},
		"version 2":            {v2, false, "v2", false},
		"none":                 {tmpfs, false, "", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := lab.ParseCgroups(strings.NewReader(test.mounts), test.unified)
			if (err != nil) != test.fails {
				t.Fatalf("error %v, want one: %t", err, test.fails)
			}
			if err == nil && got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestMissingProgramsAreToldAllAtOnce(t *testing.T) {
	t.Parallel()
	problems := lab.MissingPrograms(func(name string) bool {
		return name != "bindfs" && name != "ovs-vsctl" && name != "ovsdb-server"
	})
	err := &lab.CheckError{Problems: problems}
	want := `this machine cannot have a lab yet:
  - bindfs is missing (Debian package bindfs)
  - ovsdb-server is missing (Debian package openvswitch-switch)
  - ovs-vsctl is missing (Debian package openvswitch-switch)
      apt-get install -y --no-install-recommends bindfs openvswitch-switch`
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if problems := lab.MissingPrograms(func(string) bool { return true }); len(problems) != 0 {
		t.Errorf("nothing is missing, and yet: %v", problems)
	}
}

// Every program of the lab must come with a package in Packages, or "make" installs too little.
func TestPackagesBringThePrograms(t *testing.T) {
	t.Parallel()
	all := " " + strings.Join(lab.Packages, " ") + " "
	const always = " apt dpkg bash coreutils "
	for _, p := range lab.Programs() {
		if !strings.Contains(all, " "+p[1]+" ") && !strings.Contains(always, " "+p[1]+" ") {
			t.Errorf("%s comes with %s, which is not among the packages", p[0], p[1])
		}
	}
}

func TestCablesAreAllDifferent(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, node := range lab.NodeNames(lab.MaxHosts)[1:] {
		for _, c := range lab.Cables(node) {
			f := strings.Fields(c)
			if len(f[0]) > 15 || len(f[1]) > 15 {
				t.Errorf("%s: a link's name has 15 letters at most", c)
			}
			for _, unique := range append([]string{f[0], f[2]}, f[3:]...) {
				if other, ok := seen[unique]; ok {
					t.Errorf("%s: %s is that of %s too", c, unique, other)
				}
				seen[unique] = c
			}
		}
	}
	want := []string{
		"m-nat eth0 02:00:0a:4d:00:03 10.77.0.3/24",
		"p-nat pub0 02:00:0a:4d:80:01 203.0.113.1/24",
		"nat-v10 v10 02:00:0a:4d:0a:fe 192.168.10.254/24",
		"nat-v20 v20 02:00:0a:4d:14:fe 192.168.20.254/24",
	}
	if diff := cmp.Diff(want, lab.Cables(lab.NAT)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestLockIsForOne(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	release, err := lab.AcquireLock(t.Context(), path, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lab.AcquireLock(t.Context(), path, false); err == nil || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("a second lock gives %v; want an error that names the holder", err)
	}
	got := make(chan error, 1)
	go func() {
		again, err := lab.AcquireLock(t.Context(), path, true)
		if err == nil {
			again()
		}
		got <- err
	}()
	release()
	if err := <-got; err != nil {
		t.Errorf("the lock was given back, and yet: %v", err)
	}
}

func TestCopyTreeKeepsSecretsBack(t *testing.T) {
	t.Parallel()
	from, to := filepath.Join(t.TempDir(), "from"), filepath.Join(t.TempDir(), "to")
	for path, mode := range map[string]os.FileMode{"a/open": 0o644, "a/shut": 0o640, "b/program": 0o755} {
		path = filepath.Join(from, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(path), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a/open", filepath.Join(from, "link")); err != nil {
		t.Fatal(err)
	}
	if err := lab.CopyTree(from, to); err != nil {
		t.Fatal(err)
	}
	if err := lab.CopyTree(filepath.Join(from, "nothing"), filepath.Join(to, "nothing")); err != nil {
		t.Errorf("a source that is not there: %v", err)
	}
	var got []string
	err := filepath.WalkDir(to, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			info, _ := d.Info()
			got = append(got, strings.TrimPrefix(path, to)+" "+info.Mode().String())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/a/open -rw-r--r--", "/b/program -rwxr-xr-x", "/link Lrwxrwxrwx"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestNoLab(t *testing.T) {
	t.Parallel()
	l, err := lab.Open(t.TempDir())
	if err != nil {
		needs.Skip(t, "no cgroups: "+err.Error())
	}
	if _, err := l.Status(); !errors.Is(err, lab.ErrNotUp) {
		t.Errorf("Status: %v", err)
	}
	if err := l.Kill(t.Context(), "host1"); !errors.Is(err, lab.ErrNotUp) {
		t.Errorf("Kill: %v", err)
	}
	if err := l.Command(t.Context(), "host1", "true").Run(); !errors.Is(err, lab.ErrNotUp) {
		t.Errorf("Command: %v", err)
	}
}

func TestOneLabHasOneName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "real"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", filepath.Join(dir, "alias")); err != nil {
		t.Fatal(err)
	}
	a, err := lab.Open(filepath.Join(dir, "real"))
	if err != nil {
		needs.Skip(t, "no cgroups: "+err.Error())
	}
	b, err := lab.Open(filepath.Join(dir, "alias"))
	if err != nil {
		t.Fatal(err)
	}
	if a.Dir() != b.Dir() {
		t.Errorf("%s and %s are one folder", a.Dir(), b.Dir())
	}
	if _, err := lab.Open(filepath.Join(dir, "with space")); err == nil {
		t.Error("a folder name with a space is taken")
	}
}

func TestUpRefusesNonsense(t *testing.T) {
	t.Parallel()
	for _, hosts := range []int{-1, lab.MaxHosts + 1} {
		if _, err := lab.Up(t.Context(), lab.Options{Dir: t.TempDir(), Hosts: hosts}); err == nil {
			t.Errorf("%d hosts are taken", hosts)
		}
	}
}

// The guest's seed reader is a shell script: what it reads from seeds of several hands.
func TestGuestReadsSeed(t *testing.T) {
	t.Parallel()
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE9P someone@somewhere"
	tests := map[string]struct{ meta, user, want string }{
		"plain": {
			"instance-id: i-1\nlocal-hostname: vm1\n",
			"#cloud-config\nhostname: other\npassword: Secret:1\nchpasswd:\n  expire: false\nssh_authorized_keys:\n- " + key +
				"\n- ecdsa-sha2-nistp256 AAAA x\n",
			"instance-id i-1\nhostname vm1\npassword Secret:1\n" + key + "\necdsa-sha2-nistp256 AAAA x\n",
		},
		"quoted": {
			"instance-id: \"i-2\"\n",
			"#cloud-config\nhostname: 'vm2'\npassword: \"12 34\"\nssh_authorized_keys:\n  - \"" + key + "\"\n",
			"instance-id i-2\nhostname vm2\npassword 12 34\n" + key + "\n",
		},
		"chpasswd list": {
			"instance-id: i\nlocal-hostname: h\n",
			"#cloud-config\nchpasswd:\n  list: |\n    student:no\n    root:yes\n  expire: false\n",
			"instance-id i\nhostname h\npassword yes\n",
		},
		"chpasswd users": {
			"instance-id: i\nlocal-hostname: h\n",
			"#cloud-config\nchpasswd:\n  users:\n  - name: student\n    password: no\n  - password: yes\n    name: root\n    type: text\n",
			"instance-id i\nhostname h\npassword yes\n",
		},
		"chpasswd users on a line": {
			"instance-id: i\nlocal-hostname: h\n",
			"#cloud-config\nchpasswd:\n  users:\n  - {name: student, password: no}\n  - {name: root, password: yes, type: text}\n",
			"instance-id i\nhostname h\npassword yes\n",
		},
		"nothing": {
			"instance-id: i\nlocal-hostname: h\n", "#cloud-config\npackages:\n- vim\n",
			"instance-id i\nhostname h\npassword \n",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for file, text := range map[string]string{"meta-data": test.meta, "user-data": test.user} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			out, err := exec.CommandContext(t.Context(), "sh", "files/guest/cloud", "show", dir).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if diff := cmp.Diff(test.want, string(out)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
