package libvirt_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/libvirt"
)

func diskXML(target, file, format string) string {
	return "<disk type='file' device='disk'><driver name='qemu' type='" + format + "'/><source file='" + file + "'/><target dev='" + target + "' bus='virtio'/></disk>"
}

func machineXML(disks ...string) string {
	seed := "<disk type='file' device='cdrom'><source file='/seed.iso'/><target dev='hda'/><readonly/></disk>"
	return "<domain type='kvm'><name>n</name><devices>" + strings.Join(disks, "") + seed + "</devices></domain>"
}

func TestSnapshotDisksMustBeTheMachines(t *testing.T) {
	t.Parallel()
	vda, vdb := diskXML("vda", "/a", "qcow2"), diskXML("vdb", "/b", "qcow2")
	for name, test := range map[string]struct {
		then, now []string
		files     []string
		detail    string // of the refusal
	}{
		"the same":            {then: []string{vda, vdb}, now: []string{vdb, vda}, files: []string{"/a", "/b"}},
		"a newer disk":        {then: []string{vda}, now: []string{vda, vdb}, detail: "the disk vdb (/b) is newer"},
		"a disk that is gone": {then: []string{vda, vdb}, now: []string{vda}, detail: "has the disk vdb (/b), which the machine has no more"},
		"a disk that moved":   {then: []string{vda}, now: []string{diskXML("vda", "/moved", "qcow2")}, detail: "its disk vda is /a, the machine's is now /moved"},
		"another format":      {then: []string{diskXML("vda", "/a", "raw")}, now: []string{vda}, detail: "is raw, not qcow2"},
	} {
		snapshot := "<domainsnapshot><name>s</name><state>running</state>" + machineXML(test.then...) + "</domainsnapshot>"
		files, err := libvirt.SameDisks("s", snapshot, machineXML(test.now...))
		if d := cmp.Diff(test.files, files); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if test.detail == "" && err != nil || test.detail != "" && (baadal.CodeOf(err) != "snapshot_unusable" || !strings.Contains(baadal.Message(err), test.detail)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := libvirt.SameDisks("s", "<domainsnapshot><name>s</name></domainsnapshot>", machineXML(vda)); baadal.CodeOf(err) != "snapshot_unusable" {
		t.Errorf("without a machine: %v", err)
	}
}

func TestImageMustHoldTheSnapshot(t *testing.T) {
	t.Parallel()
	const info = `[{"filename":"/a","format":"qcow2","snapshots":[{"id":"1","name":"first"},{"id":"2","name":"7"},{"id":"7","name":"second"}]},
		{"filename":"/base","snapshots":[{"id":"1","name":"of-the-base"}]}]`
	for name, holds := range map[string]bool{"first": true, "second": true, "of-the-base": false, "nope": false, "7": false} {
		if err := libvirt.ImageHolds([]byte(info), "/a", name); (err == nil) != holds || err != nil && baadal.CodeOf(err) != "snapshot_unusable" {
			t.Errorf("%s: %v", name, err)
		}
	}
	marked := strings.Replace(info, `"snapshots"`, `"format-specific":{"type":"qcow2","data":{"bitmaps":[{"flags":["auto"],"name":"baadal-1"}]}},"snapshots"`, 1)
	if err := libvirt.ImageHolds([]byte(marked), "/a", "first"); baadal.CodeOf(err) != "snapshot_unusable" || !strings.Contains(err.Error(), "baadal-1") {
		t.Errorf("with a bitmap: %v", err)
	}
	if err := libvirt.ImageHolds([]byte("no JSON"), "/a", "first"); err == nil {
		t.Error("nonsense is taken for an image")
	}
}
