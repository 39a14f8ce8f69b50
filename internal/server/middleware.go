package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"baadal"
)

// call is what a request's context carries: its id, where it comes from and
// who asks.
type call struct {
	id     string
	remote string       // the client's address, without port
	secure bool         // its connection is encrypted
	actor  baadal.Actor // zero until authenticate
}

type callKey struct{}

func callOf(ctx context.Context) *call {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		return c
	}
	return &call{}
}

// actor returns who asks; the zero Actor, who may do nothing, on public routes.
func actor(ctx context.Context) baadal.Actor { return callOf(ctx).actor }

// observe gives each request an id, logs it and measures it.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		var id [8]byte
		rand.Read(id[:]) // never fails
		c := &call{id: hex.EncodeToString(id[:])}
		c.remote, c.secure = s.remote(r)
		w.Header().Set("X-Request-Id", c.id)
		r = r.WithContext(context.WithValue(r.Context(), callKey{}, c))
		sw := &statusWriter{ResponseWriter: w, rc: http.NewResponseController(w), timeout: s.cfg.IOTimeout}
		if r.ContentLength != 0 {
			// Also what nobody reads has to arrive: the connection waits for it.
			_ = sw.rc.SetReadDeadline(start.Add(s.cfg.IOTimeout)) // a recorder in a test has none
		}
		next.ServeHTTP(sw, r)
		took := time.Since(start)
		pattern := r.Pattern
		if pattern == "" {
			pattern = "none"
		}
		s.requests.WithLabelValues(pattern, strconv.Itoa(sw.status)).Observe(took.Seconds())
		level := slog.LevelInfo
		if r.URL.Path == "/healthz" || r.URL.Path == "/readyz" || r.URL.Path == "/metrics" {
			level = slog.LevelDebug
		}
		s.log.LogAttrs(r.Context(), level, "request", slog.String("request_id", c.id), slog.String("method", r.Method),
			slog.String("path", r.URL.Path), slog.Int("status", sw.status), slog.Int64("bytes", sw.bytes),
			slog.Float64("duration_ms", float64(took.Microseconds())/1000), slog.String("user", c.actor.User.Username),
			slog.String("remote", c.remote))
	})
}

// recoverPanics answers 500 instead of closing the connection.
func (s *Server) recoverPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(v)
			}
			s.log.ErrorContext(r.Context(), "panic in a handler", "request_id", callOf(r.Context()).id,
				"panic", v, "stack", string(debug.Stack()))
			if sw, ok := w.(*statusWriter); ok && sw.status != 0 {
				panic(http.ErrAbortHandler) // half an answer is out: cut it off
			}
			s.writeProblem(w, r, baadal.Errorf(baadal.Internal, "panic in a handler"))
		}()
		next.ServeHTTP(w, r)
	})
}

// secureHeaders says what a browser must not do with our answers.
func (s *Server) secureHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cross-Origin-Resource-Policy", "same-origin") // a VM's own web site can be of our site, to a browser that has our cookie
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		if callOf(r.Context()).secure {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

// statusWriter remembers what was answered and gives each write a deadline.
type statusWriter struct {
	http.ResponseWriter
	rc      *http.ResponseController
	timeout time.Duration // of each write
	status  int
	bytes   int64
}

// Unwrap lets http.ResponseController through.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader notes the first final status; a change of protocols is one.
func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	// Longer than a body may take: net/http reads what is left of it before it answers.
	_ = w.rc.SetWriteDeadline(time.Now().Add(w.timeout * 3 / 2)) // a recorder in a test has none
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err //nolint:wrapcheck // a Writer
}

// guardBody bounds the size of a body and the time it may take.
func (s *Server) guardBody(rt *route) func(huma.Context, func(huma.Context)) {
	return func(hc huma.Context, next func(huma.Context)) {
		limit, slack := rt.limit, int64(0)
		if limit == 0 {
			limit, slack = maxBody, 1 // one more, so that huma sees that it is too much
		}
		r, w := humago.Unwrap(hc)
		if r.ContentLength > limit {
			s.writeProblem(w, r, tooLarge(limit))
			return
		}
		r.Body = &guardedBody{
			ReadCloser: http.MaxBytesReader(w, r.Body, limit+slack),
			rc:         http.NewResponseController(w),
			timeout:    s.cfg.IOTimeout,
			each:       rt.limit != 0,
		}
		next(hc)
	}
}

func tooLarge(limit int64) error {
	return baadal.Errorf(baadal.TooLarge, "the body is too large").WithDetail("%s", tooLargeDetail(limit))
}

// guardedBody sets a read deadline on the first read, or on each for long
// uploads, and takes it away at the body's end: left alone it would cancel the
// request while its handler works. After any other error it stays, so that
// net/http does not wait for the rest.
type guardedBody struct {
	io.ReadCloser
	rc      *http.ResponseController
	timeout time.Duration
	each    bool
	started bool
}

func (b *guardedBody) Read(p []byte) (int, error) {
	if !b.started || b.each {
		b.started = true
		_ = b.rc.SetReadDeadline(time.Now().Add(b.timeout)) // a recorder in a test has none
	}
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		_ = b.rc.SetReadDeadline(time.Time{})
	}
	return n, err //nolint:wrapcheck // a Reader
}
