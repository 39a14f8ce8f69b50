package baadal

import (
	"errors"
	"fmt"
	"strings"
)

// Kind says what sort of failure an Error is. The server maps a kind to an HTTP
// status in one place, the task engine decides on a retry by it (only
// Unavailable is worth one).
type Kind string

// The kinds of errors.
const (
	Internal        Kind = "internal"        // a defect or an unknown failure; words are not shown to users
	Invalid         Kind = "invalid"         // the input is wrong; the same call fails again
	NotFound        Kind = "not_found"       // there is no such thing, or the caller may not see it
	Conflict        Kind = "conflict"        // the thing is in a state, or held by a task, that forbids it now
	Stale           Kind = "stale"           // the generation (If-Match) is no longer the current one
	Forbidden       Kind = "forbidden"       // visible to the caller, but not his to change
	Unauthenticated Kind = "unauthenticated" // not signed in
	TooMany         Kind = "too_many"        // rate limit; try later
	TooLarge        Kind = "too_large"       // the body is too large
	Exhausted       Kind = "exhausted"       // no capacity or no address is left
	Unavailable     Kind = "unavailable"     // a host, daemon or datastore does not answer: worth a retry
	Cancelled       Kind = "cancelled"       // somebody cancelled the task
)

// Error is an error made for people and programs: Title says what failed,
// Detail the state things are in now, Next what to do.
type Error struct {
	Kind   Kind
	Code   string  // stable, machine-readable, e.g. "vm_busy"; empty means the kind itself
	Title  string  // what failed, for people
	Detail string  // the state things are in now; may be empty
	Field  string  // the input field that is wrong, if it is one
	Next   []Offer // what can be done about it
	TaskID int64   // the task that is in the way or that failed; 0 if none
	Err    error   // the cause, for logs; never shown to users of kind Internal
}

// Offer is something the reader of an error can do next.
type Offer struct {
	Label  string `json:"label" doc:"What to do, in words."`
	Action string `json:"action,omitempty" doc:"A command line or an API path that does it."`
}

func (e *Error) Error() string {
	s := e.Title
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Err != nil && e.Detail == "" && !strings.Contains(e.Title, e.Err.Error()) {
		if s != "" {
			s += ": "
		}
		s += e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an error of the given kind; %w wraps as with fmt.Errorf.
func Errorf(kind Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Title: err.Error(), Err: errors.Unwrap(err), Detail: ""}
}

// WithCode sets the stable code and returns e.
func (e *Error) WithCode(code string) *Error { e.Code = code; return e }

// WithDetail sets the state that things are in now and returns e.
func (e *Error) WithDetail(format string, args ...any) *Error {
	e.Detail = fmt.Sprintf(format, args...)
	return e
}

// WithField names the wrong input field and returns e.
func (e *Error) WithField(field string) *Error { e.Field = field; return e }

// WithTask names the task in the way and returns e.
func (e *Error) WithTask(id int64) *Error { e.TaskID = id; return e }

// WithNext appends an offer and returns e.
func (e *Error) WithNext(label, action string) *Error {
	e.Next = append(e.Next, Offer{Label: label, Action: action})
	return e
}

// KindOf returns the kind of the outermost Error in err's chain; an error
// without one is Internal, nil has the empty kind.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// CodeOf returns the stable code of err: its own, or its kind.
func CodeOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok && e.Code != "" {
		return e.Code
	}
	return string(KindOf(err))
}

// Message returns the words of err that may be shown to a user: those of an
// Error, and "internal error" for everything unknown.
func Message(err error) string {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok && e.Kind != Internal {
		return e.Error()
	}
	return "internal error"
}
