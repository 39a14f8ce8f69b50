package simulator

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"path"
	"strings"
	"time"

	"baadal"
)

// act does something behind the controller's back on a host.
func (w *World) act(name string, fn func(h *host) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := w.state.Hosts[name]
	if h == nil {
		return baadal.Errorf(baadal.NotFound, "the simulated world has no host %s", name)
	}
	w.settle(h)
	w.dirty = true
	return w.commit(fn(h))
}

// actOn does something to one domain.
func (w *World) actOn(name, uuid string, fn func(d *domain) error) error {
	return w.act(name, func(h *host) error {
		d := h.Domains[uuid]
		if d == nil {
			return noDomain(h, uuid)
		}
		return fn(d)
	})
}

// AddHost adds a host that is on and well; one of that name stays as it is.
func (w *World) AddHost(name, address string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if h := w.byAddr[address]; h != nil && h.Name != name {
		return baadal.Errorf(baadal.Conflict, "%s has the address %s", h.Name, address)
	}
	w.addHost(name, address)
	return w.save()
}

// Host returns a host as the store would hold it, with its key pinned.
func (w *World) Host(name string) (baadal.Host, error) {
	var bh baadal.Host
	err := w.act(name, func(h *host) error {
		bh = baadal.Host{Name: h.Name, Address: h.Address, SSHPort: 22, SSHUser: "root", State: baadal.HostUp, HostFacts: h.Facts}
		bh.HostKey, bh.Fingerprint = h.hostKey()
		return nil
	})
	return bh, err
}

// PowerOff pulls a host's cord: what ran on it is off, definitions stay.
func (w *World) PowerOff(name string) error {
	return w.act(name, func(h *host) error {
		h.Off = true
		w.setHung(h, false)
		h.lose(silent(h))
		for _, d := range h.Domains {
			w.stop(d, baadal.VMOff, w.now())
		}
		return nil
	})
}

// PowerOn boots a host; no domain starts by itself, but for those that somebody
// marked with libvirt's autostart.
func (w *World) PowerOn(name string) error {
	return w.act(name, func(h *host) error {
		if h.Off {
			h.Off, h.Boots = false, h.Boots+1
			w.startMarked(h)
		}
		return nil
	})
}

// Cut drops every packet from and to a host; its domains run on.
func (w *World) Cut(name string) error {
	return w.act(name, func(h *host) error {
		h.Cut = true
		h.lose(silent(h))
		return nil
	})
}

// Heal ends a cut.
func (w *World) Heal(name string) error {
	return w.act(name, func(h *host) error { h.Cut = false; return nil })
}

func silent(h *host) error {
	return baadal.Errorf(baadal.Unavailable, "%s does not answer", h.Name).WithCode("host_unreachable").
		WithDetail("the connection was lost")
}

// Hang makes libvirtd on a host stop or resume answering. Calls wait meanwhile,
// and what happens is told to watchers later; after the world's CallTimeout they
// give the connection up.
func (w *World) Hang(name string, hung bool) error {
	return w.act(name, func(h *host) error {
		w.setHung(h, hung)
		return nil
	})
}

func (w *World) setHung(h *host, hung bool) {
	if h.Hung == hung {
		return
	}
	h.Hung = hung
	if hung {
		h.lostAt = time.AfterFunc(w.cfg.CallTimeout, func() { w.giveUp(h) })
		return
	}
	if h.lostAt != nil {
		h.lostAt.Stop()
	}
	close(h.resume)
	h.resume = make(chan struct{})
	held := h.held
	h.held = nil
	for _, e := range held {
		h.emit(e)
	}
}

// giveUp breaks the watches on a host whose libvirtd is still hung.
func (w *World) giveUp(h *host) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if h.Hung {
		h.lose(hungError(h, w.cfg.CallTimeout))
	}
}

// RestartLibvirtd breaks all watches on a host; its domains run on.
func (w *World) RestartLibvirtd(name string) error {
	return w.act(name, func(h *host) error {
		w.setHung(h, false)
		h.lose(baadal.Errorf(baadal.Unavailable, "libvirtd on %s closed the connection", h.Name).WithCode("host_unreachable"))
		return nil
	})
}

// ChangeHostKey gives a host another key, as a new installation does.
func (w *World) ChangeHostKey(name string) error {
	return w.act(name, func(h *host) error { h.KeyNo++; return nil })
}

// SetSkew sets a host's clock ahead of ours, or behind.
func (w *World) SetSkew(name string, by time.Duration) error {
	return w.act(name, func(h *host) error { h.Skew = by; return nil })
}

// Mount mounts or unmounts a datastore on a host.
func (w *World) Mount(name, datastore string, mounted bool) error {
	return w.act(name, func(h *host) error {
		if h.Unmounted == nil {
			h.Unmounted = map[string]bool{}
		}
		h.Unmounted[datastore] = true
		if mounted {
			delete(h.Unmounted, datastore)
		}
		return nil
	})
}

// VirshDestroy cuts a domain's power.
func (w *World) VirshDestroy(name, uuid string) error {
	return w.actOn(name, uuid, func(d *domain) error { w.stop(d, baadal.VMOff, w.now()); return nil })
}

// VirshStart starts a domain; QEMU refuses as it would for us.
func (w *World) VirshStart(name, uuid string) error {
	return w.actOn(name, uuid, func(d *domain) error {
		if d.active() {
			return baadal.Errorf(baadal.Conflict, "%s is active already", d.Def.Name)
		}
		return w.start(d)
	})
}

// VirshUndefine removes a definition, also that of a running domain, which then
// is gone when it stops.
func (w *World) VirshUndefine(name, uuid string) error {
	return w.actOn(name, uuid, func(d *domain) error { w.undefine(d); return nil })
}

// VirshSuspend pauses a running domain.
func (w *World) VirshSuspend(name, uuid string) error {
	return w.turn(name, uuid, baadal.VMRunning, baadal.VMPaused)
}

// VirshResume lets a paused domain run on.
func (w *World) VirshResume(name, uuid string) error {
	return w.turn(name, uuid, baadal.VMPaused, baadal.VMRunning)
}

func (w *World) turn(name, uuid string, from, to baadal.VMState) error {
	return w.actOn(name, uuid, func(d *domain) error {
		if d.State != from {
			return baadal.Errorf(baadal.Conflict, "%s is %s", d.Def.Name, d.State)
		}
		w.setState(d, to, w.now())
		return nil
	})
}

// GuestCrash ends a running domain's QEMU by a crash.
func (w *World) GuestCrash(name, uuid string) error {
	return w.actOn(name, uuid, func(d *domain) error { w.stop(d, baadal.VMCrashed, w.now()); return nil })
}

// GuestShutdown makes the guest go down by itself, now.
func (w *World) GuestShutdown(name, uuid string) error { return w.VirshDestroy(name, uuid) }

// Deafen makes a guest ignore shutdown and reboot, or hear again.
func (w *World) Deafen(name, uuid string, deaf bool) error {
	return w.actOn(name, uuid, func(d *domain) error { d.Deaf = deaf; return nil })
}

// SetVLAN changes the tag of a running domain's port on the host's bridge.
func (w *World) SetVLAN(name, mac string, tag int) error {
	return w.act(name, func(h *host) error { return w.setVLAN(h, mac, tag) })
}

func (w *World) setVLAN(h *host, mac string, tag int) error {
	for d := range w.macs[strings.ToUpper(mac)] {
		if n := nicAt(d.Live, mac); d.host == h && n != nil {
			n.VLAN, w.dirty = tag, true
			return nil
		}
	}
	return baadal.Errorf(baadal.NotFound, "%s has no port with the MAC %s", h.Name, mac).WithCode("port_unknown")
}

// RogueDomain runs a domain on a host that is not ours, and returns its UUID.
func (w *World) RogueDomain(name, domainName string) (uuid string, err error) {
	uuid = newUUID()
	err = w.act(name, func(h *host) error {
		if h.Off {
			return silent(h)
		}
		if err := w.define(h, baadal.Domain{UUID: uuid, Name: domainName, Virt: h.Facts.Virt, VCPUs: 1, RAMMiB: 256}); err != nil {
			return err
		}
		return w.start(h.Domains[uuid])
	})
	return uuid, err
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	s := hex.EncodeToString(b[:])
	return fmt.Sprintf("%s-%s-%s-%s-%s", s[:8], s[8:12], s[12:16], s[16:20], s[20:])
}

// actOnStore does something to a datastore, known by its mount point.
func (w *World) actOnStore(mountPoint string, fn func(ds *datastore) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	ds := w.state.Datastores[mountPoint]
	if ds == nil {
		return baadal.Errorf(baadal.NotFound, "the simulated world has no datastore %s", mountPoint)
	}
	w.dirty = true
	return w.commit(fn(ds))
}

// AddDatastore adds an empty datastore that all hosts mount; one that is there
// stays as it is.
func (w *World) AddDatastore(mountPoint string, capacity int64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.addDatastore(mountPoint, capacity)
	return w.save()
}

// SetReadOnly makes a datastore read-only or writable.
func (w *World) SetReadOnly(mountPoint string, readOnly bool) error {
	return w.actOnStore(mountPoint, func(ds *datastore) error { ds.ReadOnly = readOnly; return nil })
}

// FillUp takes all room but the given bytes; a negative number gives it all back.
func (w *World) FillUp(mountPoint string, leave int64) error {
	return w.actOnStore(mountPoint, func(ds *datastore) error {
		ds.Filler = 0
		if leave >= 0 {
			ds.Filler = max(0, ds.free()-leave)
		}
		return nil
	})
}

// RogueFolder makes a folder with an empty file at area/name, e.g.
// vm_images/someone; a mark of "" is none.
func (w *World) RogueFolder(mountPoint, key, mark string) error {
	return w.actOnStore(mountPoint, func(ds *datastore) error {
		if ds.Folders[key] != nil {
			return baadal.Errorf(baadal.Conflict, "%s is there already", key)
		}
		ds.Folders[key] = &folder{Mark: mark, Files: map[string]*file{path.Base(key) + ".qcow2": w.newFile(0)}}
		return nil
	})
}

// RemoveFolder removes a folder, whoever it belongs to. A domain that has files
// of it open runs on, as in reality.
func (w *World) RemoveFolder(mountPoint, key string) error {
	return w.actOnStore(mountPoint, func(ds *datastore) error {
		f := ds.Folders[key]
		if f == nil {
			return baadal.Errorf(baadal.NotFound, "there is no %s", key)
		}
		return w.removeFolder(ds, key, f.Mark)
	})
}

// AddTemplate puts a finished qcow2 template of the given virtual size on a
// datastore and returns its path.
func (w *World) AddTemplate(mountPoint, name string, virtual int64) (string, error) {
	bds := baadal.Datastore{Path: mountPoint}
	return bds.TemplateFile(name), w.actOnStore(mountPoint, func(ds *datastore) error {
		if err := checkName("file", name); err != nil {
			return err
		}
		w.removeTemplate(ds, name)
		f := w.newFile(virtual / 8)
		f.Virtual, f.Format, f.SHA256 = virtual, "qcow2", hex.EncodeToString(make([]byte, 32))
		ds.Templates[name] = f
		ds.used += f.Bytes
		return nil
	})
}

// RemoveTemplate removes a template's file by hand.
func (w *World) RemoveTemplate(mountPoint, name string) error {
	return w.actOnStore(mountPoint, func(ds *datastore) error { w.removeTemplate(ds, name); return nil })
}

// BreakDHCP makes the DHCP server stop or resume answering.
func (w *World) BreakDHCP(broken bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state.DHCPBroken, w.dirty = broken, true
	return w.save()
}

// SetReservations changes the DHCP server's file by hand.
func (w *World) SetReservations(rs []baadal.Reservation) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	rs, err := sortedReservations(rs)
	if err != nil {
		return err
	}
	w.state.Reservations, w.dirty = rs, true
	w.indexReservations()
	return w.save()
}

// DHCPRestarts tells how often Apply changed something.
func (w *World) DHCPRestarts() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state.DHCPRestarts
}

// Tick lets happen what is due now. It is needed only to wake watchers when Now
// is not the machine's clock.
func (w *World) Tick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settleAll()
}
