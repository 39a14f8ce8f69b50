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
	ssh(ctx, t, to, "mkdir /tmp/www && truncate -s 64M /tmp/www/zeros && busybox httpd -p 9000 -h /tmp/www")
	fetch := fmt.Sprintf("a=$(cut -d' ' -f1 /proc/uptime); busybox wget -q -O - http://%s:9000/zeros | wc -c; b=$(cut -d' ' -f1 /proc/uptime); echo $a $b", to.Address)
	send := func() time.Duration {
		var bytes int
		var a, b float64
		out := ssh(ctx, t, from, fetch)
		if _, err := fmt.Sscan(out, &bytes, &a, &b); err != nil || bytes != 64<<20 || b <= a {
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
