package server

import (
	"context"

	"baadal"
)

func (s *Server) moveVM(ctx context.Context, in *struct {
	Ref
	Options
	Body baadal.VMMove
},
) (*changeOut[baadal.VM], error) {
	return changed(s.svc.MoveVM(ctx, actor(ctx), in.Ref.Ref, in.Body, in.change()))
}
