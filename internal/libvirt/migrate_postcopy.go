package libvirt

import (
	"context"
	"fmt"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"baadal"
)

// A post-copy begins as any migration. When the memory was copied several times
// and the guest still writes faster, it goes on on the destination, and the rest
// of its memory follows, first what it asks for. perform returns then, and finish
// lasts until all is there.

// startPostCopy lets the guest go on on the destination, which fetches the rest
// of its memory as it needs it. If that is refused the copying goes on as before.
func (m *move) startPostCopy(ctx context.Context) {
	short, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	_, err := do(short, m.h, m.srcHost, "start post-copy", func(rpc *golibvirt.Libvirt) (struct{}, error) {
		return struct{}{}, rpc.DomainMigrateStartPostCopy(m.dom, 0)
	})
	if m.postCopy = err == nil; err != nil {
		m.h.opts.Logger.Info("post-copy not started", "host", m.srcHost.Name, "error", err)
	}
}

// broken says what a failure means once post-copy has begun.
func (m *move) broken(err error) error {
	if !m.postCopy {
		return err
	}
	return &baadal.Error{
		Kind: baadal.Conflict, Code: "postcopy_lost", Err: err, Title: fmt.Sprintf("the post-copy from %s to %s broke", m.srcHost.Name, m.dstHost.Name),
		Detail: "unless all of its memory had arrived, what was in it is lost and the VM is off, as after a power failure",
	}
}

// fetchRest is finish of a post-copy: it lasts until the destination has all of
// the memory, or nothing of it moves any more.
func (m *move) fetchRest(ctx context.Context, ck cookie) (cookie, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	type answer struct {
		ck  cookie
		err error
	}
	done := make(chan answer, 1)
	go func() {
		ck, err := m.callFinish(ctx, ck, false)
		done <- answer{ck, err}
	}()
	tick := time.NewTicker(migrateLook)
	defer tick.Stop()
	for {
		select {
		case a := <-done:
			return a.ck, a.err
		case <-m.dst.conn.done:
			return cookie{}, m.dst.lost("fetch the rest of the memory", nil)
		case <-tick.C:
			if err := m.look(ctx); err != nil {
				return cookie{}, err
			}
		}
	}
}

// inPostCopy reports whether a domain has only a part of its memory.
func inPostCopy(state golibvirt.DomainState, reason int32) bool {
	switch state {
	case golibvirt.DomainRunning:
		r := golibvirt.DomainRunningReason(reason)
		return r == golibvirt.DomainRunningPostcopy || r == golibvirt.DomainRunningPostcopyFailed
	case golibvirt.DomainPaused:
		r := golibvirt.DomainPausedReason(reason)
		return r == golibvirt.DomainPausedPostcopy || r == golibvirt.DomainPausedPostcopyFailed
	default:
		return false
	}
}
