package libvirt_test

import (
	"cmp"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	cryptossh "golang.org/x/crypto/ssh"

	"baadal"
	"baadal/internal/libvirt"
	"baadal/internal/libvirt/libvirttest"
	"baadal/internal/ssh"
)

// A running lab is reached from inside its controller's network namespace:
//
//	BAADAL_TEST_LAB_DIR      the lab's folder, with id_ed25519
//	BAADAL_TEST_LAB_NETWORK  libvirt network on its hosts; ovs-net
//	BAADAL_TEST_LAB_CUT      shell command that makes host1 silent
//	BAADAL_TEST_LAB_HEAL     shell command that undoes it
type labRig struct {
	pool *ssh.Pool
	h    *libvirt.Hypervisor
	host baadal.Host
}

func newLab(t *testing.T) *labRig {
	t.Helper()
	dir := os.Getenv("BAADAL_TEST_LAB_DIR")
	if dir == "" {
		t.Skip("BAADAL_TEST_LAB_DIR is not set")
	}
	text, err := os.ReadFile(filepath.Join(dir, "id_ed25519"))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := cryptossh.ParsePrivateKey(text)
	if err != nil {
		t.Fatal(err)
	}
	r := &labRig{host: baadal.Host{ID: 11, Name: "host1", Address: "10.77.0.11"}}
	if r.host.HostKey, _, err = ssh.FetchHostKey(t.Context(), r.host.SSHAddr()); err != nil {
		t.Fatal(err)
	}
	r.pool = ssh.New(ssh.Options{Signer: signer})
	r.h = libvirt.New(r.pool, libvirt.Options{})
	t.Cleanup(func() { r.h.Close(); r.pool.Close() })
	return r
}

func (r *labRig) run(t *testing.T, stdin string, argv ...string) string {
	t.Helper()
	res, err := r.pool.RunOK(t.Context(), r.host, ssh.Command{Argv: argv, Stdin: strings.NewReader(stdin)})
	if err != nil {
		t.Fatalf("%q: %v", argv, err)
	}
	return strings.TrimSpace(string(res.Stdout))
}

// newDomain makes a domain with an empty disk and a NIC.
func (r *labRig) newDomain(t *testing.T) baadal.Domain {
	t.Helper()
	d := newDomain("qemu")
	d.Disks[0].Path = "/mnt/datastore/" + d.Name + "-" + d.UUID[:8] + ".qcow2"
	d.NICs = []baadal.DomainNIC{{MAC: "52:54:00:" + d.UUID[0:2] + ":" + d.UUID[2:4] + ":" + d.UUID[4:6], Network: cmp.Or(os.Getenv("BAADAL_TEST_LAB_NETWORK"), "ovs-net"), Portgroup: "vlan10", VLAN: 10}}
	r.run(t, "", "qemu-img", "create", "-q", "-f", "qcow2", d.Disks[0].Path, "1M")
	t.Cleanup(func() {
		_, _ = r.pool.Run(context.WithoutCancel(t.Context()), r.host, ssh.Command{Argv: []string{"rm", "-f", d.Disks[0].Path}})
	})
	return d
}

// newDisk makes an empty disk.
func (r *labRig) newDisk(t *testing.T, target string) baadal.DomainDisk {
	t.Helper()
	k := baadal.DomainDisk{Path: "/mnt/datastore/" + newUUID() + ".qcow2", Format: "qcow2", Target: target, Serial: "disk-7"}
	r.run(t, "", "qemu-img", "create", "-q", "-f", "qcow2", k.Path, "1G")
	t.Cleanup(func() {
		_, _ = r.pool.Run(context.WithoutCancel(t.Context()), r.host, ssh.Command{Argv: []string{"rm", "-f", k.Path}})
	})
	return k
}

// newISO makes a file that passes for a CD: nobody reads it.
func (r *labRig) newISO(t *testing.T) string {
	t.Helper()
	file := "/mnt/datastore/" + newUUID() + ".iso"
	r.run(t, "", "truncate", "-s", "1M", file)
	t.Cleanup(func() {
		_, _ = r.pool.Run(context.WithoutCancel(t.Context()), r.host, ssh.Command{Argv: []string{"rm", "-f", file}})
	})
	return file
}

func (r *labRig) start(t *testing.T) baadal.Domain {
	t.Helper()
	d := r.newDomain(t)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if r.h.Destroy(ctx, r.host, d.UUID) != nil || r.h.Undefine(ctx, r.host, d.UUID) != nil {
			t.Errorf("%s is left on %s", d.Name, r.host.Name)
		}
	})
	if err := r.h.Define(t.Context(), r.host, d); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := r.h.Start(t.Context(), r.host, d.UUID); err != nil {
		t.Fatal(err)
	}
	t.Logf("started in %s", time.Since(began))
	return d
}

func TestConformanceLab(t *testing.T) {
	r := newLab(t)
	libvirttest.Exercise(t, func(*testing.T) libvirttest.Fixture {
		return libvirttest.Fixture{
			Hypervisor: r.h, Host: r.host, NewDomain: r.newDomain, NewDisk: r.newDisk, NewISO: r.newISO,
			OtherNetwork: baadal.DomainNIC{Network: cmp.Or(os.Getenv("BAADAL_TEST_LAB_NETWORK"), "ovs-net"), Portgroup: "vlan20", VLAN: 20},

			DeafBalloon: true, // its disk is empty: there is no guest
			Overlay: func(t *testing.T, d baadal.Domain) (overlay, free string) {
				t.Helper()
				overlay, free = d.Disks[0].Path+".new", d.Disks[0].Path+".copy"
				r.run(t, "", "qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", d.Disks[0].Path, "-F", "qcow2", overlay, "1M")
				t.Cleanup(func() {
					_, _ = r.pool.Run(context.WithoutCancel(t.Context()), r.host, ssh.Command{Argv: []string{"rm", "-f", overlay, free, free + ".more"}})
				})
				return overlay, free
			},
			NewNetwork: func(t *testing.T) string {
				t.Helper()
				name := "test-" + newUUID()[:8]
				t.Cleanup(func() {
					for _, what := range []string{"net-destroy", "net-undefine"} {
						_, _ = r.pool.Run(context.WithoutCancel(t.Context()), r.host, ssh.Command{Argv: []string{"virsh", "-q", what, name}})
					}
				})
				return name
			},
			Foreign: func(t *testing.T) string {
				uuid := newUUID()
				r.run(t, "<domain type='qemu'><name>foreign-"+uuid[:8]+"</name><uuid>"+uuid+"</uuid><memory>65536</memory><os><type>hvm</type></os></domain>", "virsh", "-q", "define", "/dev/stdin")
				t.Cleanup(func() {
					_, _ = r.pool.Run(context.WithoutCancel(t.Context()), r.host, ssh.Command{Argv: []string{"virsh", "-q", "undefine", uuid}})
				})
				return uuid
			},
		}
	})
}

func TestLabDomain(t *testing.T) {
	r := newLab(t)
	d := r.start(t)
	if got := r.run(t, "", "stat", "-c", "%a", d.Console); got != "700" {
		t.Errorf("console folder has mode %s", got)
	}
	if got := r.run(t, "", "ovs-vsctl", "--bare", "--columns=external_ids", "find", "interface", `external_ids:attached-mac="`+d.NICs[0].MAC+`"`); !strings.Contains(got, "iface-id=") {
		t.Errorf("port: %q", got)
	}
	for _, sock := range []string{baadal.ConsoleSocket(d.Console, baadal.ConsoleScreen), baadal.ConsoleSocket(d.Console, baadal.ConsoleSerial)} {
		c, err := r.pool.DialUnix(t.Context(), r.host, sock)
		if err != nil {
			t.Errorf("%s: %v", sock, err)
			continue
		}
		_ = c.Close()
	}

	// A second machine on the same disk.
	twin := r.newDomain(t)
	twin.Disks = d.Disks
	if err := r.h.Define(t.Context(), r.host, twin); err != nil {
		t.Fatal(err)
	}
	err := r.h.Start(t.Context(), r.host, twin.UUID)
	if baadal.CodeOf(err) != "disk_in_use" {
		t.Errorf("two writers: %v", err)
	}
	if err := r.h.Undefine(t.Context(), r.host, twin.UUID); err != nil {
		t.Error(err)
	}

	// The console folder is gone, as after a reboot.
	if err := r.h.Destroy(t.Context(), r.host, d.UUID); err != nil {
		t.Fatal(err)
	}
	r.run(t, "", "rm", "-rf", d.Console)
	r.h.Forget(r.host.ID)
	if err := r.h.Start(t.Context(), r.host, d.UUID); err != nil {
		t.Error(err)
	}
	if err := r.h.Destroy(t.Context(), r.host, d.UUID); err != nil {
		t.Fatal(err)
	}
	if err := r.h.Undefine(t.Context(), r.host, d.UUID); err != nil {
		t.Fatal(err)
	}
	if got := r.run(t, "", "sh", "-c", `ls -d "$0" 2>/dev/null; true`, d.Console); got != "" {
		t.Errorf("%s is left", got)
	}
}

func TestLabProbe(t *testing.T) {
	r := newLab(t)
	facts, err := r.h.Node(t.Context(), r.host)
	if err != nil || facts.CPUs < 1 || facts.RAMMiB < 512 || facts.Hostname != "host1" {
		t.Errorf("%+v, %v", facts, err)
	}
	t.Logf("%+v", facts)
	for virt, want := range map[string]bool{"qemu": true, "kvm": false} {
		began := time.Now()
		runs, detail, err := r.h.VirtRuns(t.Context(), r.host, virt)
		if err != nil || runs != want {
			t.Errorf("%s: %t, %q, %v", virt, runs, detail, err)
		}
		t.Logf("%s: %t, %s, in %s", virt, runs, detail, time.Since(began))
	}
	if left := r.run(t, "", "sh", "-c", "ls -d /run/baadal-probe-* 2>/dev/null; virsh -q list --all --name | grep baadal-probe; true"); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

// TestLabSilentHost cuts the host's network without a word to anyone.
func TestLabSilentHost(t *testing.T) {
	r := newLab(t)
	cut, heal := os.Getenv("BAADAL_TEST_LAB_CUT"), os.Getenv("BAADAL_TEST_LAB_HEAL")
	if cut == "" || heal == "" {
		t.Skip("BAADAL_TEST_LAB_CUT and _HEAL are not set")
	}
	shell := func(line string) {
		if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
	}
	ctx := t.Context()
	if _, err := r.h.Domains(ctx, r.host); err != nil {
		t.Fatal(err)
	}
	first := make(chan struct{})
	var once sync.Once
	var wg sync.WaitGroup
	began := time.Time{}
	wg.Go(func() {
		err := r.h.Watch(ctx, r.host, func(baadal.DomainEvent) { once.Do(func() { close(first) }) })
		if baadal.KindOf(err) != baadal.Unavailable || time.Since(began) > 9*time.Second {
			t.Errorf("Watch: %v after %s", err, time.Since(began))
		}
		t.Logf("Watch ended after %s: %v", time.Since(began), err)
	})
	<-first
	began = time.Now()
	shell(cut)
	healed := false
	defer func() {
		if !healed {
			shell(heal)
		}
	}()
	wg.Go(func() {
		_, err := r.h.Domains(ctx, r.host)
		t.Logf("Domains ended after %s: %v", time.Since(began), err)
		if baadal.KindOf(err) != baadal.Unavailable || time.Since(began) > 9*time.Second {
			t.Errorf("Domains: %v after %s", err, time.Since(began))
		}
	})
	wg.Wait()
	for range 2 {
		again := time.Now()
		_, err := r.h.Domains(ctx, r.host)
		t.Logf("a call to the dead host took %s: %v", time.Since(again), err)
		if baadal.KindOf(err) != baadal.Unavailable || time.Since(again) > 6*time.Second {
			t.Errorf("got %v after %s", err, time.Since(again))
		}
	}
	shell(heal)
	healed = true
	back := time.Now()
	for {
		if _, err := r.h.Domains(ctx, r.host); err == nil {
			break
		}
		if time.Since(back) > 25*time.Second {
			t.Fatal("the host is back but nothing works")
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("works again %s after the host was back", time.Since(back))
}
