package dns

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"baadal"
)

const (
	firstLines = "# Baadal's names. This file is written whole by the controller:\n# what is changed here by hand is lost.\n"
	lastLine   = "# end of Baadal's names"

	// The file's own name is answered with this address: whoever gets it knows
	// that the server has read this very file.
	witness = "127.53.53.53"
)

// file is a rendered file of names.
type file struct {
	text []byte
	sum  string // SHA-256 of the text
	own  string // the name that says which file the server has read
}

// render makes the file of these names below the domain, in the order of their
// addresses. What dnsmasq would take for something else is refused.
func render(records []baadal.NameRecord, domain string) (file, error) {
	type entry struct {
		ip   netip.Addr
		name string
	}
	list := make([]entry, 0, len(records))
	seen := map[netip.Addr]bool{}
	for _, r := range records {
		ip, err := netip.ParseAddr(r.IP)
		if err != nil || ip.Zone() != "" || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLoopback() || baadal.CheckDomain(r.Name) != nil {
			return file{}, baadal.Errorf(baadal.Invalid, "the name %q for %q is unusable", r.Name, r.IP).WithCode("bad_name_record")
		}
		if seen[ip] {
			return file{}, baadal.Errorf(baadal.Invalid, "%s has two names", ip).WithCode("duplicate_name_record")
		}
		seen[ip] = true
		list = append(list, entry{ip, r.Name})
	}
	slices.SortFunc(list, func(a, b entry) int { return a.ip.Compare(b.ip) })
	var b bytes.Buffer
	b.WriteString(firstLines)
	for _, e := range list {
		fmt.Fprintf(&b, "%s %s.%s\n", e.ip, e.name, domain)
	}
	sum := sha256.Sum256(b.Bytes())
	f := file{own: "names-" + hex.EncodeToString(sum[:8]) + "." + domain}
	fmt.Fprintf(&b, "%s %s\n%s\n", witness, f.own, lastLine)
	f.text = b.Bytes()
	sum = sha256.Sum256(f.text)
	f.sum = hex.EncodeToString(sum[:])
	return f, nil
}

// Parse reads a file of names, ours or one that was changed by hand: one record
// for each name in each line, without the domain where it has it.
func Parse(text []byte, domain string) ([]baadal.NameRecord, error) {
	var records []baadal.NameRecord
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == witness {
			continue
		}
		ip, err := netip.ParseAddr(words[0])
		if err != nil || len(words) < 2 {
			return nil, fmt.Errorf("not an address with its names: %.100q", line)
		}
		for _, name := range words[1:] {
			records = append(records, baadal.NameRecord{Name: strings.TrimSuffix(name, "."+domain), IP: ip.String()})
		}
	}
	return records, nil
}

// ownName is the name that a file has for itself; none if somebody took it out.
func ownName(text []byte) string {
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) == 2 && words[0] == witness {
			return words[1]
		}
	}
	return ""
}
