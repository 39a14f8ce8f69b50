package server

import (
	"context"

	"baadal"
)

func (s *Server) networkRoutes() []route {
	return []route{
		on("GET", "/networks", "list-networks", "List networks", baadal.ActionNetworkRead, s.listNetworks),
		on("POST", "/networks", "create-network", "Create a network with its VLAN and addresses", baadal.ActionNetworkCreate,
			s.createNetwork, creation, codes("exists", "bad_name", "subnet_overlaps", "mac_taken", "not_found", "busy")),
		on("GET", "/networks/{ref}", "get-network", "Show a network", baadal.ActionNetworkRead, s.getNetwork),
		on("GET", "/networks/{ref}/addresses", "list-network-addresses", "List a network's addresses and their owners",
			baadal.ActionNetworkAddresses, s.listAddresses),
		on("PATCH", "/networks/{ref}", "edit-network", "Change a network's name, who may use it, gateway, name servers; VLAN and subnet while nobody is in it",
			baadal.ActionNetworkUpdate, s.editNetwork, change,
			codes("stale", "busy", "exists", "bad_name", "no_change", "subnet_overlaps", "network_in_use", "address_in_use", "not_found")),
		on("DELETE", "/networks/{ref}", "delete-network", "Delete a network without VMs", baadal.ActionNetworkDelete,
			s.deleteNetwork, change, codes("stale", "busy", "network_in_use", "network_deleting", "network_builtin")),
		on("POST", "/networks/{ref}/ranges", "add-network-range", "Give a network more addresses", baadal.ActionNetworkUpdate,
			s.addNetworkRange, change, codes("stale", "busy", "exists", "mac_taken", "network_not_ready")),
		on("DELETE", "/networks/{ref}/ranges/{range}", "remove-network-range", "Take addresses, FIRST or FIRST-LAST, away from a network", baadal.ActionNetworkUpdate,
			s.removeNetworkRange, change, codes("stale", "busy", "address_in_use", "network_not_ready", "not_found")),
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

func (s *Server) editNetwork(ctx context.Context, in *struct {
	Ref
	Options
	Body baadal.NetworkEdit
},
) (*changeOut[baadal.Network], error) {
	return changed(s.svc.EditNetwork(ctx, actor(ctx), in.Ref.Ref, in.Body, in.change()))
}

func (s *Server) addNetworkRange(ctx context.Context, in *struct {
	Ref
	Options
	Body baadal.RangeAdd
},
) (*changeOut[baadal.Network], error) {
	return changed(s.svc.AddNetworkRange(ctx, actor(ctx), in.Ref.Ref, in.Body, in.change()))
}

func (s *Server) removeNetworkRange(ctx context.Context, in *struct {
	Ref
	Options
	Range string `path:"range" doc:"One address, or two with a dash between them."`
},
) (*changeOut[baadal.Network], error) {
	return changed(s.svc.RemoveNetworkRange(ctx, actor(ctx), in.Ref.Ref, in.Range, in.change()))
}
