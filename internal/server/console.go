package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"baadal"
	"baadal/internal/service"
)

func (s *Server) consoleRoutes() []route {
	return []route{
		on("POST", "/vms/{ref}/console", "console-ticket", "Get a ticket for a VM's screen or serial console", baadal.ActionVMConsole,
			s.consoleTicket, created, codes("ambiguous", "vm_not_running", "host_unreachable", "console_in_use", "too_many_streams", "conflict")),
		on("GET", "/vms/{ref}/console", "list-console-viewers", "List who looks at a VM's consoles now, through this controller", baadal.ActionVMConsole,
			s.consoleViewers, codes("ambiguous")),
		on("GET", "/vms/{ref}/screenshot", "get-screenshot", "Take a picture of a VM's screen", baadal.ActionVMConsole, s.screenshot, pngAnswer,
			codes("ambiguous", "vm_not_running", "host_unreachable", "conflict")),
		on("GET", "/console", "open-console", "Look at a console, over a WebSocket", baadal.ActionSelf, s.openConsole, webSocket,
			codes("bad_ticket", "not_a_websocket", "vm_not_running", "host_unreachable", "no_console", "console_in_use", "too_many_streams", "conflict", "not_found")),
	}
}

// Bounds of a console's WebSocket.
const (
	consoleMessage = 4 << 20 // bytes of one message from a client: a large clipboard
	consolePiece   = 32 << 10
)

func (s *Server) consoleTicket(ctx context.Context, in *struct {
	Ref
	Body baadal.ConsoleRequest
},
) (*struct{ Body baadal.ConsoleTicket }, error) {
	// A browser does not tell why a WebSocket is refused: what is known is said here.
	free, err := s.streams.enter(actor(ctx).User.ID)
	if err != nil {
		return nil, err
	}
	free()
	t, err := s.svc.ConsoleTicket(ctx, actor(ctx), in.Ref.Ref, in.Body.Kind)
	return &struct{ Body baadal.ConsoleTicket }{t}, err
}

func (s *Server) consoleViewers(ctx context.Context, in *struct{ Ref }) (*listOut[baadal.ConsoleViewer], error) {
	return all(s.svc.ConsoleViewers(ctx, actor(ctx), in.Ref.Ref))
}

func pngAnswer(r *route) {
	r.response = &huma.Response{Description: "The picture.", Content: map[string]*huma.MediaType{"image/png": {}}}
}

type pngOut struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

func (s *Server) screenshot(ctx context.Context, in *struct{ Ref }) (*pngOut, error) {
	png, err := s.svc.Screenshot(ctx, actor(ctx), in.Ref.Ref)
	return &pngOut{ContentType: "image/png", Body: png}, err
}

// webSocket describes what huma does not see.
func webSocket(r *route) {
	r.status = http.StatusSwitchingProtocols
	r.response = &huma.Response{Description: "A WebSocket of binary messages: a stream of bytes from and to the VM, RFB for a screen. " +
		"The close code says why it ended: 4001 the VM restarts or moves (get a new ticket), 4002 it does not run, 4003 you may not see it any more."}
}

// consoleIn knows whether the client asks for a WebSocket at all, so that the
// ticket of one that does not is not used up.
type consoleIn struct {
	Ticket string `query:"ticket" required:"true" maxLength:"100"`
	asks   bool
}

// Resolve looks at the request's headers.
func (in *consoleIn) Resolve(hc huma.Context) []error {
	in.asks = strings.EqualFold(hc.Header("Upgrade"), "websocket")
	return nil
}

func (s *Server) openConsole(ctx context.Context, in *consoleIn) (*huma.StreamResponse, error) {
	if !in.asks {
		return nil, baadal.Errorf(baadal.Invalid, "a console is a WebSocket").WithCode("not_a_websocket").
			WithNext("Look at it with a program that can", "baadal vm console")
	}
	a := actor(ctx)
	release, err := s.streams.enter(a.User.ID)
	if err != nil {
		return nil, err
	}
	c, err := s.svc.OpenConsole(ctx, a, in.Ticket)
	if err != nil {
		release()
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer release()
		defer c.Stream.Close()
		r, w := humago.Unwrap(hc)
		ws, err := websocket.Accept(w, r, nil) // refuses other origins
		if err != nil {
			_ = c.Stream.Close()
			s.svc.EndConsole(ctx, a, c)
			s.log.WarnContext(ctx, "console not opened", "request_id", callOf(ctx).id, "error", err)
			return
		}
		ws.SetReadLimit(consoleMessage)
		s.runConsole(r, ws, a, c)
	}}, nil
}

// runConsole carries bytes both ways until one side ends, the sign-in does, or
// the server drains.
func (s *Server) runConsole(r *http.Request, ws *websocket.Conn, a baadal.Actor, c service.Console) {
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	fromVM, fromClient := make(chan error, 2), make(chan error, 1)
	go func() { fromVM <- s.toClient(ctx, ws, c.Stream) }() // ends with the stream
	go func() {                                             // ends with either
		if err := toVM(ctx, ws, c.Stream); errors.Is(err, errVMEnded) {
			fromVM <- err
		} else {
			fromClient <- err
		}
	}()
	var e *baadal.ConsoleEnd
	select {
	case e = <-s.watchConsole(ctx, r, ws, c):
	case <-fromClient: //nolint:errcheck // that it ended is all
		_ = c.Stream.Close()
		s.svc.EndConsole(ctx, a, c)
		_ = ws.CloseNow()
		return
	case <-fromVM: //nolint:errcheck // likewise
	case <-s.draining:
		e = &baadal.ConsoleEnd{Code: baadal.ConsoleMoved, Reason: "the server restarts"}
	}
	_ = c.Stream.Close()
	if now := s.svc.EndConsole(ctx, a, c); e == nil {
		e = &now
	}
	_ = ws.Close(websocket.StatusCode(e.Code), strings.ToValidUTF8(e.Reason[:min(len(e.Reason), 120)], ""))
}

// watchConsole looks now and then whether the sign-in still holds and still lets
// it look, and asks the client for signs of life. Neither waits for the other: who
// says nothing must not be let look any longer. Its channel tells when the console
// has to end; all of it ends with ctx.
func (s *Server) watchConsole(ctx context.Context, r *http.Request, ws *websocket.Conn, c service.Console) <-chan *baadal.ConsoleEnd {
	ends := make(chan *baadal.ConsoleEnd, 2)
	watch := func(look func(context.Context) error) {
		beat := time.NewTicker(s.cfg.Heartbeat)
		defer beat.Stop()
		for {
			select {
			case <-beat.C:
				if err := look(ctx); err != nil {
					ends <- endOf(err)
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
	go watch(func(ctx context.Context) error { return s.keepConsole(ctx, r, c) })
	go watch(func(ctx context.Context) error {
		ctx, stop := context.WithTimeout(ctx, s.cfg.IOTimeout)
		defer stop()
		return ws.Ping(ctx)
	})
	return ends
}

// keepConsole asks again what was asked when the console was opened.
func (s *Server) keepConsole(ctx context.Context, r *http.Request, c service.Console) error {
	ctx, stop := context.WithTimeout(ctx, s.cfg.IOTimeout)
	defer stop()
	a, err := s.admitted(r.WithContext(ctx), baadal.ActionVMConsole)
	if err != nil {
		return err
	}
	return s.svc.KeepConsole(ctx, a, c)
}

// endOf tells what is said to who looked when keepConsole failed: only who may
// not see it any more is sent away for good.
func endOf(err error) *baadal.ConsoleEnd {
	switch baadal.KindOf(err) {
	case baadal.Unauthenticated, baadal.Forbidden, baadal.NotFound:
		return &baadal.ConsoleEnd{Code: baadal.ConsoleRefused, Reason: baadal.Message(err)}
	case baadal.Conflict:
		return &baadal.ConsoleEnd{Code: baadal.ConsoleMoved, Reason: baadal.Message(err)}
	default: // the database, or a client that gave no sign of life
		return &baadal.ConsoleEnd{Code: baadal.ConsoleMoved, Reason: "the console was lost"}
	}
}

func (s *Server) toClient(ctx context.Context, ws *websocket.Conn, stream baadal.ConsoleStream) error {
	b := make([]byte, consolePiece)
	for {
		n, err := stream.Read(b)
		if n > 0 {
			if err := s.sendPiece(ctx, ws, b[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

func (s *Server) sendPiece(ctx context.Context, ws *websocket.Conn, b []byte) error {
	ctx, stop := context.WithTimeout(ctx, s.cfg.IOTimeout)
	defer stop()
	return ws.Write(ctx, websocket.MessageBinary, b)
}

// errVMEnded says that the VM takes nothing any more.
var errVMEnded = errors.New("the VM ended the console")

func toVM(ctx context.Context, ws *websocket.Conn, stream baadal.ConsoleStream) error {
	for {
		_, b, err := ws.Read(ctx)
		if err != nil {
			return err
		}
		if _, err := stream.Write(b); err != nil {
			return fmt.Errorf("%w: %w", errVMEnded, err)
		}
	}
}
