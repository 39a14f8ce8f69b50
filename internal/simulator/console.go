package simulator

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"path"
	"time"

	"baadal"
)

// Consoles are the sockets of all simulated guests: a serial line that asks for
// a name and says again what one types. They have no screens.
type Consoles struct{ w *World }

// Consoles returns the world's consoles.
func (w *World) Consoles() *Consoles { return &Consoles{w: w} }

// consoleLook is how often a console looks whether its guest still runs.
const consoleLook = 50 * time.Millisecond

// DialUnix connects to the serial line of a guest that runs on that host.
func (c *Consoles) DialUnix(ctx context.Context, bh baadal.Host, file string) (net.Conn, error) {
	uuid := path.Base(path.Dir(file))
	var name string
	err := c.w.call(ctx, "console.dial", bh, func(h *host) error {
		d := h.Domains[uuid]
		if d == nil || !d.active() || file != baadal.ConsoleSocket(baadal.ConsoleFolder(uuid), baadal.ConsoleSerial) {
			return baadal.Errorf(baadal.NotFound, "there is no socket %s on %s", file, bh.Name)
		}
		name = d.Def.Name
		return nil
	})
	if err != nil {
		return nil, err
	}
	ours, theirs := net.Pipe()
	go c.serve(ours, name)
	go func() { // ends with the guest's run, or the connection
		defer ours.Close()
		for {
			time.Sleep(consoleLook)
			info, err := c.w.Hypervisor().Domain(context.Background(), bh, uuid)
			if err != nil || (info.State != baadal.VMRunning && info.State != baadal.VMPaused) || ours.SetDeadline(time.Time{}) != nil {
				return
			}
		}
	}()
	return theirs, nil
}

// serve is a guest that has a login prompt and little else.
func (c *Consoles) serve(conn net.Conn, name string) {
	defer conn.Close()
	in := bufio.NewScanner(conn)
	for {
		if _, err := fmt.Fprintf(conn, "%s login: ", name); err != nil || !in.Scan() {
			return
		}
		if _, err := fmt.Fprintf(conn, "%s\r\nthis guest is simulated\r\n", in.Text()); err != nil {
			return
		}
	}
}

// Screenshot is a Conflict: simulated guests have no screens.
func (v *Hypervisor) Screenshot(ctx context.Context, bh baadal.Host, uuid string) ([]byte, error) {
	return nil, v.w.call(ctx, "hypervisor.screenshot", bh, func(h *host) error {
		if d := h.Domains[uuid]; d == nil {
			return baadal.Errorf(baadal.NotFound, "there is no domain %s on %s", uuid, bh.Name)
		}
		return baadal.Errorf(baadal.Conflict, "a simulated VM has no screen").WithCode("no_console")
	})
}
