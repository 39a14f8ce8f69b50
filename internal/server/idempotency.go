package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"baadal"
)

// Headers of a repeatable call.
const (
	keyHeader    = "Idempotency-Key"
	replayHeader = "Idempotency-Replayed"
)

// onceTimeout is how long a call with a key may take after its client is gone.
const onceTimeout = time.Minute

var keyRE = regexp.MustCompile(`^[\x21-\x7e]{1,128}$`)

func idempotencyParam() *huma.Param {
	return &huma.Param{
		Name: keyHeader, In: "header",
		Description: "A random string of up to 128 characters. The same call with the same key is done once and answered twice; " +
			"the second answer carries " + replayHeader + ": true.",
		Schema: &huma.Schema{Type: huma.TypeString, Pattern: keyRE.String()},
	}
}

// replay answers a call that was done before with its first answer. Only
// successes are kept: after a failure nothing was made, so the same key may
// try again.
func (s *Server) replay(rt *route) func(huma.Context, func(huma.Context)) {
	return func(hc huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(hc)
		key := r.Header.Get(keyHeader)
		if key == "" || r.URL.Query().Get("dry_run") == "true" {
			next(hc)
			return
		}
		hash, err := requestHash(r, key)
		if err != nil {
			s.writeProblem(w, r, err)
			return
		}
		prior, err := s.svc.BeginIdempotent(r.Context(), actor(r.Context()), key, hash)
		if err != nil {
			s.writeProblem(w, r, err)
			return
		}
		if prior != nil {
			writeReplay(w, r, prior.Status, prior.Body)
			return
		}
		s.runOnce(rt, key, hc, next)
	}
}

// runOnce runs the call with its answer held back until it is kept, so that
// nobody has seen an answer that a repetition would not give.
func (s *Server) runOnce(rt *route, key string, hc huma.Context, next func(huma.Context)) {
	// The client may go away: the call goes on, so that its repetition finds an
	// answer, and the key does not stay open.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(hc.Context()), onceTimeout)
	defer cancel()
	a := actor(ctx)
	held := &heldAnswer{humaContext: huma.WithContext(hc, ctx)}
	finished := false
	defer func() {
		if !finished { // a panic is on its way to recoverPanics
			s.closeKey(ctx, func(ctx context.Context) error { return s.svc.DropIdempotent(ctx, a, key) })
		}
	}()
	next(held)
	finished = true
	s.closeKey(ctx, func(ctx context.Context) error {
		if held.status < 200 || held.status > 299 {
			return s.svc.DropIdempotent(ctx, a, key)
		}
		body := held.body.Bytes()
		if rt.redact != nil {
			body = rt.redact(body)
		}
		return s.svc.FinishIdempotent(ctx, a, key, held.status, body)
	})
	if held.status == 0 {
		held.status = http.StatusOK
	}
	hc.SetStatus(held.status)
	_, _ = hc.BodyWriter().Write(held.body.Bytes()) // the client went away: a repetition gets it
}

func (s *Server) closeKey(ctx context.Context, f func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := f(ctx); err != nil {
		s.log.ErrorContext(ctx, "close idempotency key", "request_id", callOf(ctx).id, "error", err)
	}
}

// requestHash tells one request from another; it reads the body and puts it back.
func requestHash(r *http.Request, key string) (string, error) {
	if !keyRE.MatchString(key) {
		return "", baadal.Errorf(baadal.Invalid, "the %s is not usable", keyHeader).WithField(keyHeader).
			WithDetail("use 1 to 128 visible ASCII characters")
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return "", tooLarge(maxBody)
		}
		return "", baadal.Errorf(baadal.Unavailable, "the body did not arrive")
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	h := sha256.New()
	for _, part := range []string{r.Method, r.URL.Path, r.URL.Query().Encode(), string(body)} {
		var n [8]byte
		for i := range n {
			n[i] = byte(len(part) >> (8 * i))
		}
		h.Write(n[:])
		h.Write([]byte(part))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// writeReplay repeats an answer with the headers that follow from its body.
func writeReplay(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	h := w.Header()
	h.Set(replayHeader, "true")
	h.Set("Content-Type", "application/json")
	type made struct{ ID, Generation int64 }
	var c struct{ Task, Resource, User made }
	if json.Unmarshal(body, &c) == nil {
		thing := c.Resource
		if thing.ID == 0 {
			thing = c.User
		}
		switch {
		case c.Task.ID != 0:
			h.Set("Location", taskPath(c.Task.ID))
		case thing.ID != 0:
			h.Set("Location", fmt.Sprintf("%s/%d", r.URL.Path, thing.ID))
		}
		if thing.Generation != 0 {
			h.Set("ETag", quoted(thing.Generation))
		}
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client went away: nobody is left to tell
}

type humaContext = huma.Context

// heldAnswer keeps an answer's status and body back; headers go through.
type heldAnswer struct {
	humaContext
	status int
	body   bytes.Buffer
}

// Unwrap returns the context that was wrapped, for the adapter.
func (h *heldAnswer) Unwrap() huma.Context { return h.humaContext }

// SetStatus keeps the status back.
func (h *heldAnswer) SetStatus(status int) { h.status = status }

// Status returns what SetStatus was given.
func (h *heldAnswer) Status() int { return h.status }

// BodyWriter keeps the body back.
func (h *heldAnswer) BodyWriter() io.Writer { return &h.body }
