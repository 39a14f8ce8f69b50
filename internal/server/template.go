package server

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"baadal"
	"baadal/internal/service"
)

func (s *Server) templateRoutes() []route {
	return []route{
		on("GET", "/templates", "list-templates", "List templates", baadal.ActionTemplateRead, s.listTemplates),
		on("POST", "/templates", "import-template", "Import a template from a URL or an upload", baadal.ActionTemplateImport,
			s.importTemplate, creation, codes("exists", "bad_name", "not_found", "no_datastore", "upload_taken", "busy")),
		on("PUT", "/uploads", "upload", "Upload a file to import a template or a VM from; it lies on a datastore until it is used", baadal.ActionUpload, s.upload,
			created, s.uploadBody, codes("datastore_full", "datastore_read_only", "datastore_not_mounted", "no_datastore", "no_host", "not_found")),
		on("GET", "/templates/{ref}", "get-template", "Show a template", baadal.ActionTemplateRead, s.getTemplate, codes("ambiguous")),
		on("DELETE", "/templates/{ref}", "delete-template", "Delete a template that nothing stands on", baadal.ActionTemplateDelete,
			s.deleteTemplate, change, codes("stale", "busy", "ambiguous", "template_in_use", "template_not_ready")),
	}
}

func (s *Server) listTemplates(ctx context.Context, in *struct{ Page }) (*listOut[baadal.Template], error) {
	return listed(s.svc.Templates(ctx, actor(ctx), in.query()))
}

func (s *Server) importTemplate(ctx context.Context, in *struct {
	Dry
	Body baadal.TemplateImport
},
) (*changeOut[baadal.Template], error) {
	return made(s.svc.ImportTemplate(ctx, actor(ctx), in.Body, in.change()))
}

func (s *Server) getTemplate(ctx context.Context, in *struct{ Ref }) (*oneOut[baadal.Template], error) {
	return one(s.svc.Template(ctx, actor(ctx), in.Ref.Ref))
}

func (s *Server) deleteTemplate(ctx context.Context, in *changeIn) (*changeOut[baadal.Template], error) {
	return changed(s.svc.DeleteTemplate(ctx, actor(ctx), in.Ref.Ref, in.change()))
}

// uploadBody lifts the small limit and describes the body, which huma does not read.
func (s *Server) uploadBody(r *route) {
	r.limit = s.cfg.MaxUpload
	r.requestBody = &huma.RequestBody{
		Required: true, Description: "The file's bytes.",
		Content: map[string]*huma.MediaType{"application/octet-stream": {}},
	}
}

// uploadIn hands the body over as a stream.
type uploadIn struct {
	Datastore string `query:"datastore" doc:"Name or id of the datastore that it is put on; the one with most room if empty."`
	body      io.Reader
}

// Resolve takes the body from the request before the handler runs.
func (in *uploadIn) Resolve(hc huma.Context) []error {
	in.body = hc.BodyReader()
	return nil
}

func (s *Server) upload(ctx context.Context, in *uploadIn) (*struct{ Body service.Upload }, error) {
	u, err := s.svc.Upload(ctx, actor(ctx), in.Datastore, in.body)
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		err = tooLarge(s.cfg.MaxUpload)
	}
	return &struct{ Body service.Upload }{u}, err
}
