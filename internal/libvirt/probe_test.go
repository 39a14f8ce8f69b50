package libvirt_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"baadal/internal/libvirt"
	"baadal/internal/needs"
)

// TestBootSector boots the probe under QEMU's emulation: it must end by itself
// on a CPU that can do everything, and never on one that cannot.
func TestBootSector(t *testing.T) {
	t.Parallel()
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		needs.Skip(t, "no QEMU: "+err.Error())
	}
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, libvirt.BootSector(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		cpu  string
		wait time.Duration
		ends bool
	}{
		{"qemu64", 20 * time.Second, true},
		{"max", 20 * time.Second, true},
		{"qemu64,-cx16", 2 * time.Second, false},
		{"qemu32", 2 * time.Second, false},
	} {
		t.Run(tt.cpu, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), tt.wait)
			defer cancel()
			out, err := exec.CommandContext(ctx, qemu, "-accel", "tcg", "-cpu", tt.cpu, "-m", "32", "-nodefaults", "-display", "none",
				"-drive", "format=raw,if=virtio,readonly=on,file="+disk).CombinedOutput()
			if ended := ctx.Err() == nil; ended != tt.ends {
				t.Errorf("ended by itself: %t, want %t (%v, %s)", ended, tt.ends, err, out)
			}
			if tt.ends && err != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}
