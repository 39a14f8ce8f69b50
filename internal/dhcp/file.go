package dhcp

import (
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"baadal"
)

const (
	firstLines = "# Baadal's reservations. This file is written whole by the controller:\n# what is changed here by hand is lost.\n"
	lastLine   = "# end of Baadal's reservations"
)

var nameRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,62}$`)

// reservation is a checked one.
type reservation struct {
	name, mac string
	ip        netip.Addr
}

// check refuses what a server would not take or take for something else, and
// puts the rest into the order of the addresses. dhcpd itself takes a MAC
// address that is there twice without a word, so doubles are refused here.
func check(rs []baadal.Reservation) ([]reservation, error) {
	list := make([]reservation, 0, len(rs))
	names, macs, ips := map[string]bool{}, map[string]bool{}, map[netip.Addr]bool{}
	for _, r := range rs {
		c, err := checkReservation(r)
		if err != nil {
			return nil, err
		}
		if key := strings.ToLower(c.name); names[key] || macs[c.mac] || ips[c.ip] {
			return nil, baadal.Errorf(baadal.Invalid, "reservation %s (%s, %s) uses a name, MAC or IP address that another one has", r.Name, r.MAC, r.IP).
				WithCode("duplicate_reservation")
		}
		names[strings.ToLower(c.name)], macs[c.mac], ips[c.ip] = true, true, true
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b reservation) int { return a.ip.Compare(b.ip) })
	return list, nil
}

// checkReservation checks one by itself.
func checkReservation(r baadal.Reservation) (reservation, error) {
	bad := func(what string) (reservation, error) {
		return reservation{}, baadal.Errorf(baadal.Invalid, "reservation %q has an unusable %s", r.Name, what).WithCode("bad_reservation").
			WithDetail("MAC address %q, IP address %q", r.MAC, r.IP)
	}
	if !nameRE.MatchString(r.Name) {
		return bad("name")
	}
	mac, err := net.ParseMAC(r.MAC)
	if err != nil || len(mac) != 6 || mac[0]&1 != 0 {
		return bad("MAC address")
	}
	ip, err := netip.ParseAddr(r.IP)
	if err != nil || !ip.Is4() || ip.IsUnspecified() || ip.IsMulticast() {
		return bad("IP address")
	}
	return reservation{name: r.Name, mac: strings.ToUpper(mac.String()), ip: ip}, nil
}
