package client

import (
	"context"
	"net/http"

	"baadal"
)

// VNCGrants returns the grants for VNC clients that live, of all VMs that one
// may see.
func (c *Client) VNCGrants(ctx context.Context) (baadal.List[baadal.VNCGrant], error) {
	return call[baadal.List[baadal.VNCGrant]](ctx, c, get("/vnc-grants", nil))
}

// VNCGrant returns a VM's grant; NotFound (code no_vnc_grant) if it has none.
func (c *Client) VNCGrant(ctx context.Context, vm string) (baadal.VNCGrant, error) {
	return call[baadal.VNCGrant](ctx, c, get(at("vms", vm, "vnc-grant"), nil))
}

// GrantVNC lets a VNC client see the VM's screen for a while. The password is
// in this answer and in no other.
func (c *Client) GrantVNC(ctx context.Context, vm string, in baadal.VNCGrantCreate) (baadal.VNCGrant, error) {
	return call[baadal.VNCGrant](ctx, c, request{method: http.MethodPost, path: at("vms", vm, "vnc-grant"), body: in})
}

// ExtendVNC has the VM's grant last longer, from now on.
func (c *Client) ExtendVNC(ctx context.Context, vm string, in baadal.VNCGrantExtend) (baadal.VNCGrant, error) {
	return call[baadal.VNCGrant](ctx, c, request{method: http.MethodPut, path: at("vms", vm, "vnc-grant"), body: in})
}

// EndVNC ends the VM's grant.
func (c *Client) EndVNC(ctx context.Context, vm string) error {
	_, err := c.do(ctx, request{method: http.MethodDelete, path: at("vms", vm, "vnc-grant")}, nil)
	return err
}
