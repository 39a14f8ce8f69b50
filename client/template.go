package client

import (
	"context"
	"io"
	"net/http"
	"net/url"

	"baadal"
)

// Templates returns one page.
func (c *Client) Templates(ctx context.Context, q baadal.ListQuery) (baadal.List[baadal.Template], error) {
	return call[baadal.List[baadal.Template]](ctx, c, get("/templates", listQuery(q)))
}

// Template returns one template by id or name.
func (c *Client) Template(ctx context.Context, ref string) (baadal.Template, error) {
	return call[baadal.Template](ctx, c, get(at("templates", ref), nil))
}

// ImportTemplate imports an image from a URL or from an upload.
func (c *Client) ImportTemplate(ctx context.Context, in baadal.TemplateImport, opt baadal.ChangeOptions) (baadal.Change[baadal.Template], error) {
	return call[baadal.Change[baadal.Template]](ctx, c, create("/templates", in, opt))
}

// DeleteTemplate deletes a template that nothing stands on.
func (c *Client) DeleteTemplate(ctx context.Context, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.Template], error) {
	return call[baadal.Change[baadal.Template]](ctx, c, change(http.MethodDelete, at("templates", ref), nil, opt))
}

// Upload is a file that lies on a datastore until a template or a VM is made of it.
type Upload struct {
	ID     string `json:"upload_id"`
	Size   int64  `json:"size_bytes"`
	SHA256 string `json:"sha256"`
}

// Upload sends a file of size bytes (-1 if unknown) to a datastore, the best one
// if none is named, to import a template or a VM from. Progress, if not nil, is called with the bytes sent so far, from another
// goroutine. It is not repeated by itself.
func (c *Client) Upload(ctx context.Context, datastore string, r io.Reader, size int64, progress func(sent int64)) (Upload, error) {
	var out Upload
	query := url.Values{}
	if datastore != "" {
		query.Set("datastore", datastore)
	}
	req, err := c.newRequest(ctx, request{method: http.MethodPut, path: "/uploads", query: query}, &progressReader{r: r, tell: progress})
	if err != nil {
		return out, err
	}
	req.ContentLength = size
	req.Header.Set("Content-Type", "application/octet-stream")
	_, err = c.send(req, &out)
	return out, err
}

// progressReader tells how much was read. It is no Closer: the file is the caller's.
type progressReader struct {
	r    io.Reader
	sent int64
	tell func(int64)
}

func (p *progressReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.sent += int64(n)
	if p.tell != nil && n > 0 {
		p.tell(p.sent)
	}
	return n, err //nolint:wrapcheck // a Reader
}
