package server

import (
	"context"

	"baadal"
)

func (s *Server) hostRoutes() []route {
	return []route{
		on("GET", "/hosts", "list-hosts", "List hosts", baadal.ActionHostRead, s.listHosts),
		on("POST", "/hosts", "add-host", "Add a host; its key is pinned", baadal.ActionHostAdd, s.addHost, creation,
			codes("exists", "bad_name", "fingerprint_unconfirmed", "fingerprint_differs", "address_in_use")),
		on("GET", "/hosts/{ref}", "get-host", "Show a host", baadal.ActionHostRead, s.getHost),
		on("DELETE", "/hosts/{ref}", "remove-host", "Remove a host without VMs", baadal.ActionHostRemove, s.removeHost, change,
			codes("stale", "busy", "host_in_use")),
		on("POST", "/hosts/{ref}/check", "check-host", "Look at a host again", baadal.ActionHostCheck, s.checkHost, change,
			codes("stale", "busy")),
	}
}

func (s *Server) listHosts(ctx context.Context, in *struct{ Page }) (*listOut[baadal.Host], error) {
	return listed(s.svc.Hosts(ctx, actor(ctx), in.query()))
}

func (s *Server) addHost(ctx context.Context, in *struct {
	Dry
	Body baadal.HostAdd
},
) (*changeOut[baadal.Host], error) {
	return made(s.svc.AddHost(ctx, actor(ctx), in.Body, in.change()))
}

func (s *Server) getHost(ctx context.Context, in *struct{ Ref }) (*oneOut[baadal.Host], error) {
	return one(s.svc.Host(ctx, actor(ctx), in.Ref.Ref))
}

func (s *Server) removeHost(ctx context.Context, in *changeIn) (*changeOut[baadal.Host], error) {
	return changed(s.svc.RemoveHost(ctx, actor(ctx), in.Ref.Ref, in.change()))
}

func (s *Server) checkHost(ctx context.Context, in *changeIn) (*changeOut[baadal.Host], error) {
	return changed(s.svc.CheckHost(ctx, actor(ctx), in.Ref.Ref, in.change()))
}
