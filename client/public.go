package client

import (
	"context"
	"net/http"

	"baadal"
)

// Publics returns one page of the pool of public addresses.
func (c *Client) Publics(ctx context.Context, q baadal.ListQuery) (baadal.List[baadal.PublicAddress], error) {
	return call[baadal.List[baadal.PublicAddress]](ctx, c, get("/publics", listQuery(q)))
}

// AddPublics puts addresses into the pool.
func (c *Client) AddPublics(ctx context.Context, in baadal.PublicRange, opt baadal.ChangeOptions) (baadal.Change[baadal.PublicPool], error) {
	return call[baadal.Change[baadal.PublicPool]](ctx, c, create("/publics", in, opt))
}

// RemovePublics takes addresses that nobody has out of the pool.
func (c *Client) RemovePublics(ctx context.Context, in baadal.PublicRange, opt baadal.ChangeOptions) (baadal.Change[baadal.PublicPool], error) {
	return call[baadal.Change[baadal.PublicPool]](ctx, c, change(http.MethodPost, "/publics/remove", in, opt))
}
