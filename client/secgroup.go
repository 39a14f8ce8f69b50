package client

import (
	"context"
	"net/http"

	"baadal"
)

// SecGroups returns one page of security groups.
func (c *Client) SecGroups(ctx context.Context, q baadal.ListQuery) (baadal.List[baadal.SecGroup], error) {
	return call[baadal.List[baadal.SecGroup]](ctx, c, get("/secgroups", listQuery(q)))
}

// SecGroup returns one security group by id or name.
func (c *Client) SecGroup(ctx context.Context, ref string) (baadal.SecGroup, error) {
	return call[baadal.SecGroup](ctx, c, get(at("secgroups", ref), nil))
}

// CreateSecGroup makes a security group.
func (c *Client) CreateSecGroup(ctx context.Context, in baadal.SecGroupCreate, opt baadal.ChangeOptions) (baadal.Change[baadal.SecGroup], error) {
	return call[baadal.Change[baadal.SecGroup]](ctx, c, create("/secgroups", in, opt))
}

// EditSecGroup changes a security group; what is nil or empty in the wish stays.
func (c *Client) EditSecGroup(ctx context.Context, ref string, in baadal.SecGroupEdit, opt baadal.ChangeOptions) (baadal.Change[baadal.SecGroup], error) {
	return call[baadal.Change[baadal.SecGroup]](ctx, c, change(http.MethodPatch, at("secgroups", ref), in, opt))
}

// DeleteSecGroup deletes a security group that no VM has.
func (c *Client) DeleteSecGroup(ctx context.Context, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.SecGroup], error) {
	return call[baadal.Change[baadal.SecGroup]](ctx, c, change(http.MethodDelete, at("secgroups", ref), nil, opt))
}
