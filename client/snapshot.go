package client

import (
	"context"
	"net/http"
	"net/url"

	"baadal"
)

// Snapshots returns all snapshots of a VM, parents first.
func (c *Client) Snapshots(ctx context.Context, vm string) (baadal.List[baadal.Snapshot], error) {
	return call[baadal.List[baadal.Snapshot]](ctx, c, get(at("vms", vm, "snapshots"), nil))
}

// CreateSnapshot snapshots a VM, with its memory if it runs.
func (c *Client) CreateSnapshot(ctx context.Context, vm string, in baadal.SnapshotCreate, opt baadal.ChangeOptions) (baadal.Change[baadal.Snapshot], error) {
	return call[baadal.Change[baadal.Snapshot]](ctx, c, create(at("vms", vm, "snapshots"), in, opt))
}

// RevertSnapshot brings a VM back to a snapshot; what was written since is lost.
func (c *Client) RevertSnapshot(ctx context.Context, vm, name string, opt baadal.ChangeOptions) (baadal.Change[baadal.Snapshot], error) {
	return call[baadal.Change[baadal.Snapshot]](ctx, c, change(http.MethodPost, at("vms", vm, "snapshots", url.PathEscape(name), "revert"), nil, opt))
}

// DeleteSnapshot deletes a snapshot; those made on it stay.
func (c *Client) DeleteSnapshot(ctx context.Context, vm, name string, opt baadal.ChangeOptions) (baadal.Change[baadal.Snapshot], error) {
	return call[baadal.Change[baadal.Snapshot]](ctx, c, change(http.MethodDelete, at("vms", vm, "snapshots", url.PathEscape(name)), nil, opt))
}

// SnapshotSchedule tells which snapshots of a VM are made by themselves.
func (c *Client) SnapshotSchedule(ctx context.Context, vm string) (baadal.SnapshotSchedule, error) {
	return call[baadal.SnapshotSchedule](ctx, c, get(at("vms", vm, "snapshot-schedule"), nil))
}

// SetSnapshotSchedule changes it.
func (c *Client) SetSnapshotSchedule(ctx context.Context, vm string, in baadal.SnapshotSchedule) (baadal.SnapshotSchedule, error) {
	return call[baadal.SnapshotSchedule](ctx, c, request{method: http.MethodPut, path: at("vms", vm, "snapshot-schedule"), body: in})
}
