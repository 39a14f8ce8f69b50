package libvirt

import (
	"context"

	golibvirt "github.com/digitalocean/go-libvirt"

	"baadal"
)

// facts are what a domain's definition says. They are asked for once per domain
// and connection, and again after it was defined anew.
type facts struct {
	vmID   int64
	vcpus  int
	ramMiB int
}

// forget drops what is known of a domain, because its definition changed.
func (l *link) forget(id golibvirt.UUID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.facts, id)
}

// factsOf returns a domain's facts, asking libvirtd if they are not known.
func (l *link) factsOf(rpc *golibvirt.Libvirt, dom golibvirt.Domain) (facts, error) {
	l.mu.Lock()
	f, ok := l.facts[dom.UUID]
	l.mu.Unlock()
	if ok {
		return f, nil
	}
	_, maxMem, _, vcpus, _, err := rpc.DomainGetInfo(dom)
	if err != nil {
		return f, err
	}
	f = facts{vcpus: int(vcpus), ramMiB: int(maxMem >> 10)} //nolint:gosec // KiB of memory fit
	text, err := rpc.DomainGetMetadata(dom, int32(golibvirt.DomainMetadataElement), golibvirt.OptString{metadataURI}, golibvirt.DomainAffectCurrent)
	switch {
	case err == nil:
		room := false
		if f.vmID, room = parseMetadata(text); room {
			if f.ramMiB, err = wholeMemory(rpc, dom); err != nil {
				return f, err
			}
		}
	case !isCode(err, golibvirt.ErrNoDomainMetadata):
		return f, err
	}
	l.mu.Lock()
	l.facts[dom.UUID] = f
	l.mu.Unlock()
	return f, nil
}

// Domain looks at one domain; NotFound if the host answers and does not know it.
func (h *Hypervisor) Domain(ctx context.Context, host baadal.Host, uuid string) (baadal.DomainInfo, error) {
	const op = "look at domain"
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if err != nil {
		return baadal.DomainInfo{}, err
	}
	return call(ctx, l, op, func(rpc *golibvirt.Libvirt) (baadal.DomainInfo, error) {
		state, _, err := rpc.DomainGetState(dom, 0)
		if err != nil {
			return baadal.DomainInfo{}, err
		}
		persistent, err := rpc.DomainIsPersistent(dom)
		if err != nil {
			return baadal.DomainInfo{}, err
		}
		l.forget(dom.UUID)
		f, err := l.factsOf(rpc, dom)
		if err != nil {
			return baadal.DomainInfo{}, err
		}
		d := info(dom, golibvirt.DomainState(state), persistent != 0, f)
		if d.State == baadal.VMOff {
			saved, err := rpc.DomainHasManagedSaveImage(dom, 0)
			if err != nil {
				return d, err
			}
			d.Saved = saved != 0
		}
		return d, nil
	})
}

// Domains looks at all domains of a host, foreign ones included, with four
// calls however many there are.
func (h *Hypervisor) Domains(ctx context.Context, host baadal.Host) ([]baadal.DomainInfo, error) {
	const op = "list domains"
	l, err := h.peer(host).connect(ctx, host)
	if err != nil {
		return nil, err
	}
	return call(ctx, l, op, func(rpc *golibvirt.Libvirt) ([]baadal.DomainInfo, error) {
		records, err := rpc.ConnectGetAllDomainStats(nil, uint32(golibvirt.DomainStatsState), uint32(golibvirt.ConnectGetAllDomainsStatsNowait))
		if isCode(err, golibvirt.ErrInvalidArg) || isCode(err, golibvirt.ErrNoSupport) { // a driver that cannot but wait
			records, err = rpc.ConnectGetAllDomainStats(nil, uint32(golibvirt.DomainStatsState), 0)
		}
		if err != nil {
			return nil, err
		}
		transient, err := listed(rpc, golibvirt.ConnectListDomainsTransient)
		if err != nil {
			return nil, err
		}
		saved, err := listed(rpc, golibvirt.ConnectListDomainsManagedsave)
		if err != nil {
			return nil, err
		}
		autostart, err := listed(rpc, golibvirt.ConnectListDomainsAutostart)
		if err != nil {
			return nil, err
		}
		infos := make([]baadal.DomainInfo, 0, len(records))
		for _, r := range records {
			f, err := l.factsOf(rpc, r.Dom)
			if golibvirt.IsNotFound(err) { // gone meanwhile
				continue
			}
			if err != nil {
				return nil, err
			}
			d := info(r.Dom, stateParam(r.Params), !transient[r.Dom.UUID], f)
			d.Saved, d.Autostart = d.State == baadal.VMOff && saved[r.Dom.UUID], autostart[r.Dom.UUID]
			infos = append(infos, d)
		}
		l.keepOnly(records)
		return infos, nil
	})
}

// listed asks which domains are of a kind.
func listed(rpc *golibvirt.Libvirt, kind golibvirt.ConnectListAllDomainsFlags) (map[golibvirt.UUID]bool, error) {
	all, _, err := rpc.ConnectListAllDomains(1, kind)
	if err != nil {
		return nil, err
	}
	set := make(map[golibvirt.UUID]bool, len(all))
	for _, d := range all {
		set[d.UUID] = true
	}
	return set, nil
}

// keepOnly forgets the facts of domains that are gone.
func (l *link) keepOnly(records []golibvirt.DomainStatsRecord) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.facts) <= len(records) {
		return
	}
	there := make(map[golibvirt.UUID]bool, len(records))
	for _, r := range records {
		there[r.Dom.UUID] = true
	}
	for id := range l.facts {
		if !there[id] {
			delete(l.facts, id)
		}
	}
}

func stateParam(params []golibvirt.TypedParam) golibvirt.DomainState {
	for _, p := range params {
		if v, ok := p.Value.I.(int32); ok && p.Field == golibvirt.DomainStatsStateState {
			return golibvirt.DomainState(v)
		}
	}
	return golibvirt.DomainNostate
}

func info(dom golibvirt.Domain, state golibvirt.DomainState, persistent bool, f facts) baadal.DomainInfo {
	return baadal.DomainInfo{
		UUID: formatUUID(dom.UUID), Name: dom.Name, VMID: f.vmID, State: stateOf(state),
		Persistent: persistent, VCPUs: f.vcpus, RAMMiB: f.ramMiB,
	}
}

// stateOf maps libvirt's state. A domain in shutdown still has its process, so
// it runs.
func stateOf(s golibvirt.DomainState) baadal.VMState {
	switch s {
	case golibvirt.DomainRunning, golibvirt.DomainBlocked, golibvirt.DomainShutdown:
		return baadal.VMRunning
	case golibvirt.DomainPaused, golibvirt.DomainPmsuspended:
		return baadal.VMPaused
	case golibvirt.DomainShutoff:
		return baadal.VMOff
	case golibvirt.DomainCrashed:
		return baadal.VMCrashed
	default:
		return baadal.VMUnknown
	}
}
