package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Options says what lab to build.
type Options struct {
	Dir   string                          // the lab's folder, made when missing; empty: DefaultDir
	Hosts int                             // 1 to MaxHosts; 0: 3
	Virt  string                          // VirtAuto (also when empty), VirtKVM or VirtQEMU
	DHCP  string                          // the DHCP box's server: DHCPISC (also when empty) or DHCPKea
	Cache string                          // downloads and the guest image; empty: $BAADAL_CACHE, or cache in Dir
	Log   func(format string, arg ...any) // takes progress lines; nil: none

	unified bool // for tests: cgroup version 2 on a machine that has both
}

// How guests are run.
const (
	VirtAuto = "auto" // find out by running one
	VirtKVM  = "kvm"
	VirtQEMU = "qemu" // emulated: slow, works everywhere
)

// Servers that the DHCP box can run.
const (
	DHCPISC = "isc"
	DHCPKea = "kea"
)

// MaxHosts is what the management network has room for.
const MaxHosts = 100

// Names of the lab's datastores. Hosts see them at /mnt/NAME.
const (
	Datastore      = "datastore"
	SmallDatastore = "small" // 64 MiB, to see what a full disk does

	// SecondDatastore has 2 GiB, to move things to. It lies in memory.
	SecondDatastore = "second"
)

var datastores = []string{Datastore, SmallDatastore, SecondDatastore}

// Lab is a lab in a folder. It holds no more than the folder's name: several may be open on the same lab, in several
// programs, and all see the same.
type Lab struct {
	dir     string
	cache   string
	cgroups cgroups
	log     func(format string, arg ...any)
}

// DefaultDir is $BAADAL_LAB, or baadal/lab in the user's data folder (~/.local/share).
func DefaultDir() (string, error) {
	if dir := os.Getenv("BAADAL_LAB"); dir != "" {
		return dir, nil
	}
	if data := os.Getenv("XDG_DATA_HOME"); data != "" {
		return filepath.Join(data, "baadal", "lab"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the lab's folder: %w", err)
	}
	return filepath.Join(home, ".local", "share", "baadal", "lab"), nil
}

// Open gives the lab in a folder (empty: DefaultDir), up or not: ErrNotUp comes from the methods that need it up.
func Open(dir string) (*Lab, error) {
	return open(Options{Dir: dir})
}

func open(o Options) (*Lab, error) {
	dir := o.Dir
	if dir == "" {
		var err error
		if dir, err = DefaultDir(); err != nil {
			return nil, err
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open lab: %w", err)
	}
	// One lab must have one name, by whatever way it is reached.
	if target, err := filepath.EvalSymlinks(dir); err == nil {
		dir = target
	} else if parent, err := filepath.EvalSymlinks(filepath.Dir(dir)); err == nil {
		dir = filepath.Join(parent, filepath.Base(dir))
	}
	if strings.ContainsAny(dir, " \t\n\\:,") {
		return nil, fmt.Errorf("open lab: %q: a folder name without spaces, commas, colons and backslashes is needed", dir)
	}
	sum := sha256.Sum256([]byte(dir))
	c, err := findCgroups("baadal-lab-"+hex.EncodeToString(sum[:6]), o.unified)
	if err != nil {
		return nil, fmt.Errorf("open lab: %w", err)
	}
	l := &Lab{dir: dir, cgroups: c, log: o.Log, cache: o.Cache}
	if l.cache == "" {
		l.cache = cacheDir(dir)
	}
	if l.log == nil {
		l.log = func(string, ...any) {}
	}
	return l, nil
}

// cacheDir is $BAADAL_CACHE, or a folder in the lab's. A lab that goes down keeps it.
func cacheDir(dir string) string {
	if cache := os.Getenv("BAADAL_CACHE"); cache != "" {
		return cache
	}
	return filepath.Join(dir, "cache")
}

// Dir is the lab's folder: absolute, without symbolic links.
func (l *Lab) Dir() string { return l.dir }

// SSHKeyPath is the file of the private key with which root gets into the nodes that have an sshd.
func (l *Lab) SSHKeyPath() string { return filepath.Join(l.dir, "id_ed25519") }

// SSHPublicKey is the public half, one line as in authorized_keys.
func (l *Lab) SSHPublicKey() (string, error) {
	b, err := os.ReadFile(l.SSHKeyPath() + ".pub")
	if err != nil {
		return "", fmt.Errorf("read the lab's ssh key: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// KnownHostsPath is a known_hosts file with the host keys of all nodes, by name and by address.
func (l *Lab) KnownHostsPath() string { return filepath.Join(l.dir, "known_hosts") }

// DatastorePath is where the machine sees a datastore. Change files only through it, never behind it: the file system
// remembers names.
func (l *Lab) DatastorePath(name string) string { return filepath.Join(l.dir, "mnt", name) }

// NodePath is where the machine sees a file of a node, by its absolute path there. It shows what is on disk (/etc,
// /root, /var and so on), not what the node mounted (/run, /tmp, /usr, the datastores).
func (l *Lab) NodePath(node, path string) string { return filepath.Join(l.nodeDir(node), "root", path) }

// HostAddress is the management address of host i, counted from 1.
func (l *Lab) HostAddress(i int) string { return managementAddress(hostName(i)) }

// ErrUp means that the folder has a lab already.
var ErrUp = errors.New("a lab is here already: take it down first")

// Up builds a lab, and returns when every host answers. When it fails, or ctx ends, it takes down what it made.
// Anything that the machine lacks is told all at once, as a *CheckError.
func Up(ctx context.Context, o Options) (*Lab, error) {
	if o.Hosts == 0 {
		o.Hosts = 3
	}
	if o.Hosts < 1 || o.Hosts > MaxHosts {
		return nil, fmt.Errorf("lab up: %d hosts: want 1 to %d", o.Hosts, MaxHosts)
	}
	if o.DHCP == "" {
		o.DHCP = DHCPISC
	}
	if dhcpRestart(o.DHCP) == "" {
		return nil, fmt.Errorf("lab up: %q is no DHCP server: want %s or %s", o.DHCP, DHCPISC, DHCPKea)
	}
	if problems := Check(ctx); len(problems) > 0 {
		return nil, &CheckError{Problems: problems}
	}
	l, err := open(o)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return nil, fmt.Errorf("lab up: %w", err)
	}
	release, err := acquireLock(ctx, l.lockPath(), false)
	if err != nil {
		return nil, fmt.Errorf("lab up: %w", err)
	}
	defer release()
	if err := l.clearRemains(ctx); err != nil {
		return nil, fmt.Errorf("lab up: %w", err)
	}
	if err := l.build(ctx, o); err != nil {
		l.log("failed: taking down what was built")
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return nil, errors.Join(fmt.Errorf("lab up: %w", err), l.tearDown(undo))
	}
	return l, nil
}

// clearRemains takes away what a crashed Up left. A lab that was complete is kept: it may hold somebody's work.
func (l *Lab) clearRemains(ctx context.Context) error {
	s, err := l.loadState()
	if errors.Is(err, ErrNotUp) {
		if len(l.cgroups.members("")) == 0 && !exists(l.nodesDir()) {
			return nil
		}
	} else if err != nil {
		return err
	} else if s.Ready {
		return ErrUp
	}
	l.log("clearing the remains of an earlier lab")
	return l.tearDown(ctx)
}

func (l *Lab) build(ctx context.Context, o Options) error {
	started := time.Now()
	virt, err := l.chooseVirt(ctx, o.Virt)
	if err != nil {
		return err
	}
	s := &state{Version: stateVersion, Hosts: o.Hosts, Virt: virt, DHCP: o.DHCP, Nodes: map[string]*nodeState{}}
	for _, n := range nodeNames(o.Hosts) {
		s.Nodes[n] = new(nodeState)
	}
	if err := l.saveState(s); err != nil {
		return err
	}
	l.log("files, keys and datastores")
	if err := l.prepare(ctx, s); err != nil {
		return err
	}
	l.log("nodes: %s", strings.Join(nodeNames(o.Hosts), " "))
	if err := l.powerOn(ctx, s, nodeNames(o.Hosts)...); err != nil {
		return err
	}
	l.log("switch")
	if err := l.startSwitch(ctx); err != nil {
		return err
	}
	l.log("networks and daemons")
	var jobs []func(context.Context) error
	for _, n := range nodeNames(o.Hosts)[1:] {
		jobs = append(jobs, func(ctx context.Context) error { return l.bringUp(ctx, s, n) })
	}
	if err := together(ctx, jobs...); err != nil {
		return err
	}
	s.Ready = true
	if err := l.saveState(s); err != nil {
		return err
	}
	l.log("up in %.1f s: %d hosts, virtualisation %s", time.Since(started).Seconds(), o.Hosts, virt)
	return nil
}

// together runs the functions at once and waits for all. The first failure ends the context of the others; an error
// that only follows from that is left out.
func together(ctx context.Context, jobs ...func(context.Context) error) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var first error
	for _, job := range jobs {
		wg.Go(func() {
			if err := job(inner); err != nil {
				mu.Lock()
				defer mu.Unlock()
				if first == nil {
					first = err
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return first
}
