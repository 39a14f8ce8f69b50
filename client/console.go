package client

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/coder/websocket"

	"baadal"
)

// Console opens a VM's screen (as VNC) or serial console. The stream's Read
// fails with *baadal.ConsoleEnd when the server ended it; one that can be
// opened Again is worth another call. ctx bounds the whole of it.
func (c *Client) Console(ctx context.Context, ref string, kind baadal.ConsoleKind) (baadal.ConsoleStream, error) {
	t, err := c.ConsoleTicket(ctx, ref, kind)
	if err != nil {
		return nil, err
	}
	return c.OpenConsole(ctx, t)
}

// OpenConsole uses a ticket up.
func (c *Client) OpenConsole(ctx context.Context, t baadal.ConsoleTicket) (baadal.ConsoleStream, error) {
	header := http.Header{}
	if c.agent != "" {
		header.Set("User-Agent", c.agent)
	}
	if token := c.Token(); token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	dial, stop := context.WithTimeout(ctx, callTimeout)
	defer stop()
	ws, resp, err := websocket.Dial(dial, c.base.String()+t.URL, &websocket.DialOptions{HTTPClient: c.http, HTTPHeader: header}) //nolint:bodyclose // the library has read and closed it
	if err != nil {
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols && resp.Body != nil {
			data, _ := io.ReadAll(io.LimitReader(resp.Body, maxLine)) // what there is of it
			return nil, readProblem(resp, data)
		}
		return nil, c.noConnection(dial, err)
	}
	ws.SetReadLimit(-1)
	return &consoleStream{ctx: ctx, ws: ws}, nil
}

// ConsoleTicket asks for a ticket, for a program that opens the WebSocket
// itself.
func (c *Client) ConsoleTicket(ctx context.Context, ref string, kind baadal.ConsoleKind) (baadal.ConsoleTicket, error) {
	return call[baadal.ConsoleTicket](ctx, c, change(http.MethodPost, at("vms", ref, "console"), baadal.ConsoleRequest{Kind: kind}, baadal.ChangeOptions{}))
}

// ConsoleViewers returns who looks at a VM's consoles now, through the controller
// that answers.
func (c *Client) ConsoleViewers(ctx context.Context, ref string) (baadal.List[baadal.ConsoleViewer], error) {
	return call[baadal.List[baadal.ConsoleViewer]](ctx, c, get(at("vms", ref, "console"), nil))
}

// Screenshot returns a picture of a VM's screen, as PNG.
func (c *Client) Screenshot(ctx context.Context, ref string) ([]byte, error) {
	r := get(at("vms", ref, "screenshot"), nil)
	ctx, stop := context.WithTimeout(ctx, callTimeout)
	defer stop()
	req, err := c.newRequest(ctx, r, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "image/png, application/problem+json")
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.noConnection(ctx, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, c.noConnection(ctx, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, readProblem(resp, data)
	}
	return data, nil
}

// consoleStream is a WebSocket as a stream of bytes.
type consoleStream struct {
	ctx  context.Context //nolint:containedctx // a stream's reads have none
	ws   *websocket.Conn
	left []byte
}

// Read returns what the VM says next.
func (s *consoleStream) Read(p []byte) (int, error) {
	for len(s.left) == 0 {
		_, b, err := s.ws.Read(s.ctx)
		if err != nil {
			return 0, consoleError(err)
		}
		s.left = b
	}
	n := copy(p, s.left)
	s.left = s.left[n:]
	return n, nil
}

// Write sends to the VM.
func (s *consoleStream) Write(p []byte) (int, error) {
	if err := s.ws.Write(s.ctx, websocket.MessageBinary, p); err != nil {
		return 0, consoleError(err)
	}
	return len(p), nil
}

// Close ends the console; the VM is not touched.
func (s *consoleStream) Close() error {
	_ = s.ws.Close(websocket.StatusNormalClosure, "") // the other side may be gone
	return nil
}

func consoleError(err error) error {
	if e, ok := errors.AsType[websocket.CloseError](err); ok {
		if e.Code == websocket.StatusNormalClosure {
			return io.EOF
		}
		return &baadal.ConsoleEnd{Code: int(e.Code), Reason: e.Reason}
	}
	return err
}
