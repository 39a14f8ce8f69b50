package server

import (
	"context"

	"baadal"
)

func (s *Server) vncRoutes() []route {
	return []route{
		on("GET", "/vnc-grants", "list-vnc-grants", "List the grants for VNC clients that live, the first to end first", baadal.ActionVNCRead, s.listVNCGrants),
		on("GET", "/vms/{ref}/vnc-grant", "get-vnc-grant", "Show a VM's grant for VNC clients", baadal.ActionVNCRead, s.vncGrant, codes("ambiguous", "no_vnc_grant")),
		on("POST", "/vms/{ref}/vnc-grant", "create-vnc-grant", "Let a VNC client see a VM's screen for a while; the password is shown once", baadal.ActionVNCGrant,
			s.grantVNC, created, codes("ambiguous", "vm_not_running", "host_unreachable", "vnc_granted", "vnc_limit", "no_vnc_address")),
		on("PUT", "/vms/{ref}/vnc-grant", "extend-vnc-grant", "Have a VM's grant for VNC clients last longer", baadal.ActionVNCExtend,
			s.extendVNC, codes("ambiguous", "no_vnc_grant")),
		on("DELETE", "/vms/{ref}/vnc-grant", "end-vnc-grant", "End a VM's grant for VNC clients, and who is connected", baadal.ActionVNCEnd,
			s.endVNC, noContent, codes("ambiguous", "no_vnc_grant")),
	}
}

func (s *Server) listVNCGrants(ctx context.Context, _ *struct{}) (*listOut[baadal.VNCGrant], error) {
	return all(s.svc.VNCGrants(ctx, actor(ctx)))
}

// vncGrantOut is a grant as an answer.
type vncGrantOut struct{ Body baadal.VNCGrant }

func (s *Server) vncGrant(ctx context.Context, in *struct{ Ref }) (*vncGrantOut, error) {
	g, err := s.svc.VNCGrant(ctx, actor(ctx), in.Ref.Ref)
	return &vncGrantOut{g}, err
}

func (s *Server) grantVNC(ctx context.Context, in *struct {
	Ref
	Body baadal.VNCGrantCreate
},
) (*vncGrantOut, error) {
	g, err := s.svc.GrantVNC(ctx, actor(ctx), in.Ref.Ref, in.Body)
	return &vncGrantOut{g}, err
}

func (s *Server) extendVNC(ctx context.Context, in *struct {
	Ref
	Body baadal.VNCGrantExtend
},
) (*vncGrantOut, error) {
	g, err := s.svc.ExtendVNC(ctx, actor(ctx), in.Ref.Ref, in.Body)
	return &vncGrantOut{g}, err
}

func (s *Server) endVNC(ctx context.Context, in *struct{ Ref }) (*struct{}, error) {
	return nil, s.svc.EndVNC(ctx, actor(ctx), in.Ref.Ref)
}
