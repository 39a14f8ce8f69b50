package client

import (
	"context"
	"net/http"

	"baadal"
)

// Affinities returns one page of affinity groups.
func (c *Client) Affinities(ctx context.Context, q baadal.ListQuery) (baadal.List[baadal.Affinity], error) {
	return call[baadal.List[baadal.Affinity]](ctx, c, get("/affinities", listQuery(q)))
}

// Affinity returns one affinity group by id or name.
func (c *Client) Affinity(ctx context.Context, ref string) (baadal.Affinity, error) {
	return call[baadal.Affinity](ctx, c, get(at("affinities", ref), nil))
}

// CreateAffinity makes an affinity group.
func (c *Client) CreateAffinity(ctx context.Context, in baadal.AffinityCreate, opt baadal.ChangeOptions) (baadal.Change[baadal.Affinity], error) {
	return call[baadal.Change[baadal.Affinity]](ctx, c, create("/affinities", in, opt))
}

// EditAffinity changes an affinity group; what is nil or empty in the wish stays.
func (c *Client) EditAffinity(ctx context.Context, ref string, in baadal.AffinityEdit, opt baadal.ChangeOptions) (baadal.Change[baadal.Affinity], error) {
	return call[baadal.Change[baadal.Affinity]](ctx, c, change(http.MethodPatch, at("affinities", ref), in, opt))
}

// DeleteAffinity deletes an affinity group; its VMs stay.
func (c *Client) DeleteAffinity(ctx context.Context, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.Affinity], error) {
	return call[baadal.Change[baadal.Affinity]](ctx, c, change(http.MethodDelete, at("affinities", ref), nil, opt))
}
