package probe

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"syscall"
	"time"
)

// Guests reaches guests over the controller's network.
type Guests struct {
	ping string // path of ping; empty if there is none
}

// NewGuests returns Guests that use the ping on PATH, if there is one.
func NewGuests() *Guests {
	path, err := exec.LookPath("ping")
	if err != nil {
		path = ""
	}
	return &Guests{ping: path}
}

// answerTime is how long a guest may take to answer.
const answerTime = time.Second

// Answers reports whether the address answers a ping or a TCP connection to port
// 22, within about a second. A refused connection is an answer: somebody's
// kernel sent it.
func (g *Guests) Answers(ctx context.Context, address string) bool {
	a, err := netip.ParseAddr(address)
	if err != nil || a.Zone() != "" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime+200*time.Millisecond)
	defer cancel()
	asks := []func(context.Context, netip.Addr) bool{g.pings, connects}
	answers := make(chan bool, len(asks))
	for _, ask := range asks {
		go func() { answers <- ask(ctx, a) }()
	}
	answered := false
	for range asks {
		// Both are waited for: nothing of ours outlives the call.
		if <-answers {
			answered = true
			cancel()
		}
	}
	return answered
}

func (g *Guests) pings(ctx context.Context, a netip.Addr) bool {
	if g.ping == "" {
		return false
	}
	return exec.CommandContext(ctx, g.ping, "-n", "-q", "-c", "1", "-W", "1", a.String()).Run() == nil
}

func connects(ctx context.Context, a netip.Addr) bool {
	d := net.Dialer{Timeout: answerTime}
	c, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(a, 22).String())
	if err == nil {
		_ = c.Close()
		return true
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
