package dhcp_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"baadal"
	"baadal/internal/dhcp"
	"baadal/internal/ssh"
)

// On a disk that is full the old file stays whole and served, nothing of ours
// takes more room, and the words say which disk of which machine.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	onServers(t, testFullDisk)
}

func testFullDisk(t *testing.T, b *box) {
	run := func(argv ...string) string {
		t.Helper()
		out, err := b.command(argv...)
		if err != nil {
			t.Fatalf("%v: %v: %s", argv, err, out)
		}
		return out
	}
	// Our file lies on a small file system of its own, which only the box sees.
	full := b.file("full")
	must(t, os.Mkdir(full, 0o755))
	run("mount", "-t", "tmpfs", "-o", "size=256k,mode=755", "none", full)
	b.write(b.main, strings.Replace(b.read(b.main), b.file(b.ours), full+"/"+b.ours, 1))
	b.ours = "full/" + b.ours
	run("sh", "-c", `printf '`+strings.TrimSpace(b.empty)+`\n' >"$1"`, "sh", b.file(b.ours))

	s, ctx, few := b.dhcp(b), t.Context(), reservations(10, 12)
	must(t, s.Apply(ctx, few))
	held := run("cat", b.file(b.ours))
	room := run("df", "--output=avail", full)
	many := append(reservations(10, 12), reservations(1000, 8000)...)
	loads := b.loads()
	for range 2 {
		err := s.Apply(ctx, many)
		wantCode(t, err, baadal.Exhausted, "dhcp_box_full")
		for _, want := range []string{boxHost.Name, full, "file system: " + full} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q is not in %q", want, err)
			}
		}
		if run("cat", b.file(b.ours)) != held || b.loads() != loads {
			t.Error("our file changed, or was loaded")
		}
		if left := run("df", "--output=avail", full); left != room {
			t.Errorf("there was room for %s, now for %s", room, left)
		}
		if got := b.offer(reservation(11).MAC); got != "192.168.10.11" {
			t.Errorf("offered %q", got)
		}
	}
	_, _ = b.command("dd", "if=/dev/zero", "of="+full+"/theirs", "bs=1k", "count=1000") // not one byte is left
	must(t, s.Apply(ctx, few))
	b.kill()
	must(t, s.Apply(ctx, few))
	if got := b.offer(reservation(11).MAC); got != "192.168.10.11" {
		t.Errorf("offered %q after the server was killed", got)
	}
	run("rm", full+"/theirs")
	must(t, s.Apply(ctx, append(few, reservation(13))))
	if got := b.offer(reservation(13).MAC); got != "192.168.10.13" {
		t.Errorf("offered %q when there was room again", got)
	}
}

// systemctl is what systemd does with a unit made of an init script: it starts it
// five times and no more until the count begins anew, and calls it active though
// its process is gone.
const systemctl = `#!/bin/sh
cd %s
case $1 in
reset-failed) rm -f starts ;;
restart)
	echo start >>starts
	[ "$(wc -l <starts)" -le 5 ] || { echo "Start request repeated too quickly." >&2; exit 1; }
	exec ./restart ;;
is-active) ;;
show) if ./status; then echo running; else echo exited; fi ;;
*) exit 1 ;;
esac
`

// With systemd's defaults: many changes in a row are loaded, and a dhcpd that
// stopped is noticed.
func TestSystemd(t *testing.T) {
	t.Parallel()
	b := newBox(t, servers[0])
	must(t, os.Mkdir(b.file("bin"), 0o755))
	b.write("bin/systemctl", fmt.Sprintf(systemctl, b.dir))
	over := runner(func(ctx context.Context, c ssh.Command) (ssh.Result, error) {
		c.Argv = append([]string{"env", "PATH=" + b.file("bin") + ":" + os.Getenv("PATH")}, c.Argv...)
		return b.Run(ctx, boxHost, c)
	})
	s := dhcp.NewISC(over, boxHost, dhcp.Options{File: b.file(b.ours), MainConfig: b.file(b.main)})
	for i := range 8 {
		must(t, s.Apply(t.Context(), reservations(10, 11+i)))
	}
	if got := b.offer(reservation(18).MAC); got != "192.168.10.18" {
		t.Errorf("offered %q", got)
	}
	b.kill()
	must(t, s.Apply(t.Context(), reservations(10, 18)))
	if got := b.offer(reservation(18).MAC); got != "192.168.10.18" {
		t.Errorf("offered %q after the server was killed", got)
	}
}
