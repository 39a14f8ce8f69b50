package server

import (
	"context"

	"baadal"
)

func (s *Server) flattenVM(ctx context.Context, in *struct {
	Ref
	Options
	Body baadal.VMFlatten
},
) (*changeOut[baadal.VM], error) {
	return changed(s.svc.FlattenVM(ctx, actor(ctx), in.Ref.Ref, in.Body, in.change()))
}
