package disk_test

import (
	"context"
	"testing"

	"baadal"
	"baadal/internal/disk"
	"baadal/internal/ssh"
)

// answers is a host whose scripts all end alike.
type answers ssh.Result

func (a answers) Run(context.Context, baadal.Host, ssh.Command) (ssh.Result, error) {
	return ssh.Result(a), nil
}

// TestInterruptedIsTriedAgain: a younger attempt ends an older one with a signal,
// and the older one's shell says so once or twice. Whatever else it says counts.
func TestInterruptedIsTriedAgain(t *testing.T) {
	t.Parallel()
	for words, want := range map[string]string{
		"": "interrupted", "Terminated\n": "interrupted", "Terminated\nTerminated\n": "interrupted", "Killed": "interrupted",
		"Terminated\nsomething else\n": "internal", "cp: No space left on device\nTerminated\n": "datastore_full",
	} {
		d := disk.New(answers{Code: 143, Stderr: []byte(words)}, disk.Options{})
		ds := baadal.Datastore{Name: "main", Path: "/mnt/main"}
		if err := d.CreateImage(t.Context(), testHost, image(ds, "a", uuidA)); baadal.CodeOf(err) != want {
			t.Errorf("%q: %v (%s), want %s", words, err, baadal.CodeOf(err), want)
		}
	}
}
