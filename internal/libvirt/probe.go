package libvirt

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"baadal"
	"baadal/internal/ssh"
)

// probeTimeout is how long a virtual machine may take to boot one sector and
// switch itself off. Emulation takes a quarter of a second.
const probeTimeout = 10 * time.Second

// VirtRuns finds out whether a virtualisation type (kvm or qemu) really runs a
// guest on the host, by booting one for a moment: libvirt and /dev/kvm can say
// so and be wrong. If not, detail says what was seen. Nothing is left on the
// host: the probe ends with its connection, and its folder with it.
func (h *Hypervisor) VirtRuns(ctx context.Context, host baadal.Host, virt string) (runs bool, detail string, err error) {
	const op = "probe virtualisation"
	caps, err := do(ctx, h, host, op, capabilities)
	if err != nil {
		return false, "", err
	}
	if !offers(caps, virt) {
		return false, "libvirt does not offer " + virt, nil
	}
	dir, err := h.makeProbeDisk(ctx, host)
	if err != nil {
		return false, "", fmt.Errorf("%s: %w", op, err)
	}
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
		defer cancel()
		if _, rmErr := h.pool.RunOK(clean, host, ssh.Command{Argv: []string{"rm", "-rf", "--", dir}}); rmErr != nil {
			err = errors.Join(err, fmt.Errorf("%s: remove its folder: %w", op, rmErr))
		}
	}()
	return h.bootProbe(ctx, host, virt, dir+"/disk")
}

// makeProbeDisk puts the boot sector into a folder of its own, readable for
// QEMU's user, and removes folders of probes that could not.
func (h *Hypervisor) makeProbeDisk(ctx context.Context, host baadal.Host) (string, error) {
	const script = `set -eu
find /run -maxdepth 1 -name 'baadal-probe-*' -mmin +10 -exec rm -rf -- {} +
dir=$(mktemp -d /run/baadal-probe-XXXXXXXX)
chmod 0711 "$dir"
cat >"$dir/disk"
chmod 0444 "$dir/disk"
printf %s "$dir"`
	res, err := h.pool.RunOK(ctx, host, ssh.Command{Argv: []string{"sh", "-c", script}, Stdin: bytes.NewReader(bootSector())})
	if err != nil {
		return "", err
	}
	dir := string(res.Stdout)
	if !strings.HasPrefix(dir, "/run/baadal-probe-") {
		return "", baadal.Errorf(baadal.Internal, "%s made the folder %q", host.Name, dir)
	}
	return dir, nil
}

// bootProbe runs the machine on a connection of its own, with which it dies,
// and judges it by how it ends: only one that switches itself off worked.
func (h *Hypervisor) bootProbe(ctx context.Context, host baadal.Host, virt, disk string) (bool, string, error) {
	const op = "probe virtualisation"
	id, text, err := probeXML(virt, disk)
	if err != nil {
		return false, "", err
	}
	l, err := h.open(ctx, host)
	if err != nil {
		return false, "", err
	}
	defer l.close()
	events, err := call(ctx, l, op, func(rpc *golibvirt.Libvirt) (<-chan golibvirt.DomainEventLifecycleMsg, error) {
		return rpc.LifecycleEvents(context.WithoutCancel(ctx))
	})
	if err != nil {
		return false, "", err
	}
	defer func() {
		l.close()
		go func() {
			for range events { // lets go-libvirt's sender end
			}
		}()
	}()
	dom, err := call(ctx, l, op, func(rpc *golibvirt.Libvirt) (golibvirt.Domain, error) {
		return rpc.DomainCreateXML(text, golibvirt.DomainStartAutodestroy)
	})
	if k := baadal.KindOf(err); err != nil && (k == baadal.Unavailable || ctx.Err() != nil) {
		return false, "", err
	} else if err != nil {
		return false, "a guest does not start: " + lastWords(err), nil
	}
	runs, detail, err := judge(ctx, l, op, id, events)
	if err == nil && !runs { // closing the connection would destroy it, but later
		_, err = call(ctx, l, op, func(rpc *golibvirt.Libvirt) (struct{}, error) {
			err := rpc.DomainDestroyFlags(dom, golibvirt.DomainDestroyDefault)
			if golibvirt.IsNotFound(err) || isCode(err, golibvirt.ErrOperationInvalid) {
				err = nil
			}
			return struct{}{}, err
		})
	}
	return runs, detail, err
}

// judge waits for the end of the probe.
func judge(ctx context.Context, l *link, op string, id golibvirt.UUID, events <-chan golibvirt.DomainEventLifecycleMsg) (bool, string, error) {
	late := time.NewTimer(probeTimeout)
	defer late.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, "", interrupted(ctx, l.host.Name, op)
		case <-late.C:
			return false, fmt.Sprintf("a guest started but did not get through its first instructions in %s", probeTimeout), nil
		case msg, ok := <-events:
			if !ok {
				return false, "", l.lost(op, nil)
			}
			if msg.Dom.UUID != id {
				continue
			}
			switch golibvirt.DomainEventType(msg.Event) {
			case golibvirt.DomainEventSuspended, golibvirt.DomainEventCrashed:
				return false, "a guest started but the hypervisor stopped it: its CPU cannot execute real programs", nil
			case golibvirt.DomainEventStopped:
				if golibvirt.DomainEventStoppedDetailType(msg.Detail) == golibvirt.DomainEventStoppedShutdown {
					return true, "a guest ran", nil
				}
				return false, "a guest started but its process died", nil
			default: // on its way
			}
		}
	}
}

// probeXML is the smallest machine with the CPU that our domains get.
func probeXML(virt, disk string) (golibvirt.UUID, string, error) {
	var id golibvirt.UUID
	_, _ = rand.Read(id[:]) // never fails
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	first := uint(0)
	dom := libvirtxml.Domain{
		Type: virt, Name: "baadal-probe-" + formatUUID(id)[:8], UUID: formatUUID(id),
		Memory:   &libvirtxml.DomainMemory{Value: 32, Unit: "MiB"},
		VCPU:     &libvirtxml.DomainVCPU{Value: 1},
		OS:       &libvirtxml.DomainOS{Type: &libvirtxml.DomainOSType{Arch: "x86_64", Machine: "pc", Type: "hvm"}, BootDevices: []libvirtxml.DomainBootDevice{{Dev: "hd"}}},
		Features: &libvirtxml.DomainFeatureList{ACPI: &libvirtxml.DomainFeature{}},
		// A reboot is a crash here (a fault that nothing handles): it must not look like an end.
		OnPoweroff: "destroy", OnReboot: "restart", OnCrash: "destroy",
		Devices: &libvirtxml.DomainDeviceList{
			Controllers: []libvirtxml.DomainController{{Type: "usb", Index: &first, Model: "none"}},
			Disks: []libvirtxml.DomainDisk{{
				Device: "disk", Driver: &libvirtxml.DomainDiskDriver{Name: "qemu", Type: "raw"}, Source: fileSource(disk),
				Target: &libvirtxml.DomainDiskTarget{Dev: "vda", Bus: "virtio"}, ReadOnly: &libvirtxml.DomainDiskReadOnly{},
			}},
			MemBalloon: &libvirtxml.DomainMemBalloon{Model: "none"},
		},
	}
	if virt == "kvm" {
		dom.CPU = &libvirtxml.DomainCPU{Mode: "host-passthrough"}
	}
	text, err := dom.Marshal()
	if err != nil {
		return id, "", fmt.Errorf("write probe XML: %w", err)
	}
	return id, text, nil
}

// lastWords are libvirt's own words of an error, for people.
func lastWords(err error) string {
	if le, ok := errors.AsType[golibvirt.Error](err); ok {
		return shorten(le.Message)
	}
	return err.Error()
}
