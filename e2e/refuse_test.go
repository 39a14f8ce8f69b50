package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/client"
	"baadal/internal/lab"
)

// TestReadOnlyDatastore makes the datastore read-only under the cloud: a
// creation ends with the reason, and leaves nothing.
func TestReadOnlyDatastore(t *testing.T) {
	ctx := begin(t)
	if err := theLab.SetDatastoreReadOnly(ctx, lab.Datastore, true); err != nil {
		t.Fatal(err)
	}
	writable := func() {
		if err := theLab.SetDatastoreReadOnly(ctx, lab.Datastore, false); err != nil {
			t.Fatal(err)
		}
	}
	c, err := cloud.Client.CreateVM(ctx, baadal.VMCreate{Name: "readonly", Template: "tiny", RAMMiB: 96}, baadal.ChangeOptions{})
	if err != nil {
		if baadal.CodeOf(err) != "datastore_full" { // the measuring loop saw it before us
			t.Errorf("refused with %v", err)
		}
	} else {
		done, err := cloud.Client.WaitTask(ctx, c.Task.ID, nil)
		if err != nil {
			t.Fatal(err)
		}
		if done.State != baadal.TaskFailed || done.Code != "datastore_read_only" || !strings.Contains(strings.ToLower(done.Message), "read-only") {
			t.Errorf("ends as %s, code %q: %s", done.State, done.Code, done.Message)
		}
		t.Log(done.Message)
	}
	writable()
	eventually(t, 90*time.Second, "datastore measured again", datastoreIs(ctx, lab.Datastore, baadal.DatastoreOK))
	eventually(t, 30*time.Second, "no task active", idle(ctx))
	nothingLeft(ctx, t)
}

func datastoreIs(ctx context.Context, name, state string) func() error {
	return func() error {
		d, err := cloud.Client.Datastore(ctx, name)
		if err == nil && d.State != state {
			err = fmt.Errorf("it is %s: %s", d.State, d.Reason)
		}
		return err
	}
}

func idle(ctx context.Context) func() error {
	return func() error {
		list, err := cloud.Client.Tasks(ctx, baadal.ListQuery{Filter: "active:yes"})
		if err == nil && list.Total > 0 {
			err = fmt.Errorf("%d tasks are active", list.Total)
		}
		return err
	}
}

// TestFullDatastore fills a small datastore: an import there ends with the
// reason and leaves nothing; and placement refuses it once it is measured.
func TestFullDatastore(t *testing.T) {
	ctx := begin(t)
	ds, err := cloud.Client.AddDatastore(ctx, baadal.DatastoreAdd{Name: "small", Path: "/mnt/small"}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "small datastore measured", datastoreIs(ctx, "small", baadal.DatastoreOK))
	node(ctx, t, "host1", "sh", "-c", "dd if=/dev/zero of=/mnt/small/ballast bs=1M 2>/dev/null; true")
	image, err := theLab.GuestImage(ctx)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = cloud.Client.Upload(ctx, "small", f, -1, nil)
	if baadal.CodeOf(err) != "datastore_full" {
		t.Errorf("an upload to a full datastore: %v", err)
	}
	t.Log(err)
	if left := node(ctx, t, "host1", "sh", "-c", "ls -A /mnt/small/vm_templates /mnt/small/vm_migration_data"); left != "/mnt/small/vm_migration_data:\n\n/mnt/small/vm_templates:" {
		t.Errorf("left: %s", left)
	}
	node(ctx, t, "host1", "rm", "/mnt/small/ballast")
	if _, err := cloud.Client.RemoveDatastore(ctx, ds.Resource.Name, baadal.ChangeOptions{}); err != nil {
		t.Errorf("remove the small datastore: %v", err)
	}
}

// TestTemplatesThatAreNone uploads what is not a disk image, or an evil one.
func TestTemplatesThatAreNone(t *testing.T) {
	ctx := begin(t)
	for name, content := range map[string]string{
		"text":      "this is not a disk image\n" + strings.Repeat("x", 4096),
		"truncated": "QFI\xfb\x00\x00\x00\x03",
		"empty":     "",
	} {
		up, err := cloud.Client.Upload(ctx, "", strings.NewReader(content), int64(len(content)), nil)
		if err != nil {
			t.Errorf("%s: upload: %v", name, err)
			continue
		}
		c, err := cloud.Client.ImportTemplate(ctx, baadal.TemplateImport{Name: "bad-" + name, UploadID: up.ID}, baadal.ChangeOptions{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		done, err := cloud.Client.WaitTask(ctx, c.Task.ID, nil)
		if err != nil {
			t.Fatal(err)
		}
		if done.State != baadal.TaskFailed || done.Message == "" || done.Message == "internal error" {
			t.Errorf("%s: ends as %s: %q", name, done.State, done.Message)
		}
		t.Logf("%s: %s", name, done.Message)
		if _, err := cloud.Client.Template(ctx, "bad-"+name); baadal.KindOf(err) != baadal.NotFound {
			t.Errorf("%s: the template is still there: %v", name, err)
		}
	}
}

// TestHostileRequests sends what nobody should send.
func TestHostileRequests(t *testing.T) {
	ctx := begin(t)
	_, err := cloud.Client.CreateVM(ctx, baadal.VMCreate{Name: `x;$(reboot) "'`, Template: "tiny"}, baadal.ChangeOptions{})
	if baadal.KindOf(err) != baadal.Invalid {
		t.Errorf("a name with shell in it: %v", err)
	}
	purpose := `'; touch /tmp/owned; $(touch /tmp/owned2) "<domain/>` + "\n"
	vm := create(ctx, t, baadal.VMCreate{Name: "quotes", Purpose: purpose, SSHKeys: []string{`ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJmXq0c1T3l0C5m2bQJ8mSg9Jw0m6m1h0F0yq8m0aA1B "$(reboot)';<&>`}})
	if vm.Purpose != purpose {
		t.Errorf("the purpose came back as %q", vm.Purpose)
	}
	remove(ctx, t, vm.UUID)
	for _, h := range []string{"host1", "host2", "host3"} {
		node(ctx, t, h, "sh", "-c", "! ls /tmp/owned /tmp/owned2 2>/dev/null")
	}
	stranger, err := client.New(client.Config{BaseURL: cloud.URL, Token: "bt_wrong"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.VMs(ctx, baadal.ListQuery{}); baadal.KindOf(err) != baadal.Unauthenticated {
		t.Errorf("a wrong token: %v", err)
	}
	begun := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, cloud.URL+"/api/v1/vms",
		io.MultiReader(strings.NewReader(`{"name":"`), io.LimitReader(endless{}, 100<<20)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+cloud.Client.Token())
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Logf("a body of 100 MB: the server hung up: %v", err)
	} else {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusRequestEntityTooLarge || !bytes.Contains(body, []byte("too_large")) {
			t.Errorf("a body of 100 MB: %s %s", resp.Status, body)
		}
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("a body of 100 MB took %s", took)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}
