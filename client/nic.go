package client

import (
	"context"
	"net/http"
	"net/url"

	"baadal"
)

// NICs returns a VM's NICs, the first one first.
func (c *Client) NICs(ctx context.Context, vm string) (baadal.List[baadal.NIC], error) {
	return call[baadal.List[baadal.NIC]](ctx, c, get(at("vms", vm, "nics"), nil))
}

// AddNIC gives a VM another NIC.
func (c *Client) AddNIC(ctx context.Context, vm string, in baadal.NICAdd, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return call[baadal.Change[baadal.VM]](ctx, c, change(http.MethodPost, at("vms", vm, "nics"), in, opt))
}

// ChangeNIC puts a NIC (its number, address, MAC or network) into another
// network.
func (c *Client) ChangeNIC(ctx context.Context, vm, nic string, in baadal.NICChange, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return call[baadal.Change[baadal.VM]](ctx, c, change(http.MethodPost, at("vms", vm, "nics", url.PathEscape(nic), "change"), in, opt))
}

// RemoveNIC takes a NIC away from a VM.
func (c *Client) RemoveNIC(ctx context.Context, vm, nic string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return call[baadal.Change[baadal.VM]](ctx, c, change(http.MethodDelete, at("vms", vm, "nics", url.PathEscape(nic)), nil, opt))
}
