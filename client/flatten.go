package client

import (
	"context"
	"net/http"

	"baadal"
)

// FlattenVM makes a VM's disks stand on no bases any more.
func (c *Client) FlattenVM(ctx context.Context, ref string, in baadal.VMFlatten, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return call[baadal.Change[baadal.VM]](ctx, c, change(http.MethodPost, at("vms", ref, "flatten"), in, opt))
}
