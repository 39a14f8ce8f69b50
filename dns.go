package baadal

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// NameRecord ties a VM's name to one of its addresses in the name service,
// forward and reverse.
type NameRecord struct {
	Name string `json:"name"` // below the cloud's domain: web1.asha
	IP   string `json:"ip"`
}

// DNSName is the name of a VM below the cloud's domain: its own label, and its
// owner's. VMs of different owners never share one.
func DNSName(vm, owner string) string { return DNSLabel(vm) + "." + DNSLabel(owner) }

// DNSPlain is what DNSName is for a VM and an owner whose names are labels.
func DNSPlain(vm, owner string) string { return strings.ToLower(vm + "." + owner) }

// DNSLabel makes a DNS label of a name. Letters become small; a name with
// anything else in it than letters, digits and inner dashes gets dashes in these
// places, and a mark that keeps it apart from others that look like it then.
func DNSLabel(name string) string {
	lower := strings.ToLower(name)
	label := strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, lower), "-")
	if label == lower && label != "" {
		return label
	}
	const longest = 63 - 9
	sum := sha256.Sum256([]byte(lower))
	return strings.Trim(label[:min(len(label), longest)]+"-"+hex.EncodeToString(sum[:4]), "-")
}

// CheckDomain refuses what is no DNS domain to put names below.
func CheckDomain(domain string) error {
	bad := Errorf(Invalid, "%q is not a domain", domain).WithDetail("as cloud.example.org: small letters, digits and dashes, without a dot at its ends")
	if domain == "" || len(domain) > 150 {
		return bad
	}
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || len(label) > 63 || DNSLabel(label) != label {
			return bad
		}
	}
	return nil
}
