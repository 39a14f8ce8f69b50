package server

import (
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

const apiDescription = `The API of a private cloud. Everything that the command line and the web do, they do here.

Sign in for a session cookie, or send a token as Authorization: Bearer.
A change that takes time answers 202 with a task: follow its Location with ?wait=30s, or follow /api/v1/events.
Every change takes ?dry_run=true and answers with its plan. If-Match with the ETag of what you saw refuses the change
if somebody was faster. Every resource says in actions what can be done with it now, and if not, why not.
Errors are application/problem+json with a stable code, words for people, and next: what can be done about it.`

// newAPI is huma on our mux: no schema links, no documentation from a CDN.
func newAPI(mux *http.ServeMux) huma.API {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	return humago.New(mux, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info:    &huma.Info{Title: "Baadal", Version: "1", Description: apiDescription},
			Components: &huma.Components{
				Schemas: registry,
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"token":   {Type: "http", Scheme: "bearer", Description: "A token of POST /api/v1/tokens."},
					"session": {Type: "apiKey", In: "cookie", Name: cookieName, Description: "The cookie of POST /api/v1/auth/sign-in."},
				},
			},
		},
		Formats:       huma.DefaultFormats,
		DefaultFormat: "application/json",
		Transformers:  []huma.Transformer{translateErrors},
	})
}

// Spec returns the OpenAPI 3.1 document as YAML.
func (s *Server) Spec() ([]byte, error) {
	return s.api.OpenAPI().YAML() //nolint:wrapcheck // there is nothing to add
}

// finishSpec adds what huma cannot know: problems, other statuses of success,
// problem codes; and takes out what it adds by itself.
func (s *Server) finishSpec() {
	schemas := s.api.OpenAPI().Components.Schemas
	problem := schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")
	for _, r := range s.routes {
		op := operationOf(s.api.OpenAPI().Paths[Prefix+r.path], r.method)
		for _, p := range op.Parameters {
			neverNull(p.Schema)
		}
		ok := op.Responses[strconv.Itoa(op.DefaultStatus)]
		for _, status := range r.alternates {
			alt := *ok
			alt.Description = http.StatusText(status)
			op.Responses[strconv.Itoa(status)] = &alt
		}
		if r.status == http.StatusNoContent {
			ok.Content = nil
		}
		codes := r.problemCodes(len(op.Parameters) > 0 || op.RequestBody != nil)
		op.Extensions["x-problem-codes"] = codes
		op.Responses["default"] = &huma.Response{
			Description: "A problem. Its code is one of: " + strings.Join(codes, ", ") + ".",
			Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: problem}},
		}
	}
	delete(schemas.Map(), "ErrorModel")
	delete(schemas.Map(), "ErrorDetail")
	for _, sc := range schemas.Map() {
		neverNull(sc)
	}
}

// neverNull says that arrays are arrays: we never send null for one.
func neverNull(sc *huma.Schema) {
	if sc == nil {
		return
	}
	if sc.Type == huma.TypeArray {
		sc.Nullable = false
	}
	neverNull(sc.Items)
	for _, p := range sc.Properties {
		neverNull(p)
	}
	if sub, ok := sc.AdditionalProperties.(*huma.Schema); ok {
		neverNull(sub)
	}
}

func operationOf(p *huma.PathItem, method string) *huma.Operation {
	switch method {
	case http.MethodPost:
		return p.Post
	case http.MethodPut:
		return p.Put
	case http.MethodPatch:
		return p.Patch
	case http.MethodDelete:
		return p.Delete
	default:
		return p.Get
	}
}

// operations lists the operations of the document in the order of the tables.
func (s *Server) operations() []*huma.Operation {
	ops := make([]*huma.Operation, 0, len(s.routes))
	for _, r := range s.routes {
		ops = append(ops, operationOf(s.api.OpenAPI().Paths[Prefix+r.path], r.method))
	}
	return slices.Clip(ops)
}
