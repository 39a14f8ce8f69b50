package libvirt_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"baadal"
	"baadal/internal/libvirt"
	"baadal/internal/libvirt/libvirttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testHost names the host in errors; it is reached by Options.Dial.
var testHost = baadal.Host{ID: 1, Name: "host1"}

// newLocal returns a hypervisor on the test driver of a private libvirtd.
func newLocal(t *testing.T, socket string, opts libvirt.Options) *libvirt.Hypervisor {
	t.Helper()
	dial := libvirttest.Dialer(socket)
	opts.URI = "test:///default"
	if opts.Dial == nil {
		opts.Dial = func(ctx context.Context, _ baadal.Host) (net.Conn, error) { return dial(ctx) }
	}
	h := libvirt.New(nil, opts)
	t.Cleanup(h.Close)
	return h
}

var serial atomic.Int64

// newDomain makes a domain of the test driver.
func newDomain(virt string) baadal.Domain {
	n := serial.Add(1)
	uuid := newUUID()
	return baadal.Domain{
		UUID: uuid, Name: fmt.Sprintf("IITD_test_%d", n), VMID: n, Virt: virt, VCPUs: 1, RAMMiB: 64,
		Disks:   []baadal.DomainDisk{{Path: "/mnt/datastore/vm_images/x/x.qcow2", Format: "qcow2", Target: "vda"}},
		Console: "/run/baadal/" + uuid,
	}
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func TestConformanceTestDriver(t *testing.T) {
	socket := libvirttest.StartDaemon(t)
	h := newLocal(t, socket, libvirt.Options{}) // its one connection keeps the driver's state
	libvirttest.Exercise(t, func(*testing.T) libvirttest.Fixture {
		return libvirttest.Fixture{
			Hypervisor: h, Host: testHost,
			NewDomain:      func(*testing.T) baadal.Domain { return newDomain("test") },
			Foreign:        func(*testing.T) string { return "6695eb01-f6a4-8304-79aa-97f2502e193f" }, // every test:///default has it
			ShutdownWithin: time.Second, NoImages: true, NoCounters: true, NoHeadroom: true,
		}
	})
}
