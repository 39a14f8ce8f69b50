package server

import (
	"context"

	"baadal"
)

func (s *Server) migrateVM(ctx context.Context, in *struct {
	Ref
	Options
	Body baadal.VMMigrate
},
) (*changeOut[baadal.VM], error) {
	return changed(s.svc.MigrateVM(ctx, actor(ctx), in.Ref.Ref, in.Body, in.change()))
}
