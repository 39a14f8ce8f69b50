package libvirt

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	golibvirt "github.com/digitalocean/go-libvirt"

	"baadal"
)

// reason is what a failure of libvirt means to us.
type reason struct {
	kind   baadal.Kind
	code   string
	detail string // for users; libvirt's own words if empty
}

// byWords are failures that libvirt tells only by its words, mostly under the
// code "internal error". The first match counts.
var byWords = []struct {
	words  string
	reason reason
}{
	{`Failed to get "write" lock`, reason{baadal.Conflict, "disk_in_use", "another process has its disk open for writing"}},
	{`Is another process using the image`, reason{baadal.Conflict, "disk_in_use", "another process has its disk open for writing"}},
	{`is already in the process of unplug`, reason{baadal.Conflict, "unplug_pending", "the guest was asked to let go of it and has not yet"}},
	{`waiting to open tray`, reason{baadal.Conflict, "tray_locked", "the guest holds the tray of its CD drive shut: the CD is mounted or in use"}},
	{`Tray of device`, reason{baadal.Conflict, codeTrayMoves, "the tray of its CD drive did not open"}},
	{`Tray of the device`, reason{baadal.Conflict, codeTrayMoves, "the tray of its CD drive did not open"}}, // of a drive without medium
	{`is locked and force was not specified`, reason{baadal.Conflict, "tray_locked", "the guest holds the tray of its CD drive shut: the CD is mounted or in use"}},
	{`target vd`, reason{baadal.Conflict, "target_taken", "another disk of the domain is at that target"}},
	{`already exists with uuid`, reason{baadal.Conflict, "domain_exists", "another domain has its name"}},
	{`is already running`, reason{baadal.Conflict, "domain_active", "it is active already"}},
	{`is already active`, reason{baadal.Conflict, "domain_active", "it is active already"}},
	{`internal snapshot for disk`, reason{baadal.Conflict, "disk_format", "a disk of it is not a qcow2 image: it cannot be snapshotted"}},
	{`Cannot get interface MTU`, reason{baadal.Conflict, "bridge_missing", "its bridge for VMs is not there: is Open vSwitch running?"}},
	{`Cannot access storage file`, reason{baadal.Conflict, "disk_missing", "its disk cannot be read: is the datastore mounted on the host?"}},
	{`Cannot access backing file`, reason{baadal.Conflict, "template_missing", "the template under its disk cannot be read: is the datastore mounted on the host?"}},
	{`No space left on device`, reason{baadal.Exhausted, "host_full", "no space is left on the host, or on a datastore of its disks"}},
	{`Read-only file system`, reason{baadal.Conflict, "datastore_read_only", "a datastore of its disks is read-only on the host"}},
	{`Cannot allocate memory`, reason{baadal.Exhausted, "host_memory", "the host has not enough free memory"}},
	{`cannot set up guest memory`, reason{baadal.Exhausted, "host_memory", "the host has not enough free memory"}},
	{`could not find capabilities for`, reason{baadal.Conflict, "virt_unsupported", "the host cannot run this type of virtual machine"}},
	{`Network not found`, reason{baadal.Conflict, "network_missing", "the host does not have its libvirt network"}},
	{`is not active`, reason{baadal.Conflict, "network_inactive", "its libvirt network is not active on the host"}},
	{`cannot acquire state change lock`, reason{baadal.Unavailable, "libvirt_busy", "libvirtd is busy with another job of this domain"}},
	{`client socket is closed`, reason{baadal.Unavailable, "libvirt_lost", "the connection to libvirtd was lost"}},
}

// byCode are failures that libvirt's code tells.
var byCode = map[golibvirt.ErrorNumber]reason{
	golibvirt.ErrNoDomain:          {baadal.NotFound, "domain_unknown", "the host does not know the domain"},
	golibvirt.ErrNoDomainSnapshot:  {baadal.NotFound, "snapshot_unknown", "the host does not know the snapshot"},
	golibvirt.ErrNoNetwork:         {baadal.Conflict, "network_missing", "the host does not have its libvirt network"},
	golibvirt.ErrDomExist:          {baadal.Conflict, "domain_exists", ""},
	golibvirt.ErrOperationInvalid:  {baadal.Conflict, "domain_state", ""},
	golibvirt.ErrOperationDenied:   {baadal.Conflict, "libvirt_denied", ""},
	golibvirt.ErrAuthFailed:        {baadal.Conflict, "libvirt_denied", "libvirtd refuses our user: it needs auth_unix_rw none, or root"},
	golibvirt.ErrAuthUnavailable:   {baadal.Conflict, "libvirt_denied", "libvirtd refuses our user: it needs auth_unix_rw none, or root"},
	golibvirt.ErrResourceBusy:      {baadal.Conflict, "domain_busy", ""},
	golibvirt.ErrOperationTimeout:  {baadal.Unavailable, "libvirt_busy", ""},
	golibvirt.ErrAgentUnresponsive: {baadal.Conflict, "guest_agent", "the guest's agent does not answer"},
	golibvirt.ErrXMLError:          {baadal.Invalid, "domain_xml", ""},
	golibvirt.ErrXMLDetail:         {baadal.Invalid, "domain_xml", ""},
	golibvirt.ErrXMLInvalidSchema:  {baadal.Invalid, "domain_xml", ""},
	golibvirt.ErrInvalidArg:        {baadal.Invalid, "libvirt_argument", ""},
	golibvirt.ErrConfigUnsupported: {baadal.Invalid, "domain_unsupported", ""},
	golibvirt.ErrNoSupport:         {baadal.Invalid, "libvirt_unsupported", ""},
}

// explain turns an error of go-libvirt into one for callers. libvirt's own
// words stay in Err.
func (l *link) explain(op string, err error) error {
	lost := errors.Is(err, golibvirt.ErrInterrupted) || errors.Is(err, syscall.EINVAL) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE)
	le, ok := errors.AsType[golibvirt.Error](err)
	switch {
	case lost || l.isDone():
		return l.lost(op, err)
	case errors.Is(err, golibvirt.ErrUnsupported):
		le, ok = golibvirt.Error{Code: uint32(golibvirt.ErrNoSupport), Message: err.Error()}, true
	}
	e := &baadal.Error{Kind: baadal.Internal, Code: "libvirt_failed", Title: fmt.Sprintf("%s on %s", op, l.host.Name), Err: err}
	if !ok {
		return e
	}
	r := meaning(le)
	if r.kind != "" {
		e.Kind, e.Code = r.kind, r.code
	}
	e.Detail = r.detail
	if e.Detail == "" {
		e.Detail = shorten(le.Message)
	}
	return e
}

func meaning(e golibvirt.Error) reason {
	for _, w := range byWords {
		if strings.Contains(e.Message, w.words) {
			return w.reason
		}
	}
	return byCode[golibvirt.ErrorNumber(e.Code)]
}

// shorten takes libvirt's last words: its first ones repeat the code's name,
// and what QEMU wrote can be many lines.
func shorten(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	for _, prefix := range []string{"internal error: ", "operation failed: ", "Requested operation is not valid: ", "unsupported configuration: ", "XML error: ", "invalid argument: "} {
		s = strings.TrimPrefix(s, prefix)
	}
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "…"
	}
	return s
}

// isCode reports whether err comes from this libvirt error.
func isCode(err error, code golibvirt.ErrorNumber) bool {
	e, ok := errors.AsType[golibvirt.Error](err)
	return ok && golibvirt.ErrorNumber(e.Code) == code
}
