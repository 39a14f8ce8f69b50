package baadal_test

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"baadal"
)

// mark is what keeps a changed name apart from others.
func mark(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:4])
}

func TestDNSLabel(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"web1": "web1", "a-b": "a-b", "1": "1", "a--b": "a--b",
		"Web1":  "web1", // an owner's names differ in more than capitals
		"web_1": "web-1-" + mark("web_1"),
		"WEB_1": "web-1-" + mark("web_1"),
		"web-":  "web-" + mark("web-"),
		"a.b":   "a-b-" + mark("a.b"),
		"___":   mark("___"),
		"":      mark(""),
	} {
		got := baadal.DNSLabel(name)
		if got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
		if baadal.DNSLabel(got) != got {
			t.Errorf("%q gives %q, which is no label", name, got)
		}
	}
	seen := map[string]string{}
	for _, name := range []string{"web-1", "web_1", "web-1-", "web--1", "web_1_", "web-1_", "web.1", "-web-1"} {
		label := baadal.DNSLabel(name)
		if other, taken := seen[label]; taken {
			t.Errorf("%q and %q are both %q", name, other, label)
		}
		seen[label] = name
	}
	if long := baadal.DNSLabel(strings.Repeat("a_", 60)); len(long) > 63 || baadal.DNSLabel(long) != long {
		t.Errorf("a long name gives %q", long)
	}
	if got := baadal.DNSName("Web_1", "a.b"); strings.Count(got, ".") != 1 || got == baadal.DNSName("Web_1", "a_b") {
		t.Errorf("got %q", got)
	}
}

func TestCheckDomain(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"cloud.test", "vms.cs.example.org", "lan"} {
		if err := baadal.CheckDomain(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", ".", "cloud.test.", ".test", "a..b", "Cloud.test", "a_b.test", "a b", "x\n", "-a.test", strings.Repeat("a", 64), strings.Repeat("a.", 100) + "b"} {
		if err := baadal.CheckDomain(bad); baadal.KindOf(err) != baadal.Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
