package server

import (
	"bytes"
	"embed"
	"encoding/json"
	"html/template"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

//go:embed page/*
var pageFiles embed.FS

// registerPages serves the home page, the documentation and the OpenAPI
// document. All are rendered once, here: nothing in them depends on who asks.
func (s *Server) registerPages() {
	pages := template.Must(template.ParseFS(pageFiles, "page/*.html"))
	static := func(pattern, contentType string, body []byte) {
		s.mux.HandleFunc("GET "+pattern, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			_, _ = w.Write(body) // the client went away: nobody is left to tell
		})
	}
	render := func(name string, data any) []byte {
		var b bytes.Buffer
		if err := pages.ExecuteTemplate(&b, name, data); err != nil {
			panic("render " + name + ": " + err.Error())
		}
		return b.Bytes()
	}
	css, err := pageFiles.ReadFile("page/style.css")
	if err != nil {
		panic("read style.css: " + err.Error())
	}
	specJSON, err := json.MarshalIndent(s.api.OpenAPI(), "", "  ")
	if err != nil {
		panic("encode OpenAPI: " + err.Error())
	}
	specYAML, err := s.Spec()
	if err != nil {
		panic("encode OpenAPI: " + err.Error())
	}
	const html = "text/html; charset=utf-8"
	static("/{$}", html, render("home.html", map[string]string{"Version": s.cfg.Version}))
	static("/api", html, render("api.html", s.documentation()))
	static("/style.css", "text/css; charset=utf-8", css)
	static("/api/openapi.json", "application/openapi+json", specJSON)
	static("/api/openapi.yaml", "application/openapi+yaml", specYAML)
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
