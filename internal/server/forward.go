package server

import (
	"context"

	"baadal"
)

func (s *Server) forwardRoutes() []route {
	return []route{
		on("GET", "/forwards", "list-forwards", "List all port mappings with the time that is left to them", baadal.ActionForwardRead, s.listForwards),
		on("GET", "/vms/{ref}/forwards", "list-vm-forwards", "List a VM's port mappings", baadal.ActionForwardRead, s.listVMForwards, codes("ambiguous")),
		on("GET", "/vms/{ref}/forwards/{forward}", "get-forward", "Show one port mapping", baadal.ActionForwardRead, s.getForward, codes("ambiguous")),
		on("POST", "/vms/{ref}/forwards", "add-forward", "Open a port of a VM to the outside for a time", baadal.ActionForwardAdd,
			s.addForward, creation, codes("ambiguous", "exists", "port_taken", "no_port", "forward_limit", "too_long", "vm_deleted", "no_nat_box")),
		on("POST", "/vms/{ref}/forwards/{forward}/extend", "extend-forward", "Give a port mapping another end, without interruption", baadal.ActionForwardExtend,
			s.extendForward, change, codes("ambiguous", "stale", "too_long", "no_nat_box")),
		on("DELETE", "/vms/{ref}/forwards/{forward}", "end-forward", "End a port mapping, and cut what is connected by it", baadal.ActionForwardEnd,
			s.endForward, change, codes("ambiguous", "stale")),
	}
}

// ForwardRef names one mapping of a VM in a path.
type ForwardRef struct {
	Ref
	Forward int64 `path:"forward" minimum:"1" doc:"Its id."`
}

func (s *Server) listForwards(ctx context.Context, _ *struct{}) (*listOut[baadal.Forward], error) {
	return all(s.svc.Forwards(ctx, actor(ctx)))
}

func (s *Server) listVMForwards(ctx context.Context, in *struct{ Ref }) (*listOut[baadal.Forward], error) {
	return all(s.svc.VMForwards(ctx, actor(ctx), in.Ref.Ref))
}

func (s *Server) getForward(ctx context.Context, in *struct{ ForwardRef }) (*oneOut[baadal.Forward], error) {
	return one(s.svc.Forward(ctx, actor(ctx), in.Ref.Ref, in.Forward))
}

func (s *Server) addForward(ctx context.Context, in *struct {
	Ref
	Dry
	Body baadal.ForwardAdd
},
) (*changeOut[baadal.Forward], error) {
	return made(s.svc.AddForward(ctx, actor(ctx), in.Ref.Ref, in.Body, in.change()))
}

func (s *Server) extendForward(ctx context.Context, in *struct {
	ForwardRef
	Options
	Body baadal.ForwardExtend
},
) (*changeOut[baadal.Forward], error) {
	return changed(s.svc.ExtendForward(ctx, actor(ctx), in.Ref.Ref, in.Forward, in.Body, in.change()))
}

func (s *Server) endForward(ctx context.Context, in *struct {
	ForwardRef
	Options
},
) (*changeOut[baadal.Forward], error) {
	return changed(s.svc.EndForward(ctx, actor(ctx), in.Ref.Ref, in.Forward, in.change()))
}
