package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/lab"
)

// benchFlows sends 64 MiB over TCP between two guests on one host, in turns with
// the rules on their ports and without.
func benchFlows(ctx context.Context, t *testing.T) row {
	t.Helper()
	r := row{what: "64 MiB over TCP between two guests, with the rules on their ports", rival: "without"}
	from := guest(ctx, t, baadal.VMCreate{Name: "bench-from", Host: "host1"})
	to := guest(ctx, t, baadal.VMCreate{Name: "bench-to", Host: "host1"})
	defer func() {
		antiSpoofing(ctx, t, "true")
		remove(ctx, t, from.UUID)
		remove(ctx, t, to.UUID)
	}()
	send := func() time.Duration {
		ssh(ctx, t, to, "(nc -l -p 9000 >/dev/null 2>&1 </dev/null) >/dev/null 2>&1 &")
		out := ssh(ctx, t, from, fmt.Sprintf("sleep 0.5; a=$(cut -d' ' -f1 /proc/uptime); dd if=/dev/zero bs=64k count=1024 2>/dev/null | nc -w 30 %s 9000; b=$(cut -d' ' -f1 /proc/uptime); echo $a $b", to.Address))
		var a, b float64
		if _, err := fmt.Sscan(out, &a, &b); err != nil || b <= a {
			t.Fatalf("%q: %v", out, err)
		}
		return time.Duration((b - a) * float64(time.Second))
	}
	for range 5 {
		for _, on := range []string{"true", "false"} {
			antiSpoofing(ctx, t, on)
			eventually(t, 10*time.Second, "rules: "+on, func() error {
				out := node(ctx, t, "host1", "ovs-ofctl", "-OOpenFlow14", "--no-stats", "dump-flows", lab.HostBridge)
				if strings.Contains(out, "nw_src="+to.Address) != (on == "true") {
					return errors.New(out)
				}
				return nil
			})
			if d := send(); on == "true" {
				r.ours = append(r.ours, d)
			} else {
				r.other = append(r.other, d)
			}
		}
	}
	return r
}
