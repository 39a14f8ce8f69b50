package workflow

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"baadal"
)

// fetch opens a URL and tells how much comes, -1 if that is not known. A server
// that sends nothing for the time of Options.Stall is given up: Unavailable.
func (w *Workflows) fetch(ctx context.Context, from string) (io.ReadCloser, int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		cancel(nil)
		return nil, 0, baadal.Errorf(baadal.Invalid, "%q is not a usable URL", from).WithField("url")
	}
	from = req.URL.Redacted()
	if req.URL.RawQuery != "" { // it may hold a key
		from = strings.Replace(from, "?"+req.URL.RawQuery, "?…", 1)
	}
	f := &fetched{ctx: ctx, cancel: cancel, stall: w.opt.Stall}
	f.silent = baadal.Errorf(baadal.Unavailable, "%s has sent nothing for %s", from, w.opt.Stall).WithCode("fetch_stalled")
	stop := f.watch()
	resp, err := w.opt.HTTP.Do(req)
	stop()
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		err = f.why(baadal.Errorf(baadal.Unavailable, "fetch %s: %w", from, err))
		cancel(nil)
		return nil, 0, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		cancel(nil)
		kind := baadal.Invalid
		if resp.StatusCode >= 500 {
			kind = baadal.Unavailable
		}
		return nil, 0, baadal.Errorf(kind, "%s answers %s", from, resp.Status).WithCode("fetch_failed")
	}
	f.body = resp.Body
	return f, resp.ContentLength, nil
}

// fetched is the body of an answer. The clock runs only while somebody waits
// for it: whoever reads may take the time he needs in between.
type fetched struct {
	body   io.ReadCloser
	ctx    context.Context //nolint:containedctx // it lives as long as the answer is read
	cancel context.CancelCauseFunc
	stall  time.Duration
	silent error
}

// watch ends the request if stop is not called in time.
func (f *fetched) watch() (stop func()) {
	timer := time.AfterFunc(f.stall, func() { f.cancel(f.silent) })
	return func() { timer.Stop() }
}

// why is the reason for an error: the silence, if it was that.
func (f *fetched) why(err error) error {
	if err != nil && errors.Is(context.Cause(f.ctx), f.silent) {
		return f.silent
	}
	return err
}

func (f *fetched) Read(p []byte) (int, error) {
	stop := f.watch()
	n, err := f.body.Read(p)
	stop()
	return n, f.why(err)
}

// Close ends the fetching.
func (f *fetched) Close() error {
	f.cancel(nil)
	return f.body.Close()
}
