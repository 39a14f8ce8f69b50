package client

import (
	"context"
	"net/http"

	"baadal"
)

// Hosts returns one page.
func (c *Client) Hosts(ctx context.Context, q baadal.ListQuery) (baadal.List[baadal.Host], error) {
	return call[baadal.List[baadal.Host]](ctx, c, get("/hosts", listQuery(q)))
}

// Host returns one host by id or name.
func (c *Client) Host(ctx context.Context, ref string) (baadal.Host, error) {
	return call[baadal.Host](ctx, c, get(at("hosts", ref), nil))
}

// AddHost adds a host. Without a fingerprint it fails with code "fingerprint_unconfirmed",
// the one found in its detail.
func (c *Client) AddHost(ctx context.Context, in baadal.HostAdd, opt baadal.ChangeOptions) (baadal.Change[baadal.Host], error) {
	return call[baadal.Change[baadal.Host]](ctx, c, create("/hosts", in, opt))
}

// RemoveHost forgets a host that has no VMs.
func (c *Client) RemoveHost(ctx context.Context, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.Host], error) {
	return call[baadal.Change[baadal.Host]](ctx, c, change(http.MethodDelete, at("hosts", ref), nil, opt))
}

// CheckHost looks at a host again.
func (c *Client) CheckHost(ctx context.Context, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.Host], error) {
	return call[baadal.Change[baadal.Host]](ctx, c, change(http.MethodPost, at("hosts", ref, "check"), nil, opt))
}
