package libvirt

import (
	"context"
	"fmt"
	"strings"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"baadal"
)

const (
	migrateStall = 30 * time.Second       // without movement the migration is given up
	postCopyFrom = 3                      // the pass over the memory in which post-copy begins, if it may
	migrateLook  = 500 * time.Millisecond // between looks at its progress
	migrateEnd   = 30 * time.Second       // of each of the calls that end it
	abortWait    = 15 * time.Second       // until an aborted job is gone
)

// Migrate moves an active domain with its memory. It speaks to both libvirtds
// itself, as libvirt's own client does, so that the hosts need not trust each
// other; memory goes straight from host to host by TCP, in plain text. The
// definition moves too and stays, shut off, on the source. When ctx ends the
// migration is aborted, unless it was over already.
//
// An error says nothing about where the domain is: ask Half on both hosts.
func (h *Hypervisor) Migrate(ctx context.Context, src, dst baadal.Host, uuid string, opt baadal.Migration, progress func(baadal.MigrationProgress)) (baadal.MigrationProgress, error) {
	const op = "migrate domain"
	_, dom, err := h.lookup(ctx, src, uuid, op)
	if err != nil {
		return baadal.MigrationProgress{}, err
	}
	m := &move{h: h, srcHost: src, dstHost: dst, dom: dom, progress: progress}
	if m.src, err = h.openPatient(ctx, src); err != nil {
		return baadal.MigrationProgress{}, fmt.Errorf("%s: %w", op, err)
	}
	defer m.src.close()
	if m.dst, err = h.openPatient(ctx, dst); err != nil {
		return baadal.MigrationProgress{}, fmt.Errorf("%s: %w", op, err)
	}
	// The destination's libvirtd removes what has not arrived when this
	// connection ends, and the source's lets the domain stay.
	defer m.dst.close()
	m.setFlags(opt)
	if err := m.run(ctx); err != nil {
		return baadal.MigrationProgress{}, m.broken(err)
	}
	for _, host := range []baadal.Host{src, dst} {
		if l, err := h.peer(host).connect(ctx, host); err == nil {
			l.forget(dom.UUID)
		}
	}
	return m.completed(ctx), nil
}

// openPatient makes a connection of its own on which a call may take long.
func (h *Hypervisor) openPatient(ctx context.Context, host baadal.Host) (*link, error) {
	l, err := h.open(ctx, host)
	if err != nil {
		return nil, err
	}
	patient := h.opts
	patient.CallTimeout = 48 * time.Hour
	l.opts = &patient
	return l, nil
}

// move is one migration at work.
type move struct {
	h                *Hypervisor
	srcHost, dstHost baadal.Host
	src, dst         *link // of this migration alone
	dom              golibvirt.Domain
	flags            golibvirt.DomainMigrateFlags
	params           []golibvirt.TypedParam
	progress         func(baadal.MigrationProgress)
	seen             baadal.MigrationProgress
	mayPostCopy      bool
	postCopy         bool      // the guest goes on on the destination: there is no way back
	moved            time.Time // when it was last seen to move
}

func (m *move) setFlags(opt baadal.Migration) {
	m.flags = golibvirt.MigrateLive | golibvirt.MigratePersistDest | golibvirt.MigrateChangeProtection
	if opt.AutoConverge {
		m.flags |= golibvirt.MigrateAutoConverge
	}
	if m.mayPostCopy = opt.PostCopy; m.mayPostCopy {
		m.flags |= golibvirt.MigratePostcopy
	}
	host := m.dstHost.Address
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	m.params = []golibvirt.TypedParam{stringParam(golibvirt.MigrateParamURI, "tcp://"+host)}
	limits := []string{golibvirt.MigrateParamBandwidth}
	if m.mayPostCopy {
		limits = append(limits, golibvirt.MigrateParamBandwidthPostcopy)
	}
	for _, name := range limits {
		if opt.BandwidthMiBs > 0 {
			m.params = append(m.params, golibvirt.TypedParam{
				Field: name, Value: *golibvirt.NewTypedParamValueUllong(uint64(opt.BandwidthMiBs)), //nolint:gosec // it is positive
			})
		}
	}
}

func stringParam(name, value string) golibvirt.TypedParam {
	return golibvirt.TypedParam{Field: name, Value: *golibvirt.NewTypedParamValueString(value)}
}

// dstFlags are the flags for calls to the destination.
func (m *move) dstFlags() uint32 {
	return uint32(m.flags &^ golibvirt.MigrateAutoConverge)
}

// cookie is what one side of a migration tells the other.
type cookie struct {
	data []byte
	text string
}

// run is the sequence of libvirt's virDomainMigrate3.
func (m *move) run(ctx context.Context) error {
	ck, err := call(ctx, m.src, "begin migration", func(rpc *golibvirt.Libvirt) (c cookie, err error) {
		if state, _, err := rpc.DomainGetState(m.dom, 0); err == nil && stateOf(golibvirt.DomainState(state)) == baadal.VMPaused {
			m.flags |= golibvirt.MigratePaused // it stays paused
		}
		c.data, c.text, err = rpc.DomainMigrateBegin3Params(m.dom, m.params, uint32(m.flags))
		return c, err
	})
	if err != nil {
		return err
	}
	if ck, err = m.prepare(ctx, ck); err != nil {
		m.confirm(ctx, nil, true) //nolint:errcheck // nothing has begun; the first error counts
		return err
	}
	ck, cause := m.perform(ctx, ck)
	ck, err = m.finish(ctx, ck, cause != nil)
	if cause != nil {
		return cause // that finishing fails then is its normal answer
	}
	switch {
	case err == nil:
		return m.confirm(ctx, ck.data, false)
	case baadal.KindOf(err) == baadal.Unavailable:
		return err // it may run there: nobody lets it run here
	}
	m.confirm(ctx, nil, true) //nolint:errcheck // the first error counts, and the caller looks at both hosts
	return err
}

// prepare starts the QEMU that waits on the destination.
func (m *move) prepare(ctx context.Context, ck cookie) (cookie, error) {
	if err := m.h.makeConsole(ctx, m.dst, consoleOf(ck.text)); err != nil {
		return cookie{}, err
	}
	params := append([]golibvirt.TypedParam{stringParam(golibvirt.MigrateParamDestXML, ck.text)}, m.params...)
	out, err := call(ctx, m.dst, "prepare migration", func(rpc *golibvirt.Libvirt) (c cookie, err error) {
		var uri golibvirt.OptString
		c.data, uri, err = rpc.DomainMigratePrepare3Params(params, ck.data, m.dstFlags())
		if len(uri) > 0 {
			c.text = uri[0]
		}
		return c, err
	})
	if err == nil && out.text != "" {
		m.params[0] = stringParam(golibvirt.MigrateParamURI, out.text)
	}
	return out, err
}

// perform copies the memory until all of it is there and the guest stands still
// on the source. It gives up when ctx ends, when the destination is lost, or
// when nothing moves any more.
func (m *move) perform(ctx context.Context, ck cookie) (cookie, error) {
	type answer struct {
		ck  cookie
		err error
	}
	done := make(chan answer, 1)
	go func() {
		ck, err := call(context.WithoutCancel(ctx), m.src, "migrate domain", func(rpc *golibvirt.Libvirt) (c cookie, err error) {
			c.data, err = rpc.DomainMigratePerform3Params(m.dom, nil, m.params, ck.data, m.flags)
			return c, err
		})
		done <- answer{ck, err}
	}()
	m.moved = m.h.opts.Now()
	tick := time.NewTicker(migrateLook)
	defer tick.Stop()
	for {
		var why error
		select {
		case a := <-done:
			return a.ck, a.err
		case <-ctx.Done():
			why = interrupted(ctx, m.srcHost.Name, "migrate domain")
		case <-m.dst.conn.done:
			why = m.dst.lost("migrate domain", nil)
		case <-tick.C:
			why = m.look(ctx)
		}
		if why == nil {
			continue
		}
		m.abort(ctx)
		select {
		case a := <-done:
			if a.err != nil {
				a.err = why
			}
			return a.ck, a.err // it may have been over already
		case <-time.After(abortWait):
			m.src.close()
			return cookie{}, why
		}
	}
}

// look tells the progress; an error if there is none for too long.
func (m *move) look(ctx context.Context) error {
	p, ok := m.stats(ctx, m.srcHost, 0)
	now := m.h.opts.Now()
	if ok {
		if p.Processed != m.seen.Processed || p.Remaining != m.seen.Remaining {
			m.moved = now
		}
		p.PostCopy = m.postCopy
		m.seen = p
		m.progress(p)
		if m.mayPostCopy && !m.postCopy && p.Pass >= postCopyFrom {
			m.startPostCopy(ctx)
		}
	}
	if still := now.Sub(m.moved); still > migrateStall {
		return baadal.Errorf(baadal.Unavailable, "the migration from %s to %s stands still", m.srcHost.Name, m.dstHost.Name).WithCode("migration_stalled").
			WithDetail("nothing was copied for %s; %d MiB remained", still.Round(time.Second), p.Remaining>>20)
	}
	return nil
}

// stats reads how the domain's job is, on the connection for calls.
func (m *move) stats(ctx context.Context, host baadal.Host, flags golibvirt.DomainGetJobStatsFlags) (p baadal.MigrationProgress, ok bool) {
	short, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	params, err := do(short, m.h, host, "look at migration", func(rpc *golibvirt.Libvirt) ([]golibvirt.TypedParam, error) {
		kind, params, err := rpc.DomainGetJobStats(m.dom, flags)
		if golibvirt.DomainJobType(kind) == golibvirt.DomainJobNone {
			return nil, err
		}
		return params, err
	})
	if err != nil || len(params) == 0 {
		return p, false
	}
	for _, param := range params {
		v, isNumber := param.Value.I.(uint64)
		if !isNumber {
			continue
		}
		n := int64(v) //nolint:gosec // bytes and milliseconds
		switch param.Field {
		case golibvirt.DomainJobMemoryTotal:
			p.Total = n
		case golibvirt.DomainJobMemoryProcessed:
			p.Processed = n
		case golibvirt.DomainJobMemoryRemaining:
			p.Remaining = n
		case golibvirt.DomainJobMemoryIteration:
			p.Pass = int(n)
		case golibvirt.DomainJobMemoryBps:
			p.Rate = n
		case golibvirt.DomainJobDowntime:
			p.Downtime = time.Duration(n) * time.Millisecond
		}
	}
	return p, true
}

// completed is what the destination tells of the migration that is over.
func (m *move) completed(ctx context.Context) baadal.MigrationProgress {
	p, ok := m.stats(context.WithoutCancel(ctx), m.dstHost, golibvirt.DomainJobStatsCompleted)
	if !ok {
		return m.seen
	}
	p.PostCopy = m.postCopy
	return p
}

func (m *move) abort(ctx context.Context) {
	short, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer stop()
	_, err := do(short, m.h, m.srcHost, "abort migration", func(rpc *golibvirt.Libvirt) (struct{}, error) {
		return struct{}{}, rpc.DomainAbortJob(m.dom)
	})
	if err != nil {
		m.h.opts.Logger.Info("migration not aborted", "host", m.srcHost.Name, "error", err)
	}
}

// finish lets the guest run on the destination, or removes it there. It goes on
// when ctx has ended: the guest stands still meanwhile.
func (m *move) finish(ctx context.Context, ck cookie, cancelled bool) (cookie, error) {
	ctx = context.WithoutCancel(ctx)
	if m.postCopy && !cancelled {
		return m.fetchRest(ctx, ck)
	}
	ctx, stop := context.WithTimeout(ctx, migrateEnd)
	defer stop()
	return m.callFinish(ctx, ck, cancelled)
}

func (m *move) callFinish(ctx context.Context, ck cookie, cancelled bool) (cookie, error) {
	params := append([]golibvirt.TypedParam{stringParam(golibvirt.MigrateParamDestName, m.dom.Name)}, m.params...)
	return call(ctx, m.dst, "finish migration", func(rpc *golibvirt.Libvirt) (c cookie, err error) {
		_, c.data, err = rpc.DomainMigrateFinish3Params(params, ck.data, m.dstFlags(), flag(cancelled))
		return c, err
	})
}

// confirm ends the source's half: it stops there, or runs on if cancelled.
func (m *move) confirm(ctx context.Context, ck []byte, cancelled bool) error {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), migrateEnd)
	defer stop()
	_, err := call(ctx, m.src, "confirm migration", func(rpc *golibvirt.Libvirt) (struct{}, error) {
		return struct{}{}, rpc.DomainMigrateConfirm3Params(m.dom, m.params, ck, uint32(m.flags), flag(cancelled))
	})
	return err
}

func flag(b bool) int32 {
	if b {
		return 1
	}
	return 0
}

// AbortMigration ends a migration out of the host that nobody looks after any
// more, and returns when the domain has no job. No domain is success.
func (h *Hypervisor) AbortMigration(ctx context.Context, host baadal.Host, uuid string) error {
	const op = "abort migration"
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if baadal.KindOf(err) == baadal.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	limit := time.NewTimer(abortWait)
	defer limit.Stop()
	for {
		busy, err := call(ctx, l, op, func(rpc *golibvirt.Libvirt) (bool, error) {
			kind, params, err := rpc.DomainGetJobStats(dom, 0)
			if isCode(err, golibvirt.ErrOperationInvalid) || isCode(err, golibvirt.ErrNoSupport) || golibvirt.IsNotFound(err) { // off, a driver without jobs, or gone
				return false, nil
			}
			if err != nil || golibvirt.DomainJobType(kind) == golibvirt.DomainJobNone {
				return false, err
			}
			if operation(params) == golibvirt.DomainJobOperationStrMigrationOut {
				_ = rpc.DomainAbortJob(dom) // it may just have ended
			}
			return true, nil
		})
		if err != nil || !busy {
			return err
		}
		select {
		case <-ctx.Done():
			return interrupted(ctx, host.Name, op)
		case <-limit.C:
			return baadal.Errorf(baadal.Unavailable, "%s on %s", op, host.Name).WithCode("libvirt_busy").WithDetail("libvirtd is busy with another job of this domain")
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func operation(params []golibvirt.TypedParam) golibvirt.DomainJobOperation {
	for _, p := range params {
		if v, ok := p.Value.I.(int32); ok && p.Field == golibvirt.DomainJobOperationStr {
			return golibvirt.DomainJobOperation(v)
		}
	}
	return golibvirt.DomainJobOperationStrUnknown
}

// Half looks at what a host has of a domain; nothing is no error.
func (h *Hypervisor) Half(ctx context.Context, host baadal.Host, uuid string) (baadal.DomainHalf, error) {
	const op = "look at domain"
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if baadal.KindOf(err) == baadal.NotFound {
		return baadal.DomainHalf{}, nil
	}
	if err != nil {
		return baadal.DomainHalf{}, err
	}
	half, err := call(ctx, l, op, func(rpc *golibvirt.Libvirt) (half baadal.DomainHalf, err error) {
		state, reason, err := rpc.DomainGetState(dom, 0)
		if err != nil {
			return half, err
		}
		persistent, err := rpc.DomainIsPersistent(dom)
		if err != nil {
			return half, err
		}
		saved, err := rpc.DomainHasManagedSaveImage(dom, 0)
		half = baadal.DomainHalf{There: true, State: stateOf(golibvirt.DomainState(state)), Persistent: persistent != 0, Saved: saved != 0}
		half.Migrating = golibvirt.DomainState(state) == golibvirt.DomainPaused && golibvirt.DomainPausedReason(reason) == golibvirt.DomainPausedMigration
		half.PostCopy = inPostCopy(golibvirt.DomainState(state), reason)
		return half, err
	})
	if baadal.KindOf(err) == baadal.NotFound { // gone meanwhile
		return baadal.DomainHalf{}, nil
	}
	return half, err
}

// ResumeMigrated lets a domain run on that a broken migration left standing. One
// that runs is success; QEMU refuses with Conflict if it runs elsewhere.
func (h *Hypervisor) ResumeMigrated(ctx context.Context, host baadal.Host, uuid string) error {
	const op = "resume domain"
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if err != nil {
		return err
	}
	_, err = call(ctx, l, op, func(rpc *golibvirt.Libvirt) (struct{}, error) {
		state, _, err := rpc.DomainGetState(dom, 0)
		if err != nil {
			return struct{}{}, err
		}
		if s := stateOf(golibvirt.DomainState(state)); s == baadal.VMRunning {
			return struct{}{}, nil
		} else if s != baadal.VMPaused {
			return struct{}{}, golibvirt.Error{Code: uint32(golibvirt.ErrOperationInvalid), Message: "domain is " + s.String()}
		}
		return struct{}{}, rpc.DomainResume(dom)
	})
	return err
}
