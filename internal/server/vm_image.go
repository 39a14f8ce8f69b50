package server

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"baadal"
)

// imageRoutes are about VMs that come from images and become images.
func (s *Server) imageRoutes() []route {
	claims := codes("exists", "bad_name", "bad_ssh_key", "no_address", "no_host", "no_datastore", "datastore_full", "no_network",
		"network_not_ready", "network_deleting", "no_vnc_port", "not_found", "bad_image", "host_unreachable")
	return []route{
		on("POST", "/vms/imports", "import-vm", "Make a VM of an uploaded disk image (qcow2, raw or vmdk)", baadal.ActionVMImport, s.importVM, creation,
			claims, codes("upload_taken", "busy")),
		on("POST", "/vms/launches", "launch-vm", "Make a VM of a disk image that lies on a datastore already", baadal.ActionVMLaunch, s.launchVM, creation,
			claims, codes("no_image")),
		on("POST", "/vms/adoptions", "adopt-vm", "Make a domain that exists on a host a VM of the cloud; a dry run tells what will be another than before",
			baadal.ActionVMAdopt, s.adoptVM, creation, claims, codes("no_domain", "not_adoptable")),
		on("POST", "/vms/{ref}/templates", "save-vm-as-template", "Save a VM's disk as a template, its owner's or everybody's", baadal.ActionVMSaveTemplate,
			s.saveVMAsTemplate, creation, actCodes, codes("bad_name", "exists", "vm_saved")),
		on("POST", "/vms/{ref}/exports", "export-vm", "Make a flat copy of a VM's disk to be fetched", baadal.ActionVMExport, s.exportVM, creation,
			actCodes, codes("vm_saved")),
		on("GET", "/exports/{id}", "get-export", "Show an export", baadal.ActionVMExport, s.getExport),
		on("GET", "/exports/{id}/file", "fetch-export", "Fetch an export's file (qcow2), or a range of it", baadal.ActionVMExport, s.fetchExport,
			imageFile, codes("export_not_ready", "no_host")),
		on("DELETE", "/exports/{id}", "delete-export", "Remove an export's file; one that nobody fetches goes by itself", baadal.ActionVMExport, s.deleteExport,
			change, codes("export_not_ready", "busy")),
	}
}

func (s *Server) importVM(ctx context.Context, in *struct {
	Dry
	Body baadal.VMImport
},
) (*changeOut[baadal.VM], error) {
	return made(s.svc.ImportVM(ctx, actor(ctx), in.Body, in.change()))
}

func (s *Server) launchVM(ctx context.Context, in *struct {
	Dry
	Body baadal.VMLaunch
},
) (*changeOut[baadal.VM], error) {
	return made(s.svc.LaunchVM(ctx, actor(ctx), in.Body, in.change()))
}

func (s *Server) adoptVM(ctx context.Context, in *struct {
	Dry
	Body baadal.VMAdopt
},
) (*changeOut[baadal.VM], error) {
	return made(s.svc.AdoptVM(ctx, actor(ctx), in.Body, in.change()))
}

func (s *Server) saveVMAsTemplate(ctx context.Context, in *struct {
	Ref
	Options
	Body baadal.VMSaveTemplate
},
) (*changeOut[baadal.Template], error) {
	return made(s.svc.SaveVMAsTemplate(ctx, actor(ctx), in.Ref.Ref, in.Body, in.change()))
}

func (s *Server) exportVM(ctx context.Context, in *changeIn) (*changeOut[baadal.Transfer], error) {
	return made(s.svc.ExportVM(ctx, actor(ctx), in.Ref.Ref, in.change()))
}

// ExportID is the number of an export.
type ExportID struct {
	ID int64 `path:"id" minimum:"1"`
}

func (s *Server) getExport(ctx context.Context, in *ExportID) (*oneOut[baadal.Transfer], error) {
	return one(s.svc.Export(ctx, actor(ctx), in.ID))
}

func (s *Server) deleteExport(ctx context.Context, in *struct {
	ExportID
	Dry
},
) (*changeOut[baadal.Transfer], error) {
	return changed(s.svc.RemoveExport(ctx, actor(ctx), in.ID, in.change()))
}

// imageFile describes the file, which huma does not write.
func imageFile(r *route) {
	r.alternates = []int{http.StatusPartialContent}
	r.response = &huma.Response{
		Description: "The file's bytes. Its ETag and Repr-Digest are its SHA-256; Range and If-Range go on with a download that broke off.",
		Content:     map[string]*huma.MediaType{"application/octet-stream": {}},
	}
}

// fetchExport streams the file from a host. When the client goes away so does
// what reads it there.
func (s *Server) fetchExport(ctx context.Context, in *struct {
	ExportID
	Range   string `header:"Range" doc:"As bytes=1000-."`
	IfRange string `header:"If-Range" doc:"The ETag that the range is meant for; otherwise the whole file comes."`
},
) (*huma.StreamResponse, error) {
	f, content, err := s.svc.OpenExport(ctx, actor(ctx), in.ID)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer content.Close()
		r, w := humago.Unwrap(hc)
		h := w.Header()
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Content-Disposition", "attachment; filename="+strconv.Quote(f.Name))
		h.Set("ETag", strconv.Quote(f.SHA256))
		if sum, err := hex.DecodeString(f.SHA256); err == nil {
			h.Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum)+":")
		}
		http.ServeContent(w, r, "", f.CreatedAt, content)
	}}, nil
}
