package server

import (
	"context"

	"baadal"
)

func (s *Server) nicRoutes() []route {
	return []route{
		on("GET", "/vms/{ref}/nics", "list-nics", "List a VM's NICs, the first one first", baadal.ActionVMRead, s.listNICs, codes("ambiguous")),
		on("POST", "/vms/{ref}/nics", "add-nic", "Give a VM another NIC, at once if it runs", baadal.ActionNICAdd,
			s.addNIC, change, actCodes, nicCodes, codes("too_many_nics")),
		on("POST", "/vms/{ref}/nics/{nic}/change", "change-nic", "Put a NIC into another network, at once if the VM runs; it keeps its MAC", baadal.ActionNICChange,
			s.changeNIC, change, actCodes, nicCodes, codes("nic_unknown")),
		on("DELETE", "/vms/{ref}/nics/{nic}", "remove-nic", "Take a NIC away from a VM, at once if it runs", baadal.ActionNICRemove,
			s.removeNIC, change, actCodes, codes("vm_saved", "nic_unknown", "first_nic")),
	}
}

// nicCodes are what a wish for a network may be refused with.
func nicCodes(r *route) {
	codes("vm_saved", "nic_network", "no_address", "network_not_ready", "network_deleting", "not_found")(r)
}

// NICRef names one NIC of a VM in a path.
type NICRef struct {
	Ref
	NIC string `path:"nic" maxLength:"255" doc:"Number (0 is the first one), address, MAC, or name of the network."`
}

func (s *Server) listNICs(ctx context.Context, in *struct{ Ref }) (*listOut[baadal.NIC], error) {
	return all(s.svc.NICs(ctx, actor(ctx), in.Ref.Ref))
}

func (s *Server) addNIC(ctx context.Context, in *struct {
	Ref
	Options
	Body baadal.NICAdd
},
) (*changeOut[baadal.VM], error) {
	return changed(s.svc.AddNIC(ctx, actor(ctx), in.Ref.Ref, in.Body, in.change()))
}

func (s *Server) changeNIC(ctx context.Context, in *struct {
	NICRef
	Options
	Body baadal.NICChange
},
) (*changeOut[baadal.VM], error) {
	return changed(s.svc.ChangeNIC(ctx, actor(ctx), in.Ref.Ref, in.NIC, in.Body, in.change()))
}

func (s *Server) removeNIC(ctx context.Context, in *struct {
	NICRef
	Options
},
) (*changeOut[baadal.VM], error) {
	return changed(s.svc.RemoveNIC(ctx, actor(ctx), in.Ref.Ref, in.NIC, in.change()))
}
