package server

import (
	"context"

	"baadal"
)

func (s *Server) cdromRoutes() []route {
	return []route{
		on("POST", "/vms/{ref}/cdrom/insert", "insert-cdrom", "Put a CD image into a VM's drive, at once if it runs", baadal.ActionCDROMInsert,
			s.insertCDROM, change, actCodes, codes("vm_saved", "not_iso", "cdrom_full", "template_not_ready", "datastore_not_mounted", "no_drive", "not_found")),
		on("POST", "/vms/{ref}/cdrom/eject", "eject-cdrom", "Take out what is in a VM's drive", baadal.ActionCDROMEject,
			s.ejectCDROM, change, actCodes, codes("vm_saved", "cdrom_empty", "tray_locked")),
	}
}

func (s *Server) insertCDROM(ctx context.Context, in *struct {
	Ref
	Options
	Body baadal.CDROMInsert
},
) (*changeOut[baadal.VM], error) {
	return changed(s.svc.InsertCDROM(ctx, actor(ctx), in.Ref.Ref, in.Body, in.change()))
}

func (s *Server) ejectCDROM(ctx context.Context, in *struct {
	Ref
	Options
	Body baadal.CDROMEject
},
) (*changeOut[baadal.VM], error) {
	return changed(s.svc.EjectCDROM(ctx, actor(ctx), in.Ref.Ref, in.Body, in.change()))
}
