package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/lab"
)

// row is one line of the table: ours beside what a user would use instead,
// measured in turns in one run.
type row struct {
	what, rival string
	ours, other []time.Duration
	reach       float64 // the ratio to reach; 0 for a figure without a rival
}

func median(all []time.Duration) time.Duration { return at(all, 50) }

func at(all []time.Duration, percent int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, len(sorted)*percent/100)]
}

// TestBench prints the table of `make bench`. It is no timed test: nothing fails
// for being slow, except a rival that does not run at all.
func TestBench(t *testing.T) {
	if os.Getenv("BAADAL_BENCH") == "" {
		t.Skip("a measurement: make bench")
	}
	ctx := begin(t)
	// virt-install reads this; /var is the node's own.
	ids, err := os.ReadFile("/var/lib/usbutils/usb.ids")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll(theLab.NodePath("host1", "/var/lib/usbutils"), 0o755),
		os.WriteFile(theLab.NodePath("host1", "/var/lib/usbutils/usb.ids"), ids, 0o644)); err != nil { //nolint:gosec // it is public
		t.Fatal(err)
	}
	const rounds = 10
	install := row{what: "create → running (API call → domain running)", rival: "virt-install --import over SSH", reach: 0.6}
	bare := row{what: "create → running", rival: "virsh define + start on the host, disk ready", reach: 1.1}
	first := row{what: "task accepted → first step running", rival: "-"}
	share := row{what: "the controller's own share of a create", rival: "-"}
	for i := range rounds {
		ours, begun, own := benchCreate(ctx, t, i)
		install.ours, bare.ours = append(install.ours, ours), append(bare.ours, ours)
		first.ours, share.ours = append(first.ours, begun), append(share.ours, own)
		install.other = append(install.other, benchInstall(ctx, t, i))
		bare.other = append(bare.other, benchBare(ctx, t, i))
	}
	rows := []row{install, bare, first, share, benchList(ctx, t), benchClones(ctx, t), benchFlows(ctx, t)}
	printTable(append(append(rows, benchMigrate(ctx, t)...), append(benchDHCP(ctx, t), benchNAT(ctx, t))...)...)
}

// benchCreate measures a creation on host1 from the call to the end of its last
// step, and in it how long the task waited and what was not work on the host.
func benchCreate(ctx context.Context, t *testing.T, i int) (total, wait, own time.Duration) {
	t.Helper()
	name := fmt.Sprintf("bench%d", i)
	begun := time.Now()
	c, err := cloud.Client.CreateVM(ctx, baadal.VMCreate{Name: name, Template: "tiny", RAMMiB: 128, Host: "host1"}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	done, err := cloud.Await(ctx, c.Task, nil)
	total = time.Since(begun)
	if err != nil {
		t.Fatal(err)
	}
	var work time.Duration
	for _, s := range done.Steps {
		work += s.EndedAt.Sub(*s.StartedAt)
	}
	remove(ctx, t, name)
	return total, done.StartedAt.Sub(done.CreatedAt), total - work
}

// benchInstall does what an administrator does without us: a thin disk on the
// template and virt-install, over SSH from the controller.
func benchInstall(ctx context.Context, t *testing.T, i int) time.Duration {
	t.Helper()
	name := fmt.Sprintf("install%d", i)
	disk := "/mnt/datastore/" + name + ".qcow2"
	defer func() {
		node(ctx, t, "host1", "virsh", "-q", "destroy", name)
		node(ctx, t, "host1", "virsh", "-q", "undefine", name)
		node(ctx, t, "host1", "rm", "-f", disk)
	}()
	begun := time.Now()
	out, err := theLab.CommandWith(ctx, lab.Controller, lab.ExecOptions{NetOnly: true}, "ssh", "-n", "-i", theLab.SSHKeyPath(), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
		"root@"+theLab.HostAddress(1), "--",
		"qemu-img create -q -f qcow2 -b "+templateFile(ctx, t)+" -F qcow2 "+disk+" && "+
			"virt-install -q --connect qemu:///system --virt-type qemu --name "+name+" --memory 128 --vcpus 1 --import --osinfo linux2020 "+
			"--disk path="+disk+",bus=virtio,cache=none --network network=ovs-net,portgroup=vlan10,model=virtio "+
			"--graphics vnc --noautoconsole").CombinedOutput()
	if err != nil {
		t.Fatalf("virt-install: %v\n%s", err, out)
	}
	return time.Since(begun)
}

// benchBare defines and starts the domain of a VM of ours by hand, under another
// name, with its disk ready: libvirt and QEMU alone.
func benchBare(ctx context.Context, t *testing.T, i int) time.Duration {
	t.Helper()
	name := fmt.Sprintf("bare%d", i)
	disk := "/mnt/datastore/" + name + ".qcow2"
	node(ctx, t, "host1", "qemu-img", "create", "-q", "-f", "qcow2", "-b", templateFile(ctx, t), "-F", "qcow2", disk)
	xml := `<domain type='qemu'><name>` + name + `</name><memory unit='MiB'>128</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/><apic/></features>
<devices><disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none'/><source file='` + disk + `'/><target dev='vda' bus='virtio'/></disk>
<interface type='network'><source network='ovs-net' portgroup='vlan10'/><model type='virtio'/></interface>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
<graphics type='vnc' autoport='yes'/><video><model type='vga'/></video></devices></domain>`
	file := "/root/" + name + ".xml"
	if err := os.WriteFile(theLab.NodePath("host1", file), []byte(xml), 0o600); err != nil {
		t.Fatal(err)
	}
	defer func() {
		node(ctx, t, "host1", "virsh", "-q", "destroy", name)
		node(ctx, t, "host1", "virsh", "-q", "undefine", name)
		node(ctx, t, "host1", "rm", "-f", disk, file)
	}()
	begun := time.Now()
	node(ctx, t, "host1", "virsh", "-q", "define "+file+"; start "+name)
	return time.Since(begun)
}

func templateFile(ctx context.Context, t *testing.T) string {
	t.Helper()
	m, err := cloud.Client.Template(ctx, "tiny")
	if err != nil {
		t.Fatal(err)
	}
	return "/mnt/datastore/vm_templates/" + m.File
}

func printTable(rows ...row) {
	fmt.Printf("\n%-46s %10s %10s   %-46s %10s %7s %7s\n", "what", "median", "max", "against", "median", "ratio", "reach")
	fmt.Println(strings.Repeat("-", 142))
	for _, r := range rows {
		ratio, reach, other := "", "", ""
		if len(r.other) > 0 {
			other = ms(median(r.other))
			ratio = fmt.Sprintf("%.2f×", median(r.ours).Seconds()/median(r.other).Seconds())
			if r.reach > 0 {
				reach = fmt.Sprintf("%.1f×", r.reach)
			}
		}
		fmt.Printf("%-46s %10s %10s   %-46s %10s %7s %7s\n", r.what, ms(median(r.ours)), ms(at(r.ours, 100)), r.rival, other, ratio, reach)
	}
	fmt.Println()
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
