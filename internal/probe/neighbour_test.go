package probe_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/probe"
	"baadal/internal/ssh"
)

// answering is a box that answers a script with a text.
type answering struct {
	text string
	code int
	runs int
}

func (a *answering) Run(context.Context, baadal.Host, ssh.Command) (ssh.Result, error) {
	a.runs++
	return ssh.Result{Stdout: []byte(a.text), Stderr: []byte("ip: not found\n"), Code: a.code}, nil
}

func TestNeighbours(t *testing.T) {
	t.Parallel()
	box := &answering{text: "192.168.10.9 dev v10 lladdr 02:00:0a:4d:00:09 REACHABLE\n192.168.10.12 dev v10  FAILED\n192.168.20.7 dev v20 lladdr a2:00:00:00:00:07 router DELAY\nnonsense lladdr\nx dev v10 lladdr 02:00:0a:4d:00:0a REACHABLE\n"}
	n := probe.NewNeighbours(box, baadal.Host{Name: "box"})
	got, err := n.Neighbours(t.Context(), []string{"192.168.10.9", "192.168.10.12"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"192.168.10.9": "02:00:0A:4D:00:09", "192.168.20.7": "A2:00:00:00:00:07"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := n.Neighbours(t.Context(), []string{"192.168.10.9\n-f"}); baadal.KindOf(err) != baadal.Invalid || box.runs != 1 {
		t.Errorf("a bad address: %v, asked %d times", err, box.runs)
	}
	box.code = 127
	if _, err := n.Neighbours(t.Context(), nil); err == nil {
		t.Error("a script that failed is believed")
	}
}
