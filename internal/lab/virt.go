package lab

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// probeLimit is how long a guest may take to its first program under KVM; a real one takes under two seconds.
const probeLimit = 5 * time.Second

// chooseVirt settles what Options.Virt asks for.
func (l *Lab) chooseVirt(ctx context.Context, virt string) (string, error) {
	switch virt {
	case VirtQEMU:
		return VirtQEMU, nil
	case VirtKVM:
		if !exists("/dev/kvm") {
			return "", fmt.Errorf("virtualisation %s: this machine has no /dev/kvm", virt)
		}
		return VirtKVM, nil
	case VirtAuto, "":
	default:
		return "", fmt.Errorf("virtualisation %q: want %s, %s or %s", virt, VirtAuto, VirtKVM, VirtQEMU)
	}
	if !exists("/dev/kvm") {
		return VirtQEMU, nil
	}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "", fmt.Errorf("find out whether KVM works: %w", err)
	}
	// The finding holds for this kernel; the folder may be carried to another machine.
	note := filepath.Join(l.cache, "kvm-"+strings.TrimSpace(string(release)))
	if b, err := os.ReadFile(note); err == nil {
		if found := strings.TrimSpace(string(b)); found == VirtKVM || found == VirtQEMU {
			return found, nil
		}
	}
	g, err := buildGuest(ctx, l.cache, l.log)
	if err != nil {
		return "", err
	}
	l.log("finding out whether KVM runs a guest (once)")
	found := VirtQEMU
	if probeKVM(ctx, g, probeLimit) {
		found = VirtKVM
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if err := replaceFile(note, []byte(found+"\n")); err != nil {
		return "", fmt.Errorf("note whether KVM works: %w", err)
	}
	return found, nil
}

// probeKVM boots the tiny guest's kernel under KVM and says whether its first program spoke in time. That /dev/kvm is
// there, opens and makes a machine says little: there are kernels whose KVM runs but some guests, and the others crawl
// and die.
func probeKVM(ctx context.Context, g guest, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "kvm", "-machine", "pc", "-m", "128", "-nodefaults",
		"-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio", "-kernel", g.kernel, "-initrd", g.initrd,
		"-append", "console=ttyS0 panic=-1 baadal.probe")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil || cmd.Start() != nil {
		return false
	}
	runs := false
	for lines := bufio.NewScanner(out); !runs && lines.Scan(); {
		runs = strings.Contains(lines.Text(), "baadal.probe: a guest runs")
	}
	cancel()
	_ = cmd.Wait()
	return runs
}
