package client

import (
	"context"
	"net/http"

	"baadal"
)

// Datastores returns one page.
func (c *Client) Datastores(ctx context.Context, q baadal.ListQuery) (baadal.List[baadal.Datastore], error) {
	return call[baadal.List[baadal.Datastore]](ctx, c, get("/datastores", listQuery(q)))
}

// Datastore returns one datastore by id or name.
func (c *Client) Datastore(ctx context.Context, ref string) (baadal.Datastore, error) {
	return call[baadal.Datastore](ctx, c, get(at("datastores", ref), nil))
}

// AddDatastore adds a file system that the hosts have mounted.
func (c *Client) AddDatastore(ctx context.Context, in baadal.DatastoreAdd, opt baadal.ChangeOptions) (baadal.Change[baadal.Datastore], error) {
	return call[baadal.Change[baadal.Datastore]](ctx, c, create("/datastores", in, opt))
}

// RemoveDatastore forgets a datastore that holds nothing of ours.
func (c *Client) RemoveDatastore(ctx context.Context, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.Datastore], error) {
	return call[baadal.Change[baadal.Datastore]](ctx, c, change(http.MethodDelete, at("datastores", ref), nil, opt))
}
