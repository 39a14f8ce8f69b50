package libvirt_test

import (
	"context"
	"strings"
	"testing"

	"baadal"
	"baadal/internal/ssh"
)

// define makes a domain of somebody else's with the given parts of its XML.
func (r *labRig) define(t *testing.T, parts string, start bool) (uuid string) {
	t.Helper()
	uuid = newUUID()
	r.run(t, "<domain type='qemu'><name>fit-"+uuid[:8]+"</name><uuid>"+uuid+"</uuid><memory>65536</memory><os><type>hvm</type></os>"+parts+"</domain>", "virsh", "-q", "define", "/dev/stdin")
	t.Cleanup(func() {
		for _, act := range []string{"destroy", "undefine"} {
			_, _ = r.pool.Run(context.WithoutCancel(t.Context()), r.host, ssh.Command{Argv: []string{"virsh", "-q", act, uuid}})
		}
	})
	if start {
		r.run(t, "", "virsh", "-q", "start", uuid)
	}
	return uuid
}

// TestLabFits compares domains with a host that could take them over: their own.
func TestLabFits(t *testing.T) {
	r := newLab(t)
	own := r.start(t)
	const named = "<cpu mode='custom' match='exact' check='none'><model fallback='forbid'>%s</model></cpu>"
	for _, x := range []struct {
		name, uuid, reason string
	}{
		{"one of ours", own.UUID, ""},
		{"host-model", r.define(t, "<cpu mode='host-model'/>", true), ""},
		{"a plain model", r.define(t, strings.Replace(named, "%s", "qemu64", 1), true), ""},
		{"a model that is not emulated here", r.define(t, strings.Replace(named, "%s", "Icelake-Server", 1), true), "its CPU is not one that the VM can go on with"},
		{"the same, off", r.define(t, strings.Replace(named, "%s", "Icelake-Server", 1), false), ""},
		{"a network that is not there", r.define(t, "<devices><interface type='network'><source network='nowhere'/></interface></devices>", false), "it has no network nowhere"},
		{"a disk that is not there", r.define(t, "<devices><disk type='file'><source file='/mnt/datastore/nowhere.qcow2'/><target dev='vda'/></disk></devices>", false), "it does not see /mnt/datastore/nowhere.qcow2"},
	} {
		err := r.h.Fits(t.Context(), r.host, r.host, x.uuid)
		t.Logf("%s: %v", x.name, err)
		switch {
		case x.reason == "" && err != nil:
			t.Errorf("%s does not fit: %v", x.name, err)
		case x.reason != "" && (baadal.CodeOf(err) != "host_unfit" || !strings.Contains(baadal.Message(err), x.reason)):
			t.Errorf("%s: %v, want the words %q", x.name, err, x.reason)
		}
	}
	if err := r.h.Fits(t.Context(), r.host, r.host, newUUID()); baadal.KindOf(err) != baadal.NotFound {
		t.Errorf("no domain: %v", err)
	}
	f, err := r.h.Node(t.Context(), r.host)
	if err != nil || len(strings.Fields(f.CPU)) < 20 {
		t.Errorf("the host's CPU is %q: %v", f.CPU, err)
	}
}
