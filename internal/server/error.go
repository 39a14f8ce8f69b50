package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"baadal"
)

// statusOf is the only map from a kind of error to an HTTP status.
var statusOf = map[baadal.Kind]int{
	baadal.Invalid:         http.StatusUnprocessableEntity,
	baadal.NotFound:        http.StatusNotFound,
	baadal.Conflict:        http.StatusConflict,
	baadal.Stale:           http.StatusPreconditionFailed,
	baadal.Forbidden:       http.StatusForbidden,
	baadal.Unauthenticated: http.StatusUnauthorized,
	baadal.TooMany:         http.StatusTooManyRequests,
	baadal.TooLarge:        http.StatusRequestEntityTooLarge,
	baadal.Exhausted:       http.StatusConflict,
	baadal.Unavailable:     http.StatusServiceUnavailable,
	baadal.Cancelled:       http.StatusConflict,
	baadal.Internal:        http.StatusInternalServerError,
}

// defaultRetryAfter is told with TooMany and Unavailable when nobody knows better.
const defaultRetryAfter = 10 * time.Second

// Problem is every error that the API answers with (RFC 9457).
type Problem struct {
	Status   int            `json:"status" doc:"The HTTP status."`
	Kind     baadal.Kind    `json:"kind" enum:"internal,invalid,not_found,conflict,stale,forbidden,unauthenticated,too_many,too_large,exhausted,unavailable,cancelled"`
	Code     string         `json:"code" doc:"Stable and machine-readable, e.g. vm_busy."`
	Title    string         `json:"title" doc:"What failed, for people."`
	Detail   string         `json:"detail,omitempty" doc:"The state things are in now."`
	Next     []baadal.Offer `json:"next,omitempty" doc:"What can be done about it."`
	Task     int64          `json:"task,omitempty" doc:"The task that is in the way or that failed."`
	Instance string         `json:"instance" doc:"The request's id, as in the server's log and in X-Request-Id."`
	Errors   []FieldError   `json:"errors,omitempty" doc:"What is wrong with which input."`

	retryAfter time.Duration
}

// FieldError is one thing wrong with the input. The value is not repeated: it
// may be a secret.
type FieldError struct {
	Field   string `json:"field" doc:"Name of the field, as name or ssh_keys[0]."`
	In      string `json:"in,omitempty" doc:"body, query, path or header."`
	Message string `json:"message"`
}

func (p *Problem) Error() string { return p.Title }

// GetStatus returns the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType makes JSON problem JSON.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders returns the headers that go with the problem.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{"Cache-Control": {"no-store"}}
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.retryAfter.Seconds()))))
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="baadal"`)
	}
	return h
}

// problem turns an error into what the client sees, and logs the cause of an
// internal one: nothing else in this package logs it.
func (s *Server) problem(ctx context.Context, err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	id := callOf(ctx).id
	e, known := errors.AsType[*baadal.Error](err)
	_, mapped := statusOf[baadal.KindOf(err)]
	switch {
	case ctx.Err() != nil && (errors.Is(err, context.Canceled) || !known):
		e = baadal.Errorf(baadal.Unavailable, "the client went away").WithCode("gone")
	case errors.Is(err, context.DeadlineExceeded) && (!known || e.Kind == baadal.Internal):
		e = baadal.Errorf(baadal.Unavailable, "it took too long").WithCode("timeout")
	case !known || !mapped || e.Kind == baadal.Internal:
		s.log.ErrorContext(ctx, "request failed", "request_id", id, "error", err)
		e = baadal.Errorf(baadal.Internal, "internal error").WithDetail("the cause is in the server's log under request %s", id)
	}
	p := &Problem{
		Status: statusOf[e.Kind], Kind: e.Kind, Code: baadal.CodeOf(e), Title: e.Title, Detail: e.Detail,
		Next: e.Next, Task: e.TaskID, Instance: id,
	}
	if e.Field != "" {
		p.Errors = []FieldError{{Field: e.Field, In: "body", Message: e.Title}}
	}
	if e.Kind == baadal.TooMany || e.Kind == baadal.Unavailable {
		p.retryAfter = defaultRetryAfter
		if w, ok := errors.AsType[interface {
			error
			RetryAfter() time.Duration
		}](err); ok {
			p.retryAfter = w.RetryAfter()
		}
	}
	return p
}

// writeProblem answers with a problem outside of huma's handlers.
func (s *Server) writeProblem(w http.ResponseWriter, r *http.Request, err error) {
	p := s.problem(r.Context(), err)
	h := w.Header()
	maps.Copy(h, p.GetHeaders())
	h.Set("Content-Type", p.ContentType(""))
	if r.ContentLength != 0 {
		h.Set("Connection", "close") // do not read the body, or the rest of it
	}
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		_ = json.NewEncoder(w).Encode(p) // the client went away: nobody is left to tell
	}
}

// translateErrors gives huma's own errors (validation, unreadable bodies) the
// shape of a Problem.
func translateErrors(ctx huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	p := &Problem{Status: m.Status, Kind: baadal.Invalid, Title: "the request is not valid", Instance: callOf(ctx.Context()).id}
	switch m.Status {
	case http.StatusRequestEntityTooLarge:
		p.Kind, p.Title, p.Detail = baadal.TooLarge, "the body is too large", tooLargeDetail(maxBody)
	case http.StatusRequestTimeout:
		p.Kind, p.Title = baadal.Unavailable, "the body did not arrive in time"
	case http.StatusUnsupportedMediaType:
		p.Title, p.Detail = "the body's type is not understood", "send application/json"
		return withCode(p), nil
	case http.StatusInternalServerError:
		p.Kind, p.Title = baadal.Unavailable, "the body did not arrive"
	}
	for _, d := range m.Errors {
		in, field, _ := strings.Cut(d.Location, ".")
		p.Errors = append(p.Errors, FieldError{Field: field, In: in, Message: d.Message})
	}
	if len(p.Errors) == 0 && p.Detail == "" && m.Status == http.StatusBadRequest {
		p.Detail = m.Detail
	}
	return withCode(p), nil
}

func withCode(p *Problem) *Problem { p.Code = string(p.Kind); return p }

func tooLargeDetail(limit int64) string { return fmt.Sprintf("at most %d bytes are taken", limit) }

func noRoute(r *http.Request) error {
	return baadal.Errorf(baadal.NotFound, "there is nothing at %s", r.URL.Path).WithCode("no_route").
		WithNext("See what there is", "/api")
}

func methodNotAllowed(r *http.Request, allow string) error {
	return &Problem{
		Status: http.StatusMethodNotAllowed, Kind: baadal.Invalid, Code: "method_not_allowed",
		Title:  fmt.Sprintf("%s is not possible at %s", r.Method, r.URL.Path),
		Detail: "possible is " + allow, Instance: callOf(r.Context()).id,
	}
}
