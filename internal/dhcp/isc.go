package dhcp

import (
	"bytes"
	_ "embed"
	"fmt"
	"strings"
	"unicode"

	"baadal"
)

//go:embed files/isc.sh
var iscScript string

// NewISC returns the ISC dhcpd on the host. Nothing is asked of it yet.
func NewISC(runner Runner, host baadal.Host, opts Options) *Server {
	if opts.File == "" {
		opts.File = "/etc/dhcp/baadal.conf"
	}
	if opts.MainConfig == "" {
		opts.MainConfig = "/etc/dhcp/dhcpd.conf"
	}
	if len(opts.Restart) == 0 {
		opts.Restart = []string{"systemctl", "restart", "isc-dhcp-server"}
		if len(opts.Status) == 0 {
			opts.Status = []string{"sh", "-c", `[ "$(systemctl show --property=SubState --value isc-dhcp-server)" = running ]`}
		}
	}
	return newServer(product{
		name: "ISC dhcpd", pack: "isc-dhcp-server", unit: "isc-dhcp-server", script: iscScript, look: "dhcpd -t -cf",
		render: renderISC, parse: ParseISC, words: iscWords,
		include: func(file string) string { return fmt.Sprintf("include %q;", file) },
	}, runner, host, opts)
}

func renderISC(rs []reservation) []byte {
	var b bytes.Buffer
	b.WriteString(firstLines)
	for _, r := range rs {
		fmt.Fprintf(&b, "host %s { hardware ethernet %s; fixed-address %s; }\n", r.name, r.mac, r.ip)
	}
	b.WriteString(lastLine + "\n")
	return b.Bytes()
}

// ParseISC reads a file of reservations, ours or one that was changed by hand, as
// long as it holds nothing but host blocks of a MAC and an IP address. MAC
// addresses come back in upper case.
func ParseISC(text []byte) ([]baadal.Reservation, error) {
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

// iscWords leaves out what dhcpd says about itself every time.
func iscWords(said string) string {
	var keep []string
	for line := range strings.Lines(said) {
		line = strings.TrimSpace(line)
		switch {
		case line == "", strings.HasPrefix(line, "Internet Systems Consortium"), strings.HasPrefix(line, "Copyright"),
			strings.HasPrefix(line, "All rights reserved"), strings.HasPrefix(line, "For info, please visit"):
		case strings.HasPrefix(line, "If you think you have received"):
			return strings.Join(keep, "; ")
		default:
			keep = append(keep, line)
		}
	}
	return strings.Join(keep[max(0, len(keep)-6):], "; ")
}
