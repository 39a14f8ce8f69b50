package client

import (
	"context"
	"net/http"

	"baadal"
)

// InsertCDROM puts a CD image into a VM's drive.
func (c *Client) InsertCDROM(ctx context.Context, vm string, in baadal.CDROMInsert, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return call[baadal.Change[baadal.VM]](ctx, c, change(http.MethodPost, at("vms", vm, "cdrom", "insert"), in, opt))
}

// EjectCDROM takes out what is in a VM's drive.
func (c *Client) EjectCDROM(ctx context.Context, vm string, in baadal.CDROMEject, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return call[baadal.Change[baadal.VM]](ctx, c, change(http.MethodPost, at("vms", vm, "cdrom", "eject"), in, opt))
}
