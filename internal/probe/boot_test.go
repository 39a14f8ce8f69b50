package probe_test

import (
	"strings"
	"testing"

	"baadal/internal/probe"
)

func TestParseBoot(t *testing.T) {
	t.Parallel()
	const id = "0f1e2d3c-aaaa-bbbb-cccc-1234567890ab"
	const rest = " S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 170 13 18446744073709551615"
	for _, c := range []struct{ out, want string }{
		{id + "\n1 (systemd)" + rest + "\n", id + " 4711"},
		{id + "\n1 (a (b) c)" + rest + "\n", id + " 4711"},
		{id + "\n", ""},
		{"\n1 (systemd)" + rest, ""},
		{"", ""},
		{id + "\n1 (systemd) S 0 1", ""},
	} {
		got, err := probe.ParseBoot([]byte(c.out))
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q gives %q, %v", c.out, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), "ask for boot") {
			t.Errorf("%q: %v", c.out, err)
		}
	}
}
