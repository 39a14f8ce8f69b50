package client

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"baadal"
)

// Problem is an error that the server answered with. It unwraps to a
// *baadal.Error, so baadal.KindOf and baadal.CodeOf work on it.
type Problem struct {
	Status     int
	RequestID  string        // as in the server's log
	RetryAfter time.Duration // 0 if the server did not say
	Fields     []FieldError
	Body       []byte // the problem as it came, JSON if the server is ours

	err *baadal.Error
}

// FieldError is one thing wrong with the input.
type FieldError struct {
	Field   string `json:"field"`
	In      string `json:"in"`
	Message string `json:"message"`
}

func (p *Problem) Error() string {
	words := []string{p.err.Error()}
	for _, f := range p.Fields {
		if f.Message != p.err.Title {
			words = append(words, strings.TrimPrefix(f.In+"."+f.Field, ".")+": "+f.Message)
		}
	}
	return strings.Join(words, "; ")
}

// Unwrap returns the error as the server made it.
func (p *Problem) Unwrap() error { return p.err }

// kindOf is for answers that are not our problems: a proxy's, say.
func kindOf(status int) baadal.Kind {
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusUnsupportedMediaType, http.StatusMethodNotAllowed:
		return baadal.Invalid
	case http.StatusNotFound:
		return baadal.NotFound
	case http.StatusConflict:
		return baadal.Conflict
	case http.StatusPreconditionFailed:
		return baadal.Stale
	case http.StatusForbidden:
		return baadal.Forbidden
	case http.StatusUnauthorized:
		return baadal.Unauthenticated
	case http.StatusTooManyRequests:
		return baadal.TooMany
	case http.StatusRequestEntityTooLarge:
		return baadal.TooLarge
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return baadal.Unavailable
	}
	return baadal.Internal
}

func readProblem(resp *http.Response, data []byte) *Problem {
	var in struct {
		Kind     baadal.Kind    `json:"kind"`
		Code     string         `json:"code"`
		Title    string         `json:"title"`
		Detail   string         `json:"detail"`
		Next     []baadal.Offer `json:"next"`
		Task     int64          `json:"task"`
		Instance string         `json:"instance"`
		Errors   []FieldError   `json:"errors"`
	}
	p := &Problem{Status: resp.StatusCode, Body: data, RequestID: resp.Header.Get("X-Request-Id")}
	if json.Unmarshal(data, &in) != nil || in.Title == "" {
		p.err = baadal.Errorf(kindOf(resp.StatusCode), "the server answered %s", resp.Status).WithCode("bad_answer")
		return p
	}
	if in.Kind == "" {
		in.Kind = kindOf(resp.StatusCode)
	}
	if in.Instance != "" {
		p.RequestID = in.Instance
	}
	p.Fields = in.Errors
	p.err = &baadal.Error{Kind: in.Kind, Code: in.Code, Title: in.Title, Detail: in.Detail, Next: in.Next, TaskID: in.Task}
	if len(in.Errors) > 0 {
		p.err.Field = in.Errors[0].Field
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
		p.RetryAfter = time.Duration(s) * time.Second
	}
	return p
}
