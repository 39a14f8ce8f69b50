package lab

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
)

type mount struct {
	point, fstype, options string // options: of the file system itself
}

// parseMount reads a line of /proc/PID/mountinfo.
func parseMount(line string) (mount, bool) {
	before, after, ok := strings.Cut(line, " - ")
	fields, more := strings.Fields(before), strings.Fields(after)
	if !ok || len(fields) < 6 || len(more) < 3 {
		return mount{}, false
	}
	return mount{point: unescapeMount(fields[4]), fstype: more[0], options: more[2]}, true
}

// unescapeMount undoes the octal escapes that the kernel writes for spaces, tabs, line feeds and backslashes.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// mountsBelow lists the mount points in a folder as this process sees them, oldest first.
func mountsBelow(dir string) ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	defer func() { _ = f.Close() }()
	var points []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if m, ok := parseMount(lines.Text()); ok && (m.point == dir || strings.HasPrefix(m.point, dir+"/")) {
			points = append(points, m.point)
		}
	}
	return points, lines.Err()
}

// mountedReadOnly says whether the file system mounted at a point is read-only; false when nothing is mounted there.
func mountedReadOnly(point string) (bool, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false, err
	}
	readOnly := false
	for line := range strings.Lines(string(b)) {
		if m, ok := parseMount(line); ok && m.point == point {
			readOnly = slices.Contains(strings.Split(m.options, ","), "ro")
		}
	}
	return readOnly, nil
}

// unmountBelow takes away every mount in a folder, newest first, busy or not.
func unmountBelow(dir string) error {
	points, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	for _, point := range slices.Backward(points) {
		const noFollow = 8 // UMOUNT_NOFOLLOW
		if syscall.Unmount(point, noFollow) == nil {
			continue
		}
		if err := syscall.Unmount(point, syscall.MNT_DETACH|noFollow); err != nil && !errors.Is(err, syscall.EINVAL) {
			return fmt.Errorf("unmount %s: %w", point, err)
		}
	}
	points, err = mountsBelow(dir)
	if err == nil && len(points) > 0 {
		err = fmt.Errorf("unmount: %s stays mounted", points[0])
	}
	return err
}
