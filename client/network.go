package client

import (
	"context"
	"net/http"

	"baadal"
)

// Networks returns one page.
func (c *Client) Networks(ctx context.Context, q baadal.ListQuery) (baadal.List[baadal.Network], error) {
	return call[baadal.List[baadal.Network]](ctx, c, get("/networks", listQuery(q)))
}

// Network returns one network by id or name.
func (c *Client) Network(ctx context.Context, ref string) (baadal.Network, error) {
	return call[baadal.Network](ctx, c, get(at("networks", ref), nil))
}

// CreateNetwork makes a network with its VLAN and addresses.
func (c *Client) CreateNetwork(ctx context.Context, in baadal.NetworkCreate, opt baadal.ChangeOptions) (baadal.Change[baadal.Network], error) {
	return call[baadal.Change[baadal.Network]](ctx, c, create("/networks", in, opt))
}

// DeleteNetwork deletes a network without VMs.
func (c *Client) DeleteNetwork(ctx context.Context, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.Network], error) {
	return call[baadal.Change[baadal.Network]](ctx, c, change(http.MethodDelete, at("networks", ref), nil, opt))
}

// NetworkAddresses returns all addresses of a network with their owners.
func (c *Client) NetworkAddresses(ctx context.Context, ref string) (baadal.List[baadal.Address], error) {
	return call[baadal.List[baadal.Address]](ctx, c, get(at("networks", ref, "addresses"), nil))
}
