package simulator

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"baadal"
)

// host is one machine. Exported fields are its saved state.
type host struct {
	Name    string
	Address string
	KeyNo   int // rises when its host key changes
	Facts   baadal.HostFacts

	Off       bool            `json:",omitzero"`
	Boots     int             `json:",omitzero"` // how often it was switched on since it was made
	Cut       bool            `json:",omitzero"` // no packet gets through, its domains run on
	Hung      bool            `json:",omitzero"` // libvirtd does not answer, sshd does
	Skew      time.Duration   `json:",omitzero"`
	Flows     int             `json:",omitzero"` // the boot, counted from 1, since which its ports have their rules; 0: they have none
	FlowsOff  bool            `json:",omitzero"` // the rules are that there are none
	Unmounted map[string]bool `json:",omitempty"`
	Domains   map[string]*domain
	Networks  map[string]baadal.HostNetwork `json:",omitempty"`

	pending  map[*domain]bool // domains with something due later
	watchers map[*watcher]bool
	timer    *time.Timer          // fires at the next thing due, while someone watches
	resume   chan struct{}        // closed when a hung libvirtd answers again or loses power
	held     []baadal.DomainEvent // what a hung libvirtd will tell once it answers
	lostAt   *time.Timer          // fires when watchers give a hung libvirtd up
}

// addressOf returns the address of the i-th host, counted from 0.
func addressOf(i int) string {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 10<<24|77<<16|uint32(11+i))
	return netip.AddrFrom4(b).String()
}

// addHost adds a host that is on and well; one of that name stays as it is.
func (w *World) addHost(name, address string) {
	if w.state.Hosts[name] != nil {
		return
	}
	sum := sha256.Sum256([]byte(name))
	h := &host{
		Name: name, Address: address,
		Facts: baadal.HostFacts{
			Hostname: name, CPUs: w.cfg.HostCPUs, CPUModel: "Simulated CPU", RAMMiB: w.cfg.HostRAMMiB, DiskGiB: 480,
			MAC: fmt.Sprintf("52:54:00:%02X:%02X:%02X", sum[0], sum[1], sum[2]), NIC: "eth0",
			Type: baadal.HostPhysical, Virt: "kvm", Libvirt: "11.3.0", QEMU: "10.0.0",
		},
		Domains: map[string]*domain{},
	}
	h.init()
	w.state.Hosts[name] = h
	w.byAddr[address] = h
	w.dirty = true
}

// init makes what is not saved.
func (h *host) init() {
	h.pending = map[*domain]bool{}
	h.watchers = map[*watcher]bool{}
	h.resume = make(chan struct{})
	if h.Networks == nil {
		h.Networks = map[string]baadal.HostNetwork{
			baadal.DefaultLibvirtNetwork: {Name: baadal.DefaultLibvirtNetwork, Bridge: theBridge, Ready: true},
		}
	}
	for _, d := range h.Domains {
		d.host = h
	}
}

// find returns the host at an address or of a name; nil if there is none.
func (w *World) find(bh baadal.Host) *host {
	if h := w.byAddr[bh.Address]; h != nil {
		return h
	}
	if bh.Address != "" {
		return w.state.Hosts[bh.Address] // a DNS name
	}
	return w.state.Hosts[bh.Name]
}

// reach waits until the host answers and returns it with w.mu held, or without
// when it does not answer in time.
func (w *World) reach(ctx context.Context, op string, bh baadal.Host) (*host, error) {
	limit := time.NewTimer(w.cfg.CallTimeout)
	defer limit.Stop()
	for {
		if err := cause(ctx); err != nil {
			return nil, interrupted(op, err)
		}
		w.mu.Lock()
		h, err := w.answering(bh)
		if err != nil {
			delay := w.cfg.UnreachableDelay
			w.mu.Unlock()
			if baadal.KindOf(err) != baadal.Unavailable {
				return nil, err
			}
			if serr := sleep(ctx, delay); serr != nil {
				return nil, interrupted(op, serr)
			}
			return nil, err
		}
		if !h.Hung || !strings.HasPrefix(op, "hypervisor.") {
			w.settle(h)
			return h, nil
		}
		resume := h.resume
		w.mu.Unlock()
		select {
		case <-resume:
		case <-ctx.Done():
		case <-limit.C:
			return nil, hungError(h, w.cfg.CallTimeout)
		}
	}
}

func hungError(h *host, after time.Duration) error {
	return baadal.Errorf(baadal.Unavailable, "libvirtd on %s does not answer", h.Name).WithCode("host_timeout").
		WithDetail("no reply within %s", after)
}

// answering returns the host if packets reach it and its key is the pinned one.
func (w *World) answering(bh baadal.Host) (*host, error) {
	if w.closed {
		return nil, baadal.Errorf(baadal.Unavailable, "the simulated world is closed")
	}
	h := w.find(bh)
	if h == nil || h.Off || h.Cut || (bh.SSHPort != 0 && bh.SSHPort != 22) {
		return nil, baadal.Errorf(baadal.Unavailable, "%s does not answer", nameOf(bh)).WithCode("host_unreachable").
			WithDetail("dial tcp %s: i/o timeout", bh.SSHAddr())
	}
	if key, seen := h.hostKey(); bh.HostKey != "" && strings.TrimSpace(bh.HostKey) != key {
		return nil, baadal.Errorf(baadal.Conflict, "the host key of %s has changed: all work on it has stopped", nameOf(bh)).WithCode("host_key_changed").
			WithDetail("%s is pinned, %s was seen", bh.Fingerprint, seen)
	}
	return h, nil
}

func nameOf(bh baadal.Host) string {
	if bh.Name != "" {
		return bh.Name
	}
	return bh.Address
}

// hostKey returns the host's public key in authorized_keys form and its
// fingerprint. The key is well formed; nobody has its private half.
func (h *host) hostKey() (key, fingerprint string) {
	const algo = "ssh-ed25519"
	public := sha256.Sum256(fmt.Appendf(nil, "%s %d", h.Name, h.KeyNo))
	wire := binary.BigEndian.AppendUint32(nil, uint32(len(algo)))
	wire = append(wire, algo...)
	wire = binary.BigEndian.AppendUint32(wire, uint32(len(public)))
	wire = append(wire, public[:]...)
	sum := sha256.Sum256(wire)
	return algo + " " + base64.StdEncoding.EncodeToString(wire), "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}
