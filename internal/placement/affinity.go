package placement

import (
	"fmt"
	"strings"

	"baadal"
)

// counts chooses the members of a group that matter.
type counts func(*baadal.AffinityMember) bool

func placed(m *baadal.AffinityMember) bool { return m.HostID != 0 && m.State != baadal.VMDeleted }
func active(m *baadal.AffinityMember) bool { return placed(m) && m.Active() }

// forbids says which rule keeps a VM off a host; empty if none does.
func forbids(r baadal.VMRules, vm, host int64, who counts) string {
	if reason := elsewhere(r, host); reason != "" {
		return reason
	}
	for _, g := range r.Groups {
		if reason := groupForbids(g, vm, host, who); reason != "" {
			return reason
		}
	}
	return ""
}

// elsewhere says where a VM may run, if it may not on this host.
func elsewhere(r baadal.VMRules, host int64) string {
	for _, h := range r.Hosts {
		if h.ID == host {
			return ""
		}
	}
	if len(r.Hosts) == 0 {
		return ""
	}
	return "the VM may run on " + strings.Join(r.HostNames(), ", ") + " only"
}

// groupForbids: a member on its way to another host is on both for those that
// are apart from it, and there for those that are together with it. Where the
// others of a group that is to be together are on several hosts each will do.
func groupForbids(g baadal.Affinity, vm, host int64, who counts) string {
	mate := ""
	for i := range g.Members {
		m := &g.Members[i]
		if m.VMID == vm || !who(m) {
			continue
		}
		at := m.HostID
		if m.TargetID != 0 {
			at = m.TargetID
		}
		switch {
		case g.Rule == baadal.AffinityApart && (m.HostID == host || at == host):
			return fmt.Sprintf("it has %s of the apart group %s", m.VM, g.Name)
		case g.Rule == baadal.AffinityTogether && at == host:
			return ""
		case g.Rule == baadal.AffinityTogether && mate == "":
			mate = fmt.Sprintf("%s of the together group %s is on another host", m.VM, g.Name)
			if m.Host != "" {
				mate = fmt.Sprintf("%s of the together group %s is on %s", m.VM, g.Name, m.Host)
			}
		}
	}
	return mate
}

// StartForbidden says which rule keeps a VM from starting where it is: a rule
// that was changed since it was placed. Members that are off do not matter.
func StartForbidden(r baadal.VMRules, vm baadal.VM) string {
	if vm.HostID == 0 {
		return ""
	}
	return forbids(r, vm.ID, vm.HostID, active)
}

// Broken says which rules the place of a VM breaks; running means that only
// members that run matter.
func Broken(r baadal.VMRules, vm baadal.VM, running bool) (all []string) {
	if vm.HostID == 0 {
		return nil
	}
	who := placed
	if running {
		who = active
	}
	if reason := elsewhere(r, vm.HostID); reason != "" {
		all = append(all, reason)
	}
	for _, g := range r.Groups {
		for i := range g.Members {
			m := &g.Members[i]
			if m.VMID == vm.ID || !who(m) || m.TargetID != 0 {
				continue
			}
			switch {
			case g.Rule == baadal.AffinityApart && m.HostID == vm.HostID:
				all = append(all, fmt.Sprintf("%s of the apart group %s is on the same host", m.VM, g.Name))
			case g.Rule == baadal.AffinityTogether && m.HostID != vm.HostID:
				all = append(all, fmt.Sprintf("%s of the together group %s is on another host", m.VM, g.Name))
			}
		}
	}
	return all
}

// Join makes a VM that was placed in the same transaction count for those that
// are placed after it.
func Join(r baadal.VMRules, vm baadal.AffinityMember) {
	for i := range r.Groups {
		r.Groups[i].Members = append(r.Groups[i].Members, vm)
	}
}
