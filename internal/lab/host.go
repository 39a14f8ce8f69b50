package lab

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// machine gives the state of a host or a box; other nodes are refused: the lab cannot be without them.
func (s *state) machine(name string) (*nodeState, error) {
	n, ok := s.Nodes[name]
	if !ok || hostNumber(name) == 0 && name != DHCP && name != NAT {
		return nil, fmt.Errorf("%s: no such host: there are host1 to host%d, %s and %s", name, s.Hosts, DHCP, NAT)
	}
	return n, nil
}

// Kill pulls the power cord of a host, or of the DHCP or NAT box: all that runs on it is gone when it returns, and nothing was told. A host that
// is off stays off.
func (l *Lab) Kill(ctx context.Context, host string) error {
	err := l.change(ctx, func(s *state) error {
		n, err := s.machine(host)
		if err != nil {
			return err
		}
		if err := n.Process.kill(10 * time.Second); err != nil {
			return err
		}
		return l.killMembers(ctx, host) // what was started with NetOnly
	})
	if err != nil {
		return fmt.Errorf("kill: %w", err)
	}
	return nil
}

// Boot switches a host on and returns when its daemons answer. It comes back with its disk, its keys and its libvirt
// definitions, and without running guests. A host that is on is left alone; one that is cut stays cut.
func (l *Lab) Boot(ctx context.Context, host string) error {
	err := l.change(ctx, func(s *state) error {
		n, err := s.machine(host)
		if err != nil || n.Process.alive() {
			return err
		}
		// A booting host has fresh cgroups: version 2 would not take its process 1 beside those of its last life.
		if err := errors.Join(l.killMembers(ctx, host), l.cgroups.remove(host)); err != nil {
			return err
		}
		// The kernel takes a dead node's cables away when it comes to it; the switch forgets their names here.
		if err := l.forgetPorts(ctx, host); err != nil {
			return err
		}
		for _, c := range cablesOf(host) {
			if err := l.dropLink(ctx, c.outside); err != nil {
				return err
			}
		}
		if err := l.powerOn(ctx, s, host); err != nil {
			return err
		}
		if err := l.bringUp(ctx, s, host); err != nil {
			return errors.Join(err, n.Process.kill(10*time.Second)) // off, so that Boot can be tried again
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("boot: %w", err)
	}
	return nil
}

// dropLink removes a link of the switch node; one that is not there is no error.
func (l *Lab) dropLink(ctx context.Context, name string) error {
	const script = `[ ! -e "/sys/class/net/$1" ] || ip link del "$1" || [ ! -e "/sys/class/net/$1" ]`
	return l.run(ctx, Switch, "sh", "-c", script, "sh", name)
}

// Cut takes a host off the management network and off the physical switch. The host lives on and sees its cables in
// place; packets both ways are dropped in silence. Idempotent; a host may be cut while it is off.
func (l *Lab) Cut(ctx context.Context, host string) error { return l.setCut(ctx, host, true) }

// Heal undoes Cut. Idempotent.
func (l *Lab) Heal(ctx context.Context, host string) error { return l.setCut(ctx, host, false) }

func (l *Lab) setCut(ctx context.Context, host string, cut bool) error {
	err := l.change(ctx, func(s *state) error {
		n, err := s.machine(host)
		if err != nil {
			return err
		}
		n.Cut = cut
		switch {
		case !n.Process.alive():
			return nil // Boot minds it
		case cut:
			return l.unplug(ctx, host)
		}
		return l.plug(ctx, host)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", map[bool]string{true: "cut", false: "heal"}[cut], err)
	}
	return nil
}
