package lab

import (
	"context"
	"fmt"
)

// dhcpRestart is the program of the DHCP box that restarts its server, or "" if
// there is no such server.
func dhcpRestart(kind string) string {
	return map[string]string{DHCPISC: "/etc/dhcp/restart-dhcpd", DHCPKea: "/etc/kea/restart-kea"}[kind]
}

func (l *Lab) startDHCP(ctx context.Context, kind string) error {
	if err := l.run(ctx, DHCP, dhcpRestart(kind)); err != nil {
		return fmt.Errorf("start the DHCP server: %w", err)
	}
	return nil
}

// UseDHCP ends the DHCP box's server and starts the other one, which has what its own files say: those of the first
// are not looked at. The one that runs is left alone.
func (l *Lab) UseDHCP(ctx context.Context, kind string) error {
	err := l.change(ctx, func(s *state) error {
		if dhcpRestart(kind) == "" {
			return fmt.Errorf("%q is no DHCP server: want %s or %s", kind, DHCPISC, DHCPKea)
		}
		if s.DHCP == kind {
			return nil
		}
		if err := l.run(ctx, DHCP, dhcpRestart(s.DHCP), "stop"); err != nil {
			return fmt.Errorf("stop the DHCP server: %w", err)
		}
		s.DHCP = kind
		return l.startDHCP(ctx, kind)
	})
	if err != nil {
		return fmt.Errorf("use another DHCP server: %w", err)
	}
	return nil
}
