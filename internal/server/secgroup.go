package server

import (
	"context"

	"baadal"
)

func (s *Server) secGroupRoutes() []route {
	return []route{
		on("GET", "/secgroups", "list-secgroups", "List security groups: firewall rules that VMs can have", baadal.ActionSecGroupRead, s.listSecGroups),
		on("POST", "/secgroups", "create-secgroup", "Make a security group", baadal.ActionSecGroupCreate,
			s.createSecGroup, creation, codes("exists", "bad_name", "not_found")),
		on("GET", "/secgroups/{ref}", "get-secgroup", "Show a security group", baadal.ActionSecGroupRead, s.getSecGroup, codes("ambiguous")),
		on("PATCH", "/secgroups/{ref}", "edit-secgroup", "Change a security group's name and rules; it holds at once for the VMs that have it", baadal.ActionSecGroupUpdate,
			s.editSecGroup, change, codes("exists", "bad_name", "no_change", "stale", "ambiguous", "not_found")),
		on("DELETE", "/secgroups/{ref}", "delete-secgroup", "Delete a security group that no VM has", baadal.ActionSecGroupDelete,
			s.deleteSecGroup, change, codes("stale", "ambiguous", "secgroup_in_use")),
	}
}

func (s *Server) listSecGroups(ctx context.Context, in *struct{ Page }) (*listOut[baadal.SecGroup], error) {
	return listed(s.svc.SecGroups(ctx, actor(ctx), in.query()))
}

func (s *Server) createSecGroup(ctx context.Context, in *struct {
	Dry
	Body baadal.SecGroupCreate
},
) (*changeOut[baadal.SecGroup], error) {
	return made(s.svc.CreateSecGroup(ctx, actor(ctx), in.Body, in.change()))
}

func (s *Server) getSecGroup(ctx context.Context, in *struct{ Ref }) (*oneOut[baadal.SecGroup], error) {
	return one(s.svc.SecGroup(ctx, actor(ctx), in.Ref.Ref))
}

func (s *Server) editSecGroup(ctx context.Context, in *struct {
	Ref
	Options
	Body baadal.SecGroupEdit
},
) (*changeOut[baadal.SecGroup], error) {
	return changed(s.svc.EditSecGroup(ctx, actor(ctx), in.Ref.Ref, in.Body, in.change()))
}

func (s *Server) deleteSecGroup(ctx context.Context, in *changeIn) (*changeOut[baadal.SecGroup], error) {
	return changed(s.svc.DeleteSecGroup(ctx, actor(ctx), in.Ref.Ref, in.change()))
}
