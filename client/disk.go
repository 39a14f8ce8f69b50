package client

import (
	"context"
	"net/http"
	"net/url"

	"baadal"
)

// Disks returns a VM's disks, the first one first.
func (c *Client) Disks(ctx context.Context, vm string) (baadal.List[baadal.Disk], error) {
	return call[baadal.List[baadal.Disk]](ctx, c, get(at("vms", vm, "disks"), nil))
}

// AddDisk makes another disk and gives it to the VM.
func (c *Client) AddDisk(ctx context.Context, vm string, in baadal.DiskAdd, opt baadal.ChangeOptions) (baadal.Change[baadal.Disk], error) {
	return call[baadal.Change[baadal.Disk]](ctx, c, create(at("vms", vm, "disks"), in, opt))
}

// AttachDisk gives the VM back a disk that was detached or deleted.
func (c *Client) AttachDisk(ctx context.Context, vm, disk string, opt baadal.ChangeOptions) (baadal.Change[baadal.Disk], error) {
	return c.changeDisk(ctx, http.MethodPost, vm, disk, nil, opt, "attach")
}

// DetachDisk takes a disk away from the VM; its file stays.
func (c *Client) DetachDisk(ctx context.Context, vm, disk string, opt baadal.ChangeOptions) (baadal.Change[baadal.Disk], error) {
	return c.changeDisk(ctx, http.MethodPost, vm, disk, nil, opt, "detach")
}

// DeleteDisk deletes a disk; it can be attached again until its retention ends.
func (c *Client) DeleteDisk(ctx context.Context, vm, disk string, opt baadal.ChangeOptions) (baadal.Change[baadal.Disk], error) {
	return c.changeDisk(ctx, http.MethodDelete, vm, disk, nil, opt)
}

// GrowDisk makes a disk larger.
func (c *Client) GrowDisk(ctx context.Context, vm, disk string, in baadal.DiskGrow, opt baadal.ChangeOptions) (baadal.Change[baadal.Disk], error) {
	return c.changeDisk(ctx, http.MethodPost, vm, disk, in, opt, "grow")
}

// LimitDisk limits what a disk may do in a second.
func (c *Client) LimitDisk(ctx context.Context, vm, disk string, in baadal.DiskLimit, opt baadal.ChangeOptions) (baadal.Change[baadal.Disk], error) {
	return c.changeDisk(ctx, http.MethodPut, vm, disk, in, opt, "limit")
}

func (c *Client) changeDisk(ctx context.Context, method, vm, disk string, in any, opt baadal.ChangeOptions, act ...string) (baadal.Change[baadal.Disk], error) {
	return call[baadal.Change[baadal.Disk]](ctx, c, change(method, at("vms", vm, append([]string{"disks", url.PathEscape(disk)}, act...)...), in, opt))
}
