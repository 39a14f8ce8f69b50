package server

import (
	"context"

	"baadal"
)

func (s *Server) affinityRoutes() []route {
	return []route{
		on("GET", "/affinities", "list-affinities", "List affinity groups: VMs that are kept together or apart", baadal.ActionAffinityRead, s.listAffinities),
		on("POST", "/affinities", "create-affinity", "Make an affinity group", baadal.ActionAffinityCreate,
			s.createAffinity, creation, codes("exists", "bad_name", "vm_deleted", "ambiguous", "not_found")),
		on("GET", "/affinities/{ref}", "get-affinity", "Show an affinity group", baadal.ActionAffinityRead, s.getAffinity, codes("ambiguous")),
		on("PATCH", "/affinities/{ref}", "edit-affinity", "Change an affinity group's name, rule and members; VMs that run stay where they are", baadal.ActionAffinityUpdate,
			s.editAffinity, change, codes("exists", "bad_name", "no_change", "stale", "vm_deleted", "ambiguous", "not_found")),
		on("DELETE", "/affinities/{ref}", "delete-affinity", "Delete an affinity group; its VMs stay", baadal.ActionAffinityDelete,
			s.deleteAffinity, change, codes("stale", "ambiguous")),
	}
}

func (s *Server) listAffinities(ctx context.Context, in *struct{ Page }) (*listOut[baadal.Affinity], error) {
	return listed(s.svc.Affinities(ctx, actor(ctx), in.query()))
}

func (s *Server) createAffinity(ctx context.Context, in *struct {
	Dry
	Body baadal.AffinityCreate
},
) (*changeOut[baadal.Affinity], error) {
	return made(s.svc.CreateAffinity(ctx, actor(ctx), in.Body, in.change()))
}

func (s *Server) getAffinity(ctx context.Context, in *struct{ Ref }) (*oneOut[baadal.Affinity], error) {
	return one(s.svc.Affinity(ctx, actor(ctx), in.Ref.Ref))
}

func (s *Server) editAffinity(ctx context.Context, in *struct {
	Ref
	Options
	Body baadal.AffinityEdit
},
) (*changeOut[baadal.Affinity], error) {
	return changed(s.svc.EditAffinity(ctx, actor(ctx), in.Ref.Ref, in.Body, in.change()))
}

func (s *Server) deleteAffinity(ctx context.Context, in *changeIn) (*changeOut[baadal.Affinity], error) {
	return changed(s.svc.DeleteAffinity(ctx, actor(ctx), in.Ref.Ref, in.change()))
}
