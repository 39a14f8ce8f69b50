package server

import (
	"context"

	"baadal"
)

func (s *Server) settingRoutes() []route {
	return []route{
		on("GET", "/settings", "list-settings", "List settings", baadal.ActionSettingRead, s.listSettings),
		on("PUT", "/settings/{name}", "update-setting", "Change a setting", baadal.ActionSettingUpdate, s.updateSetting, codes("stale")),
	}
}

func (s *Server) listSettings(ctx context.Context, _ *struct{}) (*listOut[baadal.Setting], error) {
	return all(s.svc.Settings(ctx, actor(ctx)))
}

// SettingUpdate is a setting's new value.
type SettingUpdate struct {
	Value string `json:"value" maxLength:"1024"`
}

func (s *Server) updateSetting(ctx context.Context, in *struct {
	Name string `path:"name" maxLength:"64"`
	Options
	Body SettingUpdate
},
) (*oneOut[baadal.Setting], error) {
	return one(s.svc.UpdateSetting(ctx, actor(ctx), in.Name, in.Body.Value, in.change()))
}
