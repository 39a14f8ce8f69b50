package client

import (
	"context"
	"net/http"

	"baadal"
)

// LastAudit returns the last audit; NotFound if none ran yet.
func (c *Client) LastAudit(ctx context.Context) (baadal.Audit, error) {
	return call[baadal.Audit](ctx, c, get("/audit", nil))
}

// RunAudit starts an audit as a task; its result is LastAudit's once it ended.
func (c *Client) RunAudit(ctx context.Context, repair bool, opt baadal.ChangeOptions) (baadal.Change[baadal.Audit], error) {
	return call[baadal.Change[baadal.Audit]](ctx, c, change(http.MethodPost, "/audit", map[string]bool{"repair": repair}, opt))
}
