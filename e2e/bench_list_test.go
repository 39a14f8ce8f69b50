package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"baadal"
	"baadal/client"
	"baadal/internal/libvirt/libvirttest"
)

// benchList measures a list of 1,000 VMs over the API of a server with simulated
// hosts, against virsh listing as many domains of libvirt's test driver.
func benchList(ctx context.Context, t *testing.T) row {
	t.Helper()
	const n = 1000
	api := simulated(ctx, t, 50)
	var tasks []int64
	for i := range n {
		c, err := api.CreateVM(ctx, baadal.VMCreate{Name: fmt.Sprintf("vm%d", i), Template: "bench", VCPUs: 1, RAMMiB: 128}, baadal.ChangeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		tasks = append(tasks, c.Task.ID)
	}
	for _, id := range tasks {
		if done, err := api.WaitTask(ctx, id, nil); err != nil || done.State != baadal.TaskSuccess {
			t.Fatalf("task %d: %s %v", id, done.Message, err)
		}
	}
	uri := testDomains(ctx, t, n)
	r := row{what: "list 1,000 VMs over the API, JSON read", rival: "virsh list --all of 1,000 domains (test driver)"}
	for range 10 {
		begun := time.Now()
		list, err := api.VMs(ctx, baadal.ListQuery{Limit: n})
		r.ours = append(r.ours, time.Since(begun))
		if err != nil || len(list.Items) != n {
			t.Fatalf("%d VMs: %v", len(list.Items), err)
		}
		begun = time.Now()
		out, err := exec.CommandContext(ctx, "virsh", "-q", "-c", uri, "list", "--all").Output() //nolint:gosec // our own socket
		r.other = append(r.other, time.Since(begun))
		if err != nil || strings.Count(string(out), "bench") != n {
			t.Fatalf("virsh: %v", err)
		}
	}
	return r
}

// testDomains defines n domains in a private libvirtd's test driver.
func testDomains(ctx context.Context, t *testing.T, n int) (uri string) {
	t.Helper()
	uri = "test+unix:///default?socket=" + libvirttest.StartDaemon(t)
	dir := t.TempDir()
	var script strings.Builder
	keep := exec.CommandContext(ctx, "virsh", "-q", "-c", uri) //nolint:gosec // our own socket
	for i := range n {
		file := filepath.Join(dir, fmt.Sprintf("%d.xml", i))
		xml := fmt.Sprintf("<domain type='test'><name>bench%d</name><memory unit='MiB'>128</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain>", i)
		if err := os.WriteFile(file, []byte(xml), 0o600); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&script, "define %s\n", file)
	}
	in, err := keep.StdinPipe() // stays open: the driver's state lives as long as a connection
	if err != nil {
		t.Fatal(err)
	}
	if err := keep.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = keep.Wait() })
	if _, err := in.Write([]byte(script.String())); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "test domains defined", func() error {
		out, err := exec.CommandContext(ctx, "virsh", "-q", "-c", uri, "list", "--all").Output() //nolint:gosec // our own socket
		if got := strings.Count(string(out), "bench"); err == nil && got != n {
			err = fmt.Errorf("%d domains", got)
		}
		return err
	})
	return uri
}

// simulated runs a server with simulated hosts and gives it all a VM needs.
func simulated(ctx context.Context, t *testing.T, hosts int) *client.Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	var out strings.Builder
	cmd := exec.CommandContext(ctx, os.Getenv("BAADAL_TEST_BINARY"), "serve", "--simulate", fmt.Sprint(hosts), "--state", t.TempDir(), "--listen", addr) //nolint:gosec // the program under test
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() })
	api, err := client.New(client.Config{BaseURL: "http://" + addr})
	if err != nil {
		t.Fatal(err)
	}
	password := regexp.MustCompile(`one-time password (\S+)`)
	eventually(t, 30*time.Second, "simulated server up", func() error {
		m := password.FindStringSubmatch(out.String())
		if m == nil {
			return fmt.Errorf("it has not said its password")
		}
		if _, err := api.SignIn(ctx, "admin", m[1]); err != nil {
			return err
		}
		if err := api.ChangePassword(ctx, m[1], "bench-"+m[1]); err != nil {
			return err
		}
		_, err := api.SignIn(ctx, "admin", "bench-"+m[1])
		return err
	})
	furnishSimulated(ctx, t, api, hosts)
	return api
}

func furnishSimulated(ctx context.Context, t *testing.T, api *client.Client, hosts int) {
	t.Helper()
	await := func(k *baadal.Task, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if done, err := api.WaitTask(ctx, k.ID, nil); err != nil || done.State != baadal.TaskSuccess {
			t.Fatalf("%s: %s %v", done.Kind, done.Message, err)
		}
	}
	for i := range hosts {
		in := baadal.HostAdd{Address: fmt.Sprintf("10.77.0.%d", 11+i), Name: fmt.Sprintf("host%d", i+1)}
		_, err := api.AddHost(ctx, in, baadal.ChangeOptions{})
		in.Fingerprint = fingerprintIn(err)
		c, err := api.AddHost(ctx, in, baadal.ChangeOptions{})
		await(c.Task, err)
	}
	if _, err := api.AddDatastore(ctx, baadal.DatastoreAdd{Name: "main", Path: "/mnt/datastore"}, baadal.ChangeOptions{}); err != nil {
		t.Fatal(err)
	}
	n, err := api.CreateNetwork(ctx, baadal.NetworkCreate{Name: "bench", VLAN: 10, CIDR: "10.10.0.0/20"}, baadal.ChangeOptions{})
	await(n.Task, err)
	eventually(t, 30*time.Second, "datastore measured", func() error {
		d, err := api.Datastore(ctx, "main")
		if err == nil && d.State != baadal.DatastoreOK {
			err = fmt.Errorf("it is %s", d.State)
		}
		return err
	})
	header := make([]byte, 4096)
	copy(header, "QFI\xfb\x00\x00\x00\x03")
	header[28] = 4 // 64 MiB, big endian at 24
	up, err := api.Upload(ctx, "", strings.NewReader(string(header)), int64(len(header)), nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := api.ImportTemplate(ctx, baadal.TemplateImport{Name: "bench", UploadID: up.ID}, baadal.ChangeOptions{})
	await(m.Task, err)
}

// fingerprintIn is the fingerprint that the first answer to adding a host shows.
func fingerprintIn(err error) string {
	if e, ok := errors.AsType[*baadal.Error](err); ok {
		return e.Detail
	}
	return ""
}
