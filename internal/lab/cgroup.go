package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cgroups is where the lab's processes are counted and found again: each node has a cgroup of its own below one for
// the lab, in every hierarchy of the machine. Whatever the lab starts is in there from its first moment, so a crash
// loses nothing.
//
// Version 1 is proven by use. Version 2 alone (Debian's default) is built to the kernel's cgroup-v2 documentation and
// was tried only on a hybrid machine, where its hierarchy has no controllers to enable.
type cgroups struct {
	unified     bool
	hierarchies []hierarchy
	lab         string // the lab's cgroup, below the root of each hierarchy
}

type hierarchy struct {
	dir         string // where it is mounted
	controllers string // "cpu,cpuacct"; empty for version 2
}

// controllersV1 are the ones that libvirt uses.
var controllersV1 = []string{"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids"}

const (
	nodeLeaf   = "init"   // version 2 only: a node's processes; its guests stand beside it
	mountsLeaf = "mounts" // the datastores' file system daemons
)

// findCgroups looks where cgroups are mounted. With unified, version 2 is taken even where version 1 is there too.
func findCgroups(lab string, unified bool) (cgroups, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return cgroups{}, fmt.Errorf("find cgroups: %w", err)
	}
	defer func() { _ = f.Close() }()
	c, err := parseCgroups(f, unified)
	c.lab = lab
	return c, err
}

// parseCgroups picks the hierarchies to use from a mountinfo table: version 1's if it has any controller (and
// unified does not ask for version 2), else version 2's.
func parseCgroups(mountinfo io.Reader, unified bool) (cgroups, error) {
	var v1, v2 []hierarchy
	var seen []string
	for lines := bufio.NewScanner(mountinfo); lines.Scan(); {
		m, ok := parseMount(lines.Text())
		switch {
		case !ok:
		case m.fstype == "cgroup2":
			v2 = append(v2, hierarchy{dir: m.point})
		case m.fstype == "cgroup":
			var names []string
			for o := range strings.SplitSeq(m.options, ",") {
				if slices.Contains(controllersV1, o) {
					names = append(names, o)
				}
			}
			if name := strings.Join(names, ","); name != "" && !slices.Contains(seen, name) {
				seen = append(seen, name)
				v1 = append(v1, hierarchy{dir: m.point, controllers: name})
			}
		}
	}
	switch {
	case len(v1) > 0 && !unified:
		return cgroups{hierarchies: v1}, nil
	case len(v2) > 0:
		return cgroups{unified: true, hierarchies: v2[:1]}, nil
	}
	return cgroups{}, errors.New("find cgroups: none are mounted")
}

// describe is the CGROUPS of files/init.sh.
func (c cgroups) describe() string {
	if c.unified {
		return "v2"
	}
	var names []string
	for _, h := range c.hierarchies {
		names = append(names, h.controllers)
	}
	return strings.Join(names, " ")
}

// create makes the lab's cgroup and one below it; existing ones are kept.
func (c cgroups) create(node string) error {
	for _, h := range c.hierarchies {
		above := h.dir
		for _, name := range []string{c.lab, node} {
			dir := filepath.Join(above, name)
			if c.unified {
				enableControllers(above)
			}
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("make cgroup: %w", err)
			}
			// A new cpuset has no processors and no memory, and takes no process before it has both.
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
				if b, err := os.ReadFile(filepath.Join(above, file)); err == nil && !c.unified {
					if err := os.WriteFile(filepath.Join(dir, file), b, 0o644); err != nil {
						return fmt.Errorf("make cgroup: %w", err)
					}
				}
			}
			above = dir
		}
	}
	return nil
}

// enableControllers hands the controllers of a version 2 cgroup down to its children, one by one: one that cannot be
// had (it is not there, or processes sit in the cgroup itself) must not keep the others away. libvirt does without.
func enableControllers(dir string) {
	b, _ := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	for name := range strings.FieldsSeq(string(b)) {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+name), 0o644)
	}
}

// procs lists the files into which a process of the cgroup must be written.
func (c cgroups) procs(name string) []string {
	files := make([]string, 0, len(c.hierarchies))
	for _, h := range c.hierarchies {
		dir := filepath.Join(h.dir, c.lab, name)
		if leaf := filepath.Join(dir, nodeLeaf); c.unified && exists(leaf) {
			dir = leaf
		}
		files = append(files, filepath.Join(dir, "cgroup.procs"))
	}
	return files
}

func (c cgroups) add(name string, pid int) error {
	for _, file := range c.procs(name) {
		if err := os.WriteFile(file, []byte(strconv.Itoa(pid)), 0o644); err != nil {
			return fmt.Errorf("put process %d into its cgroup: %w", pid, err)
		}
	}
	return nil
}

// settle moves the processes of a version 2 node into a leaf, once its cgroup namespace stands, and hands the
// controllers down: a cgroup with processes of its own cannot do that for its children, and libvirt makes its
// children beside the leaf.
func (c cgroups) settle(node string) error {
	if !c.unified {
		return nil
	}
	dir := filepath.Join(c.hierarchies[0].dir, c.lab, node)
	leaf := filepath.Join(dir, nodeLeaf)
	if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make cgroup: %w", err)
	}
	for range 100 {
		pids := readPIDs(filepath.Join(dir, "cgroup.procs"))
		if len(pids) == 0 {
			enableControllers(dir)
			return nil
		}
		for _, pid := range pids {
			_ = os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644)
		}
	}
	return fmt.Errorf("settle cgroup %s: processes stay in it", dir)
}

// members lists the processes in the lab's cgroups below name ("" for all), in any hierarchy.
func (c cgroups) members(name string) []int {
	var pids []int
	for _, h := range c.hierarchies {
		_ = filepath.WalkDir(filepath.Join(h.dir, c.lab, name), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Name() == "cgroup.procs" {
				pids = append(pids, readPIDs(path)...)
			}
			return nil // a cgroup may go away while we look
		})
	}
	slices.Sort(pids)
	return slices.Compact(pids)
}

func readPIDs(path string) []int {
	b, _ := os.ReadFile(path)
	var pids []int
	for s := range strings.FieldsSeq(string(b)) {
		if pid, err := strconv.Atoi(s); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// remove deletes the lab's cgroups, or one node's. It waits a little for processes that are still dying in them.
func (c cgroups) remove(node string) error {
	var failed error
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		failed = nil
		for _, h := range c.hierarchies {
			var dirs []string
			_ = filepath.WalkDir(filepath.Join(h.dir, c.lab, node), func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					dirs = append(dirs, path)
				}
				return nil
			})
			for _, dir := range slices.Backward(dirs) {
				if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
					failed = fmt.Errorf("remove cgroup: %w", err)
				}
			}
		}
		if failed == nil || time.Now().After(end) {
			return failed
		}
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
