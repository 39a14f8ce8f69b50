package dhcp

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"unicode"

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

// render makes the file of these reservations, in the order of their addresses.
// dhcpd itself takes a MAC address that is there twice without a word, so
// doubles are refused here.
func render(rs []baadal.Reservation) ([]byte, error) {
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
	var b bytes.Buffer
	b.WriteString(firstLines)
	for _, r := range list {
		fmt.Fprintf(&b, "host %s { hardware ethernet %s; fixed-address %s; }\n", r.name, r.mac, r.ip)
	}
	b.WriteString(lastLine + "\n")
	return b.Bytes(), nil
}

// checkReservation refuses what dhcpd would not take or take for something else.
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

// Parse reads a file of reservations, ours or one that was changed by hand, as
// long as it holds nothing but host blocks of a MAC and an IP address. MAC
// addresses come back in upper case.
func Parse(text []byte) ([]baadal.Reservation, error) {
	var rs []baadal.Reservation
	words := tokens(text)
	for len(words) > 0 {
		w := words[:min(len(words), blockWords)]
		if len(w) < blockWords || w[0] != "host" || w[2] != "{" || w[3] != "hardware" || w[4] != "ethernet" ||
			w[6] != ";" || w[7] != "fixed-address" || w[9] != ";" || w[10] != "}" {
			return nil, fmt.Errorf("not a reservation: %.100q", strings.Join(w, " "))
		}
		c, err := checkReservation(baadal.Reservation{Name: w[1], MAC: w[5], IP: w[8]})
		if err != nil {
			return nil, err
		}
		rs = append(rs, baadal.Reservation{Name: c.name, MAC: c.mac, IP: c.ip.String()})
		words = words[blockWords:]
	}
	return rs, nil
}

// blockWords is the number of words of a host block:
// host NAME { hardware ethernet MAC ; fixed-address IP ; }.
const blockWords = 11

// tokens splits the file into words; braces and semicolons are words of their
// own, comments go to the end of the line.
func tokens(text []byte) []string {
	var words []string
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		start := -1
		for i, r := range line {
			mark := r == '{' || r == '}' || r == ';'
			if start >= 0 && (mark || unicode.IsSpace(r)) {
				words = append(words, line[start:i])
				start = -1
			}
			switch {
			case mark:
				words = append(words, line[i:i+1])
			case start < 0 && !unicode.IsSpace(r):
				start = i
			}
		}
		if start >= 0 {
			words = append(words, line[start:])
		}
	}
	return words
}
