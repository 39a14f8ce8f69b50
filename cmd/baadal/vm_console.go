package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"baadal"
	"baadal/client"
)

// What the terminal's consoles do by themselves.
const (
	consoleEscape  = 0x1d             // Ctrl-]
	consoleAgain   = time.Minute      // how long it tries to come back to a VM that moved or restarts
	consolePause   = time.Second      // between tries
	consoleSilence = 2 * time.Second  // after the end of piped input, until nothing more is expected
	consoleGrace   = 30 * time.Second // and at most so long
	consoleAhead   = 64               // keys typed while it comes back; Ctrl-] must be seen after them
)

func (c *cli) vmConsoleCommand() *cobra.Command {
	who := false
	cmd := &cobra.Command{
		Use: "console NAME", Short: "Sit at a VM's serial console", Args: takes(1, 1), ValidArgsFunction: c.vmNames(true),
		Long: `Sit at a VM's serial console: keys go to the VM, Ctrl-] leaves. What was said
lately is shown first; several may look at once. It comes back by itself after a
migration or a restart. Piped input is typed, and it ends when the VM says no more.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.api()
			if err != nil {
				return err
			}
			if who {
				return c.showViewers(cmd.Context(), api, args[0])
			}
			ctx, stop := context.WithCancel(cmd.Context())
			defer stop()
			return newSerialSession(c, api, args[0], stop).run(ctx)
		},
	}
	cmd.Flags().BoolVar(&who, "who", false, "list who looks at its screen and serial line now, instead")
	return cmd
}

func (c *cli) showViewers(ctx context.Context, api *client.Client, vm string) error {
	all, err := api.ConsoleViewers(ctx, vm)
	if err != nil {
		return err
	}
	l := listing[baadal.ConsoleViewer]{
		name:  func(v baadal.ConsoleViewer) string { return v.User },
		empty: "Nobody looks at the consoles of " + clean(vm) + ".",
		columns: []column[baadal.ConsoleViewer]{
			{title: "User", cell: func(v baadal.ConsoleViewer) string { return v.User }},
			{title: "Console", cell: func(v baadal.ConsoleViewer) string { return string(v.Kind) }},
			{title: "By", cell: func(v baadal.ConsoleViewer) string {
				if v.VNCClient {
					return "a VNC client with the user's grant"
				}
				return "sign-in"
			}},
			{title: "For", cell: func(v baadal.ConsoleViewer) string { return durationText(c.now().Sub(v.Since)) }},
		},
	}
	return l.show(c, all, false)
}

// serialSession is a person, or a pipe, at a serial console, over as many
// connections as it takes.
type serialSession struct {
	cli   *cli
	api   *client.Client
	vm    string
	typed chan []byte // closed at the end of input; has room, for what is typed while there is no connection
	stop  context.CancelFunc
}

func newSerialSession(c *cli, api *client.Client, vm string, stop context.CancelFunc) *serialSession {
	return &serialSession{cli: c, api: api, vm: vm, typed: make(chan []byte, consoleAhead), stop: stop}
}

func (s *serialSession) run(ctx context.Context) error {
	stream, err := s.api.Console(ctx, s.vm, baadal.ConsoleSerial)
	if err != nil {
		return err
	}
	terminal := s.cli.inTerminal && s.cli.outTerminal
	if terminal {
		s.cli.hintf("At the serial console of %s. Ctrl-] leaves; Return may be needed to see something.", clean(s.vm))
		fd := int(os.Stdin.Fd())
		old, err := term.MakeRaw(fd)
		if err != nil {
			return fmt.Errorf("take the terminal: %w", err)
		}
		defer func() { _ = term.Restore(fd, old); fmt.Fprintln(s.cli.err) }()
	}
	go s.read(ctx, terminal)
	for {
		opened := time.Now()
		err := s.attend(ctx, stream)
		end, ended := errors.AsType[*baadal.ConsoleEnd](err)
		switch {
		case err == nil || ctx.Err() != nil:
			return nil
		case ended && !end.Again():
			return endOfConsole(end)
		}
		fmt.Fprintf(s.cli.err, "\r\n[%s: coming back]\r\n", clean(err.Error()))
		if time.Since(opened) < consolePause { // it is thrown out again and again
			select {
			case <-time.After(consolePause):
			case <-ctx.Done():
			}
		}
		if stream, err = s.again(ctx); err != nil {
			return err
		}
		if stream == nil {
			return nil
		}
	}
}

func endOfConsole(end *baadal.ConsoleEnd) error {
	if end.Code == baadal.ConsoleOff {
		return baadal.Errorf(baadal.Conflict, "the console ended: %s", end.Reason).WithCode("vm_not_running")
	}
	return baadal.Errorf(baadal.Forbidden, "the console ended: %s", end.Reason)
}

// read passes on what is typed; Ctrl-] at a terminal ends the session.
func (s *serialSession) read(ctx context.Context, terminal bool) {
	defer close(s.typed)
	for {
		b := make([]byte, 1024)
		n, err := s.cli.in.Read(b)
		for i := range n {
			if terminal && b[i] == consoleEscape {
				s.stop()
				return
			}
		}
		if n > 0 {
			select {
			case s.typed <- b[:n]:
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			if terminal {
				s.stop()
			}
			return
		}
	}
}

// attend carries bytes both ways until the connection ends. It is nil when
// there was no more input and the VM has said all.
func (s *serialSession) attend(ctx context.Context, stream baadal.ConsoleStream) error {
	defer stream.Close()
	said, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() { ended <- s.show(stream, said) }() // ends with the stream
	var quiet <-chan time.Time
	var most <-chan time.Time
	typed := s.typed
	for {
		select {
		case b, ok := <-typed:
			if !ok { // the end of piped input
				typed, quiet, most = nil, time.After(consoleSilence), time.After(consoleGrace)
				continue
			}
			if _, err := stream.Write(b); err != nil {
				return err
			}
		case <-said:
			if quiet != nil {
				quiet = time.After(consoleSilence)
			}
		case <-quiet:
			return nil
		case <-most:
			return nil
		case err := <-ended:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *serialSession) show(stream io.Reader, said chan<- struct{}) error {
	b := make([]byte, 32<<10)
	for {
		n, err := stream.Read(b)
		if _, werr := s.cli.out.Write(b[:n]); werr != nil {
			return werr
		}
		if err != nil {
			return err
		}
		select {
		case said <- struct{}{}:
		default:
		}
	}
}

// again opens the console anew, for a while.
func (s *serialSession) again(ctx context.Context) (baadal.ConsoleStream, error) {
	until := time.Now().Add(consoleAgain)
	for {
		stream, err := s.api.Console(ctx, s.vm, baadal.ConsoleSerial)
		if err == nil {
			return stream, nil
		}
		if ctx.Err() != nil {
			return nil, nil
		}
		if time.Now().After(until) || baadal.KindOf(err) == baadal.Forbidden || baadal.KindOf(err) == baadal.Unauthenticated {
			return nil, err
		}
		select {
		case <-time.After(consolePause):
		case <-ctx.Done():
			return nil, nil
		}
	}
}

func (c *cli) vmVNCCommand() *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use: "vnc NAME", Short: "Let a VNC viewer on this machine see a VM's screen", Args: takes(1, 1), ValidArgsFunction: c.vmNames(true),
		Long: `Let a VNC viewer on this machine see a VM's screen: a port is opened here, and
what connects to it is led to the VM through the server. It stays until Ctrl-C.
For a viewer on another machine see baadal vm vnc grant; a VM that is called like
one of these commands is reached by its number.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.api()
			if err != nil {
				return err
			}
			return c.serveVNC(cmd.Context(), api, args[0], listen)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "`address` to listen on; whoever reaches it sees the screen")
	cmd.AddCommand(c.vncGrantCommand(), c.vncListCommand(), c.vncExtendCommand(), c.vncEndCommand())
	return cmd
}

func (c *cli) serveVNC(ctx context.Context, api *client.Client, vm, listen string) error {
	// The first look tells what is wrong before anybody connects.
	stream, err := api.Console(ctx, vm, baadal.ConsoleScreen)
	if err != nil {
		return err
	}
	_ = stream.Close()
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", listen)
	if err != nil {
		return baadal.Errorf(baadal.Unavailable, "cannot listen on %s: %w", listen, err).WithCode("address_in_use").WithNext("Choose another address", "baadal vm vnc "+vm+" --listen 127.0.0.1:0")
	}
	defer l.Close()
	if c.flags.json {
		if err := c.json(map[string]string{"vm": vm, "address": l.Addr().String()}); err != nil {
			return err
		}
	} else {
		c.printf("The screen of %s is at %s until Ctrl-C.\n", clean(vm), l.Addr())
		host, port, _ := net.SplitHostPort(l.Addr().String())
		c.hintf("A viewer shows it: vncviewer %s::%s", host, port)
	}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept a viewer: %w", err)
		}
		go c.leadToScreen(ctx, api, vm, conn)
	}
}

// leadToScreen carries one viewer's connection.
func (c *cli) leadToScreen(ctx context.Context, api *client.Client, vm string, viewer net.Conn) {
	defer viewer.Close()
	stream, err := api.Console(ctx, vm, baadal.ConsoleScreen)
	if err != nil {
		c.print(c.report(err))
		return
	}
	defer stream.Close()
	go func() { // ends with either side
		_, _ = io.Copy(stream, viewer)
		_ = stream.Close()
	}()
	_, err = io.Copy(viewer, stream)
	if end, ok := errors.AsType[*baadal.ConsoleEnd](err); ok {
		c.hintf("%s", clean(end.Error()))
	}
}

func (c *cli) vmScreenshotCommand() *cobra.Command {
	return &cobra.Command{
		Use: "screenshot NAME [FILE]", Short: "Take a picture of a VM's screen", Args: takes(1, 2), ValidArgsFunction: c.vmNames(true),
		Long: "Take a picture of a VM's screen, as PNG, in NAME.png or FILE; - writes it to\nstandard output.",
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.api()
			if err != nil {
				return err
			}
			png, err := api.Screenshot(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			file := args[0] + ".png"
			if len(args) == 2 {
				file = args[1]
			}
			if file == "-" {
				_, err = c.out.Write(png)
				return err
			}
			if err := os.WriteFile(file, png, 0o600); err != nil {
				return fmt.Errorf("write the picture: %w", err)
			}
			c.hintf("%s: %d KiB", file, (len(png)+1023)/1024)
			return nil
		},
	}
}
