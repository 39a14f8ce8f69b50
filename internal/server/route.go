package server

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"baadal"
)

// Route is one operation of the API as others may see it.
type Route struct {
	Method string
	Path   string // as http.ServeMux patterns have it, with the API's prefix
	ID     string // OpenAPI operation id
	Action baadal.Action
}

// route is one row of the tables at the top of the noun files.
type route struct {
	method, path, id, summary string
	action                    baadal.Action

	register    func(*Server, route)
	status      int      // of success; 200 if 0
	alternates  []int    // other statuses of success, with the same body
	limit       int64    // of the body, bytes; maxBody if 0
	codes       []string // problem codes beside those every route has
	idempotent  bool     // honours Idempotency-Key
	redact      func([]byte) []byte
	requestBody *huma.RequestBody // for what huma cannot see in the input type
	response    *huma.Response    // for what huma cannot see in the output type
}

// option changes a route beyond what every row says.
type option func(*route)

// change marks a route that answers 202 with a task, or 200 without one.
func change(r *route) { r.status, r.alternates = http.StatusAccepted, []int{http.StatusOK} }

// creation marks a route that makes something: 202 with a task, 201 without
// one, 200 for a dry run; it honours Idempotency-Key.
func creation(r *route) {
	r.status, r.alternates, r.idempotent = http.StatusAccepted, []int{http.StatusCreated, http.StatusOK}, true
}

// created marks a route that answers 201.
func created(r *route) { r.status = http.StatusCreated }

// noContent marks a route that answers 204.
func noContent(r *route) { r.status = http.StatusNoContent }

// codes names problem codes that are special to a route.
func codes(list ...string) option { return func(r *route) { r.codes = append(r.codes, list...) } }

// replayable makes a route honour Idempotency-Key; redact takes the secrets
// out of the answer before it is kept.
func replayable(redact func([]byte) []byte) option {
	return func(r *route) { r.idempotent, r.redact = true, redact }
}

// on makes a row: the handler makes one service call, and its error becomes a
// problem here and nowhere else.
func on[I, O any](method, path, id, summary string, action baadal.Action, h func(context.Context, *I) (*O, error), opts ...option) route {
	r := route{method: method, path: path, id: id, summary: summary, action: action}
	for _, o := range opts {
		o(&r)
	}
	r.register = func(s *Server, r route) {
		huma.Register(s.api, s.operation(&r), func(ctx context.Context, in *I) (*O, error) {
			out, err := h(ctx, in)
			if err != nil {
				return nil, s.problem(ctx, err)
			}
			return out, nil
		})
	}
	return r
}

// operation is the row as OpenAPI has it, with the middleware around it.
func (s *Server) operation(r *route) huma.Operation {
	status := r.status
	if status == 0 {
		status = http.StatusOK
	}
	op := huma.Operation{
		OperationID: r.id, Method: r.method, Path: Prefix + r.path, Summary: r.summary,
		Tags:                         []string{noun(r.path)},
		DefaultStatus:                status,
		MaxBodyBytes:                 maxBody,
		BodyReadTimeout:              -1, // guardBody has its own
		RejectUnknownQueryParameters: true,
		RequestBody:                  r.requestBody,
		Responses:                    map[string]*huma.Response{},
		Extensions:                   map[string]any{"x-permission": string(r.action)},
	}
	if r.response != nil {
		op.Responses[strconv.Itoa(status)] = r.response
	}
	if r.action != baadal.ActionPublic {
		op.Security = []map[string][]string{{"token": {}}, {"session": {}}}
	}
	if r.idempotent {
		op.Parameters = append(op.Parameters, idempotencyParam())
	}
	op.Middlewares = huma.Middlewares{s.guardBody(r), s.authenticate(r)}
	if r.idempotent {
		op.Middlewares = append(op.Middlewares, s.replay(r))
	}
	return op
}

// noun is the first word of a path: the tag, and the file where it lives.
func noun(path string) string {
	word, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return word
}

// problemCodes lists the codes that a route may answer with, sorted.
func (r *route) problemCodes(hasInput bool) []string {
	list := append([]string{"internal", "unavailable", "timeout", "gone", "database_unavailable"}, r.codes...)
	if hasInput {
		list = append(list, "invalid")
	}
	if r.action != baadal.ActionPublic {
		list = append(list, "not_signed_in", "forbidden")
	}
	if r.action != baadal.ActionPublic && r.action != baadal.ActionSelf {
		list = append(list, "password_change_required")
	}
	if r.method != http.MethodGet {
		list = append(list, "cross_origin", "too_large")
	}
	if strings.Contains(r.path, "{") {
		list = append(list, "not_found")
	}
	if r.status == http.StatusAccepted || r.method == http.MethodPatch || r.method == http.MethodPut {
		list = append(list, "conflict")
	}
	if r.idempotent {
		list = append(list, "idempotency_key_reused", "in_progress")
	}
	slices.Sort(list)
	return slices.Compact(list)
}
