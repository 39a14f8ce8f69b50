package server

import (
	"bytes"
	"embed"
	"encoding/json"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
)

//go:embed page/*
var pageFiles embed.FS

// registerPages serves the home page, the documentation and the OpenAPI
// document. Each is rendered once, when somebody asks for it first: nothing in
// them depends on who asks.
func (s *Server) registerPages() {
	const html = "text/html; charset=utf-8"
	s.page("/{$}", html, func() ([]byte, error) { return render("home.html", map[string]string{"Version": s.cfg.Version}) })
	s.page("/api", html, func() ([]byte, error) { return render("api.html", s.documentation()) })
	s.page("/style.css", "text/css; charset=utf-8", func() ([]byte, error) { return pageFiles.ReadFile("page/style.css") })
	s.page("/api/openapi.json", "application/openapi+json", func() ([]byte, error) { return json.MarshalIndent(s.api.OpenAPI(), "", "  ") })
	s.page("/api/openapi.yaml", "application/openapi+yaml", s.Spec)
}

// page serves what a function makes. That it fails is a fault of the program.
func (s *Server) page(pattern, contentType string, body func() ([]byte, error)) {
	once := sync.OnceValues(body)
	s.mux.HandleFunc("GET "+pattern, func(w http.ResponseWriter, _ *http.Request) {
		content, err := once()
		if err != nil {
			panic("make " + pattern + ": " + err.Error())
		}
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(content) // the client went away: nobody is left to tell
	})
}

func render(name string, data any) ([]byte, error) {
	pages, err := template.ParseFS(pageFiles, "page/*.html")
	if err != nil {
		return nil, err //nolint:wrapcheck // it says which file
	}
	var b bytes.Buffer
	err = pages.ExecuteTemplate(&b, name, data)
	return b.Bytes(), err //nolint:wrapcheck // it says which file
}

// documentation is the OpenAPI document as the page shows it.
type documentation struct {
	Title, Description string
	Tags               []docTag
	Schemas            []docSchema
}

type docTag struct {
	Name       string
	Operations []docOperation
}

type docOperation struct {
	ID, Method, Path, Summary, Permission string
	Params                                []docField
	Body, Answer                          string // names of schemas
	Statuses                              string
	Codes                                 []string
}

type docSchema struct {
	Name   string
	Fields []docField
}

type docField struct {
	Name, Type, Link, Where, Doc string
	Required                     bool
}

func (s *Server) documentation() documentation {
	spec := s.api.OpenAPI()
	d := documentation{Title: spec.Info.Title, Description: spec.Info.Description}
	for _, op := range s.operations() {
		i := slices.IndexFunc(d.Tags, func(t docTag) bool { return t.Name == op.Tags[0] })
		if i < 0 {
			i = len(d.Tags)
			d.Tags = append(d.Tags, docTag{Name: op.Tags[0]})
		}
		d.Tags[i].Operations = append(d.Tags[i].Operations, docOf(op))
	}
	schemas := spec.Components.Schemas.Map()
	names := make([]string, 0, len(schemas))
	for name := range schemas {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		d.Schemas = append(d.Schemas, docSchema{Name: name, Fields: fieldsOf(schemas[name])})
	}
	return d
}

func docOf(op *huma.Operation) docOperation {
	o := docOperation{ID: op.OperationID, Method: op.Method, Path: op.Path, Summary: op.Summary}
	o.Permission, _ = op.Extensions["x-permission"].(string)
	o.Codes, _ = op.Extensions["x-problem-codes"].([]string)
	for _, p := range op.Parameters {
		f := fieldOf(p.Name, p.Schema)
		f.Where, f.Required = p.In, p.Required
		if p.Description != "" {
			f.Doc = p.Description
		}
		o.Params = append(o.Params, f)
	}
	if op.RequestBody != nil {
		o.Body = schemaName(op.RequestBody.Content)
	}
	var statuses []string
	for status, r := range op.Responses {
		if status == "default" {
			continue
		}
		statuses = append(statuses, status)
		if name := schemaName(r.Content); name != "" {
			o.Answer = name
		}
	}
	slices.Sort(statuses)
	o.Statuses = strings.Join(statuses, ", ")
	return o
}

// schemaName returns the schema that a JSON body has; "" if it is no JSON.
func schemaName(content map[string]*huma.MediaType) string {
	if m := content["application/json"]; m != nil && m.Schema != nil {
		return strings.TrimPrefix(m.Schema.Ref, "#/components/schemas/")
	}
	return ""
}

func fieldsOf(sc *huma.Schema) []docField {
	names := make([]string, 0, len(sc.Properties))
	for name := range sc.Properties {
		names = append(names, name)
	}
	slices.Sort(names)
	fields := make([]docField, 0, len(names))
	for _, name := range names {
		f := fieldOf(name, sc.Properties[name])
		f.Required = slices.Contains(sc.Required, name)
		fields = append(fields, f)
	}
	return fields
}

func fieldOf(name string, sc *huma.Schema) docField {
	f := docField{Name: name}
	if sc == nil {
		return f
	}
	f.Doc = sc.Description
	f.Type, f.Link = typeName(sc)
	return f
}

// typeName describes a type in a word or two, with the schema to look at.
func typeName(sc *huma.Schema) (words, link string) {
	if sc.Ref != "" {
		name := strings.TrimPrefix(sc.Ref, "#/components/schemas/")
		return name, name
	}
	if sub, ok := sc.AdditionalProperties.(*huma.Schema); ok {
		words, link = typeName(sub)
		return "map of " + words, link
	}
	switch {
	case sc.Items != nil:
		words, link = typeName(sc.Items)
		return "list of " + words, link
	case len(sc.Enum) > 0:
		values := make([]string, 0, len(sc.Enum))
		for _, v := range sc.Enum {
			if s, ok := v.(string); ok {
				values = append(values, s)
			}
		}
		return strings.Join(values, " | "), ""
	case sc.Format != "" && sc.Type == huma.TypeString:
		return sc.Format, ""
	case sc.Type == "":
		return "any", ""
	}
	return sc.Type, ""
}
