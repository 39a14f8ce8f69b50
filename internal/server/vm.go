package server

import (
	"context"

	"baadal"
)

func (s *Server) vmRoutes() []route {
	return []route{
		on("GET", "/vms", "list-vms", "List VMs", baadal.ActionVMRead, s.listVMs),
		on("POST", "/vms", "create-vm", "Create a VM", baadal.ActionVMCreate, s.createVM, creation,
			codes("exists", "bad_name", "bad_ssh_key", "no_address", "no_host", "no_datastore", "datastore_full", "no_network",
				"network_not_ready", "network_deleting", "template_not_ready", "ambiguous", "no_vnc_port", "not_found")),
		on("GET", "/vms/{ref}", "get-vm", "Show a VM", baadal.ActionVMRead, s.getVM, codes("ambiguous")),
		on("GET", "/vms/{ref}/history", "list-vm-history", "List what happened to a VM, with who, when, and old and new values",
			baadal.ActionVMRead, s.listVMHistory, codes("ambiguous")),
		on("GET", "/vms/{ref}/stats", "get-vm-stats", "Show what a VM uses now: CPU, memory, disk and network rates",
			baadal.ActionVMRead, s.getVMStats, codes("ambiguous", "vm_state", "no_stats")),
		on("GET", "/vm-usages", "list-vm-usages", "List VMs with what they use now", baadal.ActionVMRead, s.listVMUsages),
		on("PATCH", "/vms/{ref}", "edit-vm", "Change a VM's size, network, name, purpose, boot order or autostart policy; the task says what holds now and what from its next cold start on",
			baadal.ActionVMEdit, s.editVM, change, actCodes, codes("bad_name", "exists", "no_change", "no_host", "vm_saved", "bad_boot"), nicCodes),
		on("DELETE", "/vms/{ref}", "delete-vm", "Delete a VM; it can be restored until its retention ends",
			baadal.ActionVMDelete, s.actVM(baadal.ActionVMDelete), change, actCodes),
		on("POST", "/vms/{ref}/start", "start-vm", "Start a VM", baadal.ActionVMStart, s.actVM(baadal.ActionVMStart), change,
			actCodes, codes("vm_running", "affinity")),
		on("POST", "/vms/{ref}/shutdown", "shutdown-vm", "Ask a VM's guest to shut down", baadal.ActionVMShutdown,
			s.actVM(baadal.ActionVMShutdown), change, actCodes, codes("vm_off")),
		on("POST", "/vms/{ref}/reboot", "reboot-vm", "Ask a VM's guest to reboot", baadal.ActionVMReboot,
			s.actVM(baadal.ActionVMReboot), change, actCodes),
		on("POST", "/vms/{ref}/destroy", "destroy-vm", "Pull a VM's power cord; its disks stay", baadal.ActionVMDestroy,
			s.actVM(baadal.ActionVMDestroy), change, actCodes, codes("vm_off")),
		on("POST", "/vms/{ref}/suspend", "suspend-vm", "Stop a VM's CPUs; its memory stays", baadal.ActionVMSuspend,
			s.actVM(baadal.ActionVMSuspend), change, actCodes, codes("vm_paused")),
		on("POST", "/vms/{ref}/resume", "resume-vm", "Let a paused VM go on", baadal.ActionVMResume,
			s.actVM(baadal.ActionVMResume), change, actCodes, codes("vm_running")),
		on("POST", "/vms/{ref}/reset", "reset-vm", "Press a VM's reset button", baadal.ActionVMReset,
			s.actVM(baadal.ActionVMReset), change, actCodes),
		on("POST", "/vms/{ref}/save", "save-vm", "Save a VM's memory to its host's disk and switch it off; its next start goes on from there",
			baadal.ActionVMSave, s.actVM(baadal.ActionVMSave), change, actCodes, codes("vm_off")),
		on("POST", "/vms/{ref}/restore", "restore-vm", "Restore a deleted VM", baadal.ActionVMRestore,
			s.actVM(baadal.ActionVMRestore), change, actCodes,
			codes("no_address", "no_host", "datastore_full", "no_vnc_port", "retention_over")),
		on("POST", "/vms/{ref}/migrate", "migrate-vm", "Move a VM to another host; it keeps running", baadal.ActionVMMigrate, s.migrateVM, change,
			actCodes, codes("no_host", "same_host", "vm_saved", "not_found")),
		on("POST", "/vms/{ref}/move", "move-vm", "Move a VM's disks to another datastore; it keeps running", baadal.ActionVMMove, s.moveVM, change,
			actCodes, codes("no_datastore", "datastore_full", "same_datastore", "has_snapshots", "disk_creating", "disk_deleted", "vm_saved", "not_found")),
		on("POST", "/vms/{ref}/clones", "clone-vm", "Make clones of a VM; the task has a part for each", baadal.ActionVMClone, s.cloneVM, creation,
			actCodes, codes("vm_saved", "bad_name", "exists", "no_address", "no_host", "datastore_full", "no_vnc_port", "not_found")),
		on("POST", "/vms/{ref}/flatten", "flatten-vm", "Make a VM's disks stand on no bases any more", baadal.ActionVMFlatten, s.flattenVM, change,
			actCodes, codes("flat", "has_snapshots", "vm_saved")),
		on("POST", "/vms/{ref}/console-password", "take-vm-password",
			"Take the password of a VM's first user; it is shown once", baadal.ActionVMPassword, s.takeVMPassword, codes("password_taken", "vm_busy", "ambiguous")),
	}
}

// actCodes are what every act on a VM may be refused with.
func actCodes(r *route) {
	codes("vm_busy", "busy", "vm_deleted", "vm_missing", "vm_state", "host_unreachable", "ambiguous", "stale")(r)
}

func (s *Server) listVMs(ctx context.Context, in *struct{ Page }) (*listOut[baadal.VM], error) {
	return listed(s.svc.VMs(ctx, actor(ctx), in.query()))
}

func (s *Server) createVM(ctx context.Context, in *struct {
	Dry
	Body baadal.VMCreate
},
) (*changeOut[baadal.VM], error) {
	return made(s.svc.CreateVM(ctx, actor(ctx), in.Body, in.change()))
}

func (s *Server) getVM(ctx context.Context, in *struct{ Ref }) (*oneOut[baadal.VM], error) {
	return one(s.svc.VM(ctx, actor(ctx), in.Ref.Ref))
}

func (s *Server) editVM(ctx context.Context, in *struct {
	Ref
	Options
	Body baadal.VMEdit
},
) (*changeOut[baadal.VM], error) {
	return changed(s.svc.EditVM(ctx, actor(ctx), in.Ref.Ref, in.Body, in.change()))
}

func (s *Server) cloneVM(ctx context.Context, in *struct {
	Ref
	Options
	Body baadal.VMClone
},
) (*changeOut[baadal.VM], error) {
	return made(s.svc.CloneVM(ctx, actor(ctx), in.Ref.Ref, in.Body, in.change()))
}

func (s *Server) listVMHistory(ctx context.Context, in *struct {
	Ref
	Page
},
) (*listOut[baadal.Event], error) {
	return listed(s.svc.VMHistory(ctx, actor(ctx), in.Ref.Ref, in.query()))
}

func (s *Server) listVMUsages(ctx context.Context, in *struct{ Page }) (*listOut[baadal.VMUsage], error) {
	return listed(s.svc.VMUsages(ctx, actor(ctx), in.query()))
}

func (s *Server) getVMStats(ctx context.Context, in *struct{ Ref }) (*struct{ Body baadal.VMStats }, error) {
	stats, err := s.svc.VMStats(ctx, actor(ctx), in.Ref.Ref)
	return &struct{ Body baadal.VMStats }{stats}, err
}

// changeIn is a change of one thing without a body.
type changeIn struct {
	Ref
	Options
}

func (s *Server) actVM(action baadal.Action) func(context.Context, *changeIn) (*changeOut[baadal.VM], error) {
	return func(ctx context.Context, in *changeIn) (*changeOut[baadal.VM], error) {
		return changed(s.svc.ActVM(ctx, actor(ctx), action, in.Ref.Ref, in.change()))
	}
}

// ConsolePassword is a VM's first password.
type ConsolePassword struct {
	Password string `json:"password" doc:"Of the user of the VM's console. It is not shown again."`
}

func (s *Server) takeVMPassword(ctx context.Context, in *struct{ Ref }) (*struct{ Body ConsolePassword }, error) {
	password, err := s.svc.VMPassword(ctx, actor(ctx), in.Ref.Ref)
	return &struct{ Body ConsolePassword }{ConsolePassword{password}}, err
}
