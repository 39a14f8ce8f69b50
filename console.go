package baadal

import (
	"fmt"
	"io"
	"time"
)

// ConsoleKind is which of a VM's consoles is meant.
type ConsoleKind string

// The consoles that every VM has.
const (
	ConsoleScreen ConsoleKind = "screen" // its picture, keyboard and mouse, as VNC (RFB)
	ConsoleSerial ConsoleKind = "serial" // its first serial line, as bytes
)

// Validate checks that there is such a console.
func (k ConsoleKind) Validate() error {
	if k != ConsoleScreen && k != ConsoleSerial {
		return Errorf(Invalid, "there is no console %q", string(k)).WithField("kind").WithDetail("%s and %s are", ConsoleScreen, ConsoleSerial)
	}
	return nil
}

// ConsoleDir is the folder on every host below which each VM has one, with the
// sockets of its consoles. Nothing of a console listens on a network.
const ConsoleDir = "/run/baadal"

// ConsoleFolder is a VM's folder on its host.
func ConsoleFolder(uuid string) string { return ConsoleDir + "/" + uuid }

// ConsoleSocket is where a console listens in a VM's folder. The serial line
// takes one client at a time; a second one connects and gets nothing.
func ConsoleSocket(folder string, kind ConsoleKind) string {
	if kind == ConsoleScreen {
		return folder + "/vnc"
	}
	return folder + "/" + string(kind)
}

// ConsoleRequest is the wish to open a console.
type ConsoleRequest struct {
	Kind ConsoleKind `json:"kind" enum:"screen,serial" doc:"screen is VNC, serial the first serial line."`
}

// ConsoleTicket lets the user who asked for it open one console, once, within
// ConsoleTicketTTL.
type ConsoleTicket struct {
	Ticket    string      `json:"ticket" doc:"The secret. It is good once, and only for who asked for it."`
	Kind      ConsoleKind `json:"kind"`
	URL       string      `json:"url" doc:"Where to open the WebSocket, below the server's address; the ticket is in it."`
	ExpiresAt time.Time   `json:"expires_at"`
}

// ConsoleViewer is one who looks at a console of a VM now.
type ConsoleViewer struct {
	User      string      `json:"user" doc:"His user name."`
	Kind      ConsoleKind `json:"kind"`
	VNCClient bool        `json:"vnc_client,omitempty" doc:"It is a VNC client, and whoever has it; the user asked for the grant that let it in."`
	Yours     bool        `json:"yours" doc:"It is you who asks."`
	Since     time.Time   `json:"since"`
}

// ConsoleTicketTTL is how long a ticket waits to be used.
const ConsoleTicketTTL = 30 * time.Second

// Why a console ended: the close codes of its WebSocket (RFC 6455, 7.4.2).
const (
	ConsoleMoved   = 4001 // the VM stopped, restarted or moved to another host: ask for a new ticket
	ConsoleOff     = 4002 // the VM does not run any more
	ConsoleRefused = 4003 // the user may not see it any more
)

// ConsoleStream is an open console: bytes from and to the VM. Close ends it.
type ConsoleStream = io.ReadWriteCloser

// ConsoleEnd is the error with which a console ended that the server closed.
type ConsoleEnd struct {
	Code   int
	Reason string
}

func (e *ConsoleEnd) Error() string { return fmt.Sprintf("the console ended: %s", e.Reason) }

// Again reports whether the console can be opened anew.
func (e *ConsoleEnd) Again() bool { return e.Code == ConsoleMoved }
