package server

import (
	"context"

	"baadal"
)

func (s *Server) auditRoutes() []route {
	return []route{
		on("GET", "/audit", "get-audit", "Show the last audit", baadal.ActionAuditRead, s.getAudit, codes("not_found")),
		on("POST", "/audit", "run-audit", "Compare the store with the world; repair what is safe to", baadal.ActionAuditRepair,
			s.runAudit, change, codes("busy")),
	}
}

func (s *Server) getAudit(ctx context.Context, _ *struct{}) (*oneOut[baadal.Audit], error) {
	return one(s.svc.LastAudit(ctx, actor(ctx)))
}

// AuditRun says what an audit may do.
type AuditRun struct {
	Repair bool `json:"repair,omitempty" doc:"Repair what is safe to repair."`
}

func (s *Server) runAudit(ctx context.Context, in *struct {
	Dry
	Body AuditRun
},
) (*changeOut[baadal.Audit], error) {
	return changed(s.svc.RunAudit(ctx, actor(ctx), in.Body.Repair, in.change()))
}
