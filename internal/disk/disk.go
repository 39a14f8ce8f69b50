// Package disk works on datastores through the hosts that mount them: it makes,
// archives, restores and removes the folders of VMs, imports templates, and
// looks at what is there. Each operation is one fixed shell script that a host
// runs once; values reach it as positional parameters only.
//
// A VM's folder is made under a temporary name beside its place and renamed when
// it is whole, so a killed operation leaves nothing under a VM's name. Temporary
// names begin with a dot and the VM's UUID; whoever works for that VM next
// removes them. A folder without the VM's mark is never changed or removed.
//
// The package must not know what a VM, a host's state or a task is, and keeps
// nothing between two calls.
package disk

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"time"

	"baadal"
	"baadal/internal/ssh"
)

// Runner runs commands on hosts. ssh.Pool is one.
type Runner interface {
	// Run returns when the command ended; a non-zero exit code is no error.
	// After ctx ended the command has been told to end, too.
	Run(ctx context.Context, host baadal.Host, cmd ssh.Command) (ssh.Result, error)
}

// Disks works on datastores. It is safe for concurrent use; two calls for one
// VM, or for one template, at the same time may end in Unavailable for one of
// them: the younger one takes over.
type Disks struct {
	runner Runner
	now    func() time.Time
}

// Options sets up Disks; all may be left out.
type Options struct {
	Now func() time.Time // paces the progress calls; time.Now if nil
}

// New returns Disks that work through the runner.
func New(runner Runner, opts Options) *Disks {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Disks{runner: runner, now: opts.Now}
}

// How long a script may take if the caller's context allows longer. A datastore
// that hangs must not hold a caller for ever.
const (
	quick  = time.Minute
	slow   = 15 * time.Minute // looks at or removes whole folders
	copies = 12 * time.Hour   // reads or writes whole images
)

// listLimit bounds the output of a listing: some 100,000 VMs.
const listLimit = 64 << 20

// work is one run of a script.
type work struct {
	script string
	args   []string
	stdin  io.Reader
	stdout io.Writer // receives the output as it comes; nil: it is collected
	limit  time.Duration
	output int // most bytes of output; 0 is 1 MiB
}

// run runs a script on the host and returns what it printed and what it
// complained of. Its failures become errors with words for people.
func (d *Disks) run(ctx context.Context, host baadal.Host, ds baadal.Datastore, w work) (stdout, stderr []byte, err error) {
	if err := baadal.CheckDatastorePath(ds.Path); err != nil {
		return nil, nil, err
	}
	argv := append([]string{"sh", "-c", prelude + w.script, "baadal", ds.Path}, w.args...)
	res, err := d.runner.Run(ctx, host, ssh.Command{Argv: argv, Stdin: w.stdin, Stdout: w.stdout, Timeout: w.limit, Limit: w.output})
	if err != nil {
		return nil, nil, err
	}
	if res.Code != 0 {
		return nil, nil, explain(host, ds, res)
	}
	return res.Stdout, res.Stderr, nil
}

// attempt returns a name that no other attempt has: 8 letters and digits, as the
// scripts expect.
func attempt() string { return rand.Text()[:8] }

// fields splits what a script printed.
func fields(b []byte) []string {
	var out []string
	for f := range bytes.FieldsSeq(b) {
		out = append(out, string(f))
	}
	return out
}
