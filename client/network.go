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

// EditNetwork changes a network; what is nil in the wish stays.
func (c *Client) EditNetwork(ctx context.Context, ref string, in baadal.NetworkEdit, opt baadal.ChangeOptions) (baadal.Change[baadal.Network], error) {
	return call[baadal.Change[baadal.Network]](ctx, c, change(http.MethodPatch, at("networks", ref), in, opt))
}

// AddNetworkRange gives a network more addresses.
func (c *Client) AddNetworkRange(ctx context.Context, ref string, in baadal.RangeAdd, opt baadal.ChangeOptions) (baadal.Change[baadal.Network], error) {
	return call[baadal.Change[baadal.Network]](ctx, c, change(http.MethodPost, at("networks", ref, "ranges"), in, opt))
}

// RemoveNetworkRange takes addresses away that nobody uses.
func (c *Client) RemoveNetworkRange(ctx context.Context, ref, first, last string, opt baadal.ChangeOptions) (baadal.Change[baadal.Network], error) {
	if last != "" {
		first += "-" + last
	}
	return call[baadal.Change[baadal.Network]](ctx, c, change(http.MethodDelete, at("networks", ref, "ranges", first), nil, opt))
}
