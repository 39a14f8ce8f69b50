package server

import (
	"context"

	"baadal"
)

func (s *Server) networkRoutes() []route {
	return []route{
		on("GET", "/networks", "list-networks", "List networks", baadal.ActionNetworkRead, s.listNetworks),
		on("POST", "/networks", "create-network", "Create a network with its VLAN and addresses", baadal.ActionNetworkCreate,
			s.createNetwork, creation, codes("exists", "bad_name", "subnet_overlaps", "mac_taken")),
		on("GET", "/networks/{ref}", "get-network", "Show a network", baadal.ActionNetworkRead, s.getNetwork),
		on("GET", "/networks/{ref}/addresses", "list-network-addresses", "List a network's addresses and their owners",
			baadal.ActionNetworkAddresses, s.listAddresses),
		on("DELETE", "/networks/{ref}", "delete-network", "Delete a network without VMs", baadal.ActionNetworkDelete,
			s.deleteNetwork, change, codes("stale", "busy", "network_in_use", "network_deleting")),
	}
}

func (s *Server) listNetworks(ctx context.Context, in *struct{ Page }) (*listOut[baadal.Network], error) {
	return listed(s.svc.Networks(ctx, actor(ctx), in.query()))
}

func (s *Server) createNetwork(ctx context.Context, in *struct {
	Dry
	Body baadal.NetworkCreate
},
) (*changeOut[baadal.Network], error) {
	return made(s.svc.CreateNetwork(ctx, actor(ctx), in.Body, in.change()))
}

func (s *Server) getNetwork(ctx context.Context, in *struct{ Ref }) (*oneOut[baadal.Network], error) {
	return one(s.svc.Network(ctx, actor(ctx), in.Ref.Ref))
}

func (s *Server) listAddresses(ctx context.Context, in *struct{ Ref }) (*listOut[baadal.Address], error) {
	return all(s.svc.NetworkAddresses(ctx, actor(ctx), in.Ref.Ref))
}

func (s *Server) deleteNetwork(ctx context.Context, in *changeIn) (*changeOut[baadal.Network], error) {
	return changed(s.svc.DeleteNetwork(ctx, actor(ctx), in.Ref.Ref, in.change()))
}
