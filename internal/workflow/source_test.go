package workflow_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// TestTemplateFromURL imports from a web server, well and not so well.
func TestTemplateFromURL(t *testing.T) {
	t.Parallel()
	image := make([]byte, 4096)
	copy(image, "QFI\xfb\x00\x00\x00\x03")
	image[28] = 4
	mux := http.NewServeMux()
	mux.HandleFunc("/good", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(image) })
	mux.HandleFunc("/short", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100000")
		_, _ = w.Write(image)
	})
	mux.HandleFunc("/stalls", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100000")
		_, _ = w.Write(image)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("/mute", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	web := httptest.NewServer(mux)
	t.Cleanup(web.Close)
	for name, c := range map[string]struct {
		in    baadal.TemplateImport
		state baadal.TaskState
		words string
	}{
		"good":     {baadal.TemplateImport{URL: web.URL + "/good"}, baadal.TaskSuccess, "is imported successfully"},
		"missing":  {baadal.TemplateImport{URL: web.URL + "/none"}, baadal.TaskFailed, "404"},
		"cut off":  {baadal.TemplateImport{URL: web.URL + "/short"}, baadal.TaskFailed, ""},
		"checksum": {baadal.TemplateImport{URL: web.URL + "/good", SHA256: strings.Repeat("0", 64)}, baadal.TaskFailed, "checksum"},
		"stalls":   {baadal.TemplateImport{URL: web.URL + "/stalls"}, baadal.TaskFailed, "has sent nothing for"},
		"mute":     {baadal.TemplateImport{URL: web.URL + "/mute"}, baadal.TaskFailed, "has sent nothing for"},
		"nobody":   {baadal.TemplateImport{URL: "http://127.0.0.1:1/x"}, baadal.TaskFailed, "fetch"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := open(t, t.TempDir())
			t.Cleanup(cl.close)
			cl.furnish(t)
			before := cl.state()
			c.in.Name = "new"
			ch, err := cl.svc.ImportTemplate(t.Context(), cl.actor, c.in, baadal.ChangeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			done := runToEnd(t, cl, ch.Task.ID)
			if done.State != c.state || !strings.Contains(done.Message, c.words) {
				t.Errorf("ends as %s: %s", done.State, done.Message)
			}
			if after := cl.state(); c.state == baadal.TaskFailed && after != before {
				t.Errorf("left behind:\n%s", after)
			}
		})
	}
}

// runToEnd runs a task until it has ended, well or not, and owes nothing.
func runToEnd(t *testing.T, c *cloud, id int64) (k baadal.Task) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	q := task.New(c.db, task.Options{Backoff: 1})
	q.Register(c.bodies()...)
	if err := q.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := q.Stop(ctx); err != nil {
			t.Error(err)
		}
	}()
	wake, stop := c.db.Subscribe("event")
	defer stop()
	for {
		if err := c.db.View(ctx, func(tx *store.Tx) (err error) { k, err = tx.Task(id); return err }); err != nil {
			t.Fatal(err)
		}
		if k.State.Ended() && !k.UndoPending {
			return k
		}
		<-wake
	}
}
