package client_test

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// conns passes TCP connections on and can cut all of them.
type conns struct {
	mu   sync.Mutex
	open map[net.Conn]bool
	wg   sync.WaitGroup
}

// flaky listens in front of a server until the test ends.
func flaky(t *testing.T, target string) (base string, cut func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &conns{open: map[net.Conn]bool{}}
	c.wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			c.pass(in, strings.TrimPrefix(target, "http://"))
		}
	})
	t.Cleanup(func() {
		l.Close()
		c.cut()
		c.wg.Wait()
	})
	return "http://" + l.Addr().String(), c.cut
}

func (c *conns) pass(in net.Conn, target string) {
	out, err := net.Dial("tcp", target)
	if err != nil {
		in.Close()
		return
	}
	c.mu.Lock()
	c.open[in], c.open[out] = true, true
	c.mu.Unlock()
	for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
		c.wg.Go(func() {
			_, _ = io.Copy(pair[0], pair[1]) // either end may go
			pair[0].Close()
			pair[1].Close()
		})
	}
}

func (c *conns) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.open {
		conn.Close()
		delete(c.open, conn)
	}
}
