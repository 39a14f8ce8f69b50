package client

import (
	"context"
	"net/http"

	"baadal"
)

// MoveVM moves a VM's disks to another datastore.
func (c *Client) MoveVM(ctx context.Context, ref string, in baadal.VMMove, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return call[baadal.Change[baadal.VM]](ctx, c, change(http.MethodPost, at("vms", ref, "move"), in, opt))
}
