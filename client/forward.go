package client

import (
	"context"
	"net/http"
	"strconv"

	"baadal"
)

// Forwards returns all port mappings that the caller may see, the next to end
// first.
func (c *Client) Forwards(ctx context.Context) (baadal.List[baadal.Forward], error) {
	return call[baadal.List[baadal.Forward]](ctx, c, get("/forwards", nil))
}

// VMForwards returns a VM's port mappings.
func (c *Client) VMForwards(ctx context.Context, vm string) (baadal.List[baadal.Forward], error) {
	return call[baadal.List[baadal.Forward]](ctx, c, get(at("vms", vm, "forwards"), nil))
}

// Forward returns one port mapping of a VM.
func (c *Client) Forward(ctx context.Context, vm string, id int64) (baadal.Forward, error) {
	return call[baadal.Forward](ctx, c, get(at("vms", vm, "forwards", strconv.FormatInt(id, 10)), nil))
}

// AddForward opens a port of the VM to the outside for a time.
func (c *Client) AddForward(ctx context.Context, vm string, in baadal.ForwardAdd, opt baadal.ChangeOptions) (baadal.Change[baadal.Forward], error) {
	return call[baadal.Change[baadal.Forward]](ctx, c, create(at("vms", vm, "forwards"), in, opt))
}

// ExtendForward gives a port mapping another end, without interruption.
func (c *Client) ExtendForward(ctx context.Context, vm string, id int64, in baadal.ForwardExtend, opt baadal.ChangeOptions) (baadal.Change[baadal.Forward], error) {
	return call[baadal.Change[baadal.Forward]](ctx, c, change(http.MethodPost, at("vms", vm, "forwards", strconv.FormatInt(id, 10), "extend"), in, opt))
}

// EndForward ends a port mapping at once.
func (c *Client) EndForward(ctx context.Context, vm string, id int64, opt baadal.ChangeOptions) (baadal.Change[baadal.Forward], error) {
	return call[baadal.Change[baadal.Forward]](ctx, c, change(http.MethodDelete, at("vms", vm, "forwards", strconv.FormatInt(id, 10)), nil, opt))
}
