package client

import (
	"context"
	"net/http"

	"baadal"
)

// Settings returns all settings.
func (c *Client) Settings(ctx context.Context) (baadal.List[baadal.Setting], error) {
	return call[baadal.List[baadal.Setting]](ctx, c, get("/settings", nil))
}

// UpdateSetting sets one value.
func (c *Client) UpdateSetting(ctx context.Context, name, value string, opt baadal.ChangeOptions) (baadal.Setting, error) {
	return call[baadal.Setting](ctx, c, change(http.MethodPut, at("settings", name), map[string]string{"value": value}, opt))
}
