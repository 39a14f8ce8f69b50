package server

import (
	"context"

	"baadal"
)

func (s *Server) publicRoutes() []route {
	return []route{
		on("GET", "/publics", "list-publics", "List the pool of public addresses, who has them, and what went through", baadal.ActionPublicRead, s.listPublics),
		on("POST", "/publics", "add-publics", "Put addresses into the pool of public addresses", baadal.ActionPublicAdd,
			s.addPublics, creation, codes("exists", "bad_range", "no_nat_box")),
		on("POST", "/publics/remove", "remove-publics", "Take addresses that nobody has out of the pool", baadal.ActionPublicRemove,
			s.removePublics, change, codes("bad_range", "public_in_use", "not_found")),
	}
}

func (s *Server) listPublics(ctx context.Context, in *struct{ Page }) (*listOut[baadal.PublicAddress], error) {
	return listed(s.svc.Publics(ctx, actor(ctx), in.query()))
}

func (s *Server) addPublics(ctx context.Context, in *struct {
	Dry
	Body baadal.PublicRange
},
) (*changeOut[baadal.PublicPool], error) {
	return made(s.svc.AddPublics(ctx, actor(ctx), in.Body, in.change()))
}

func (s *Server) removePublics(ctx context.Context, in *struct {
	Dry
	Body baadal.PublicRange
},
) (*changeOut[baadal.PublicPool], error) {
	return changed(s.svc.RemovePublics(ctx, actor(ctx), in.Body, in.change()))
}
