package client

import (
	"context"
	"net/http"

	"baadal"
)

// VMs returns one page.
func (c *Client) VMs(ctx context.Context, q baadal.ListQuery) (baadal.List[baadal.VM], error) {
	return call[baadal.List[baadal.VM]](ctx, c, get("/vms", listQuery(q)))
}

// VM returns one VM by id, UUID or name.
func (c *Client) VM(ctx context.Context, ref string) (baadal.VM, error) {
	return call[baadal.VM](ctx, c, get(at("vms", ref), nil))
}

// CreateVM creates a VM.
func (c *Client) CreateVM(ctx context.Context, in baadal.VMCreate, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return call[baadal.Change[baadal.VM]](ctx, c, create("/vms", in, opt))
}

// VMHistory returns one page of what happened to a VM, newest first.
func (c *Client) VMHistory(ctx context.Context, ref string, q baadal.ListQuery) (baadal.List[baadal.Event], error) {
	return call[baadal.List[baadal.Event]](ctx, c, get(at("vms", ref, "history"), listQuery(q)))
}

// VMStats returns what a VM uses now.
func (c *Client) VMStats(ctx context.Context, ref string) (baadal.VMStats, error) {
	return call[baadal.VMStats](ctx, c, get(at("vms", ref, "stats"), nil))
}

// VMUsages returns one page of VMs with what they use now.
func (c *Client) VMUsages(ctx context.Context, q baadal.ListQuery) (baadal.List[baadal.VMUsage], error) {
	return call[baadal.List[baadal.VMUsage]](ctx, c, get("/vm-usages", listQuery(q)))
}

// EditVM changes a VM; what is nil in the wish stays. Without a change of its
// size there is no task.
func (c *Client) EditVM(ctx context.Context, ref string, in baadal.VMEdit, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return call[baadal.Change[baadal.VM]](ctx, c, change(http.MethodPatch, at("vms", ref), in, opt))
}

// DeleteVM deletes a VM; it can be restored until its retention ends.
func (c *Client) DeleteVM(ctx context.Context, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return call[baadal.Change[baadal.VM]](ctx, c, change(http.MethodDelete, at("vms", ref), nil, opt))
}

// StartVM starts a VM.
func (c *Client) StartVM(ctx context.Context, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return c.actVM(ctx, ref, "start", opt)
}

// ShutdownVM asks the guest to shut down.
func (c *Client) ShutdownVM(ctx context.Context, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return c.actVM(ctx, ref, "shutdown", opt)
}

// RebootVM asks the guest to reboot.
func (c *Client) RebootVM(ctx context.Context, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return c.actVM(ctx, ref, "reboot", opt)
}

// DestroyVM pulls the power cord; the disks stay.
func (c *Client) DestroyVM(ctx context.Context, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return c.actVM(ctx, ref, "destroy", opt)
}

// SuspendVM stops a VM's CPUs.
func (c *Client) SuspendVM(ctx context.Context, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return c.actVM(ctx, ref, "suspend", opt)
}

// ResumeVM lets a paused VM go on.
func (c *Client) ResumeVM(ctx context.Context, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return c.actVM(ctx, ref, "resume", opt)
}

// ResetVM presses a VM's reset button.
func (c *Client) ResetVM(ctx context.Context, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return c.actVM(ctx, ref, "reset", opt)
}

// SaveVM saves a VM's memory to disk and switches it off; StartVM goes on from
// there.
func (c *Client) SaveVM(ctx context.Context, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return c.actVM(ctx, ref, "save", opt)
}

// RestoreVM brings a deleted VM back.
func (c *Client) RestoreVM(ctx context.Context, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return c.actVM(ctx, ref, "restore", opt)
}

// MigrateVM moves a VM to another host.
func (c *Client) MigrateVM(ctx context.Context, ref string, in baadal.VMMigrate, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return call[baadal.Change[baadal.VM]](ctx, c, change(http.MethodPost, at("vms", ref, "migrate"), in, opt))
}

// CloneVM makes clones of a VM. The change's resource is the VM itself; its
// task has a part for each clone.
func (c *Client) CloneVM(ctx context.Context, ref string, in baadal.VMClone, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return call[baadal.Change[baadal.VM]](ctx, c, create(at("vms", ref, "clones"), in, opt))
}

func (c *Client) actVM(ctx context.Context, ref, act string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return call[baadal.Change[baadal.VM]](ctx, c, change(http.MethodPost, at("vms", ref, act), nil, opt))
}

// VMPassword takes the password of a VM's first user. It is shown once: the
// next call fails with code "password_taken".
func (c *Client) VMPassword(ctx context.Context, ref string) (string, error) {
	out, err := call[struct{ Password string }](ctx, c, request{method: http.MethodPost, path: at("vms", ref, "console-password")})
	return out.Password, err
}
