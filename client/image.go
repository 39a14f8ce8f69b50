package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"baadal"
)

// ImportVM makes a VM of an upload.
func (c *Client) ImportVM(ctx context.Context, in baadal.VMImport, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return call[baadal.Change[baadal.VM]](ctx, c, create("/vms/imports", in, opt))
}

// LaunchVM makes a VM of an image that lies on a datastore.
func (c *Client) LaunchVM(ctx context.Context, in baadal.VMLaunch, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return call[baadal.Change[baadal.VM]](ctx, c, create("/vms/launches", in, opt))
}

// AdoptVM makes a domain that exists on a host a VM.
func (c *Client) AdoptVM(ctx context.Context, in baadal.VMAdopt, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return call[baadal.Change[baadal.VM]](ctx, c, create("/vms/adoptions", in, opt))
}

// SaveVMAsTemplate makes a VM's disk a template.
func (c *Client) SaveVMAsTemplate(ctx context.Context, ref string, in baadal.VMSaveTemplate, opt baadal.ChangeOptions) (baadal.Change[baadal.Template], error) {
	return call[baadal.Change[baadal.Template]](ctx, c, create(at("vms", ref, "templates"), in, opt))
}

// ExportVM makes a flat copy of a VM's disk; when its task has ended well
// FetchExport gets it.
func (c *Client) ExportVM(ctx context.Context, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.Transfer], error) {
	return call[baadal.Change[baadal.Transfer]](ctx, c, create(at("vms", ref, "exports"), nil, opt))
}

// Export returns an export.
func (c *Client) Export(ctx context.Context, n int64) (baadal.Transfer, error) {
	return call[baadal.Transfer](ctx, c, get(at("exports", id(n)), nil))
}

// DeleteExport removes an export's file.
func (c *Client) DeleteExport(ctx context.Context, n int64, opt baadal.ChangeOptions) (baadal.Change[baadal.Transfer], error) {
	return call[baadal.Change[baadal.Transfer]](ctx, c, change(http.MethodDelete, at("exports", id(n)), nil, opt))
}

// FetchExport writes an export's file to w, from an offset on, and tells how
// many bytes it wrote: after a broken connection it can go on behind them.
// Progress, if not nil, is called with the offset reached.
func (c *Client) FetchExport(ctx context.Context, f baadal.Transfer, offset int64, w io.Writer, progress func(at int64)) (int64, error) {
	r := get(at("exports", id(f.ID), "file"), nil)
	r.header = http.Header{}
	if offset > 0 {
		r.header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
		r.header.Set("If-Range", strconv.Quote(f.SHA256))
	}
	req, err := c.newRequest(ctx, r, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Accept", "application/octet-stream, application/problem+json")
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, c.noConnection(ctx, err)
	}
	defer resp.Body.Close()
	switch {
	case offset > 0 && resp.StatusCode == http.StatusOK:
		return 0, baadal.Errorf(baadal.Stale, "the export is another one than before").WithCode("stale")
	case resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent:
		data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		if err != nil {
			return 0, c.noConnection(ctx, err)
		}
		return 0, readProblem(resp, data)
	}
	n, err := io.Copy(w, &progressReader{r: resp.Body, sent: offset, tell: progress})
	if err != nil {
		return n, c.noConnection(ctx, fmt.Errorf("fetch %s: %w", f.Name, err))
	}
	return n, nil
}
