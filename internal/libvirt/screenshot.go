package libvirt

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net"
	"sync"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket"

	"baadal"
)

// maxPicture bounds a picture: libvirtd is believed, but not with our memory.
const maxPicture = 64 << 20

// Screenshot returns what is on an active domain's screen, as PNG; one that is
// off is Conflict.
func (h *Hypervisor) Screenshot(ctx context.Context, host baadal.Host, uuid string) ([]byte, error) {
	const op = "take a screenshot"
	_, dom, err := h.lookup(ctx, host, uuid, op)
	if err != nil {
		return nil, err
	}
	// On a connection of its own: go-libvirt never tells libvirtd that it is done
	// with a stream, and libvirtd keeps what it has open for one until the
	// connection ends.
	l, err := h.openWith(ctx, host, func(c net.Conn) net.Conn { return newOneStream(c) })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	defer l.close()
	raw, err := call(ctx, l, op, func(rpc *golibvirt.Libvirt) ([]byte, error) {
		var b limited
		_, err := rpc.DomainScreenshot(dom, &b, 0, 0)
		if b.Len() > 0 { // the client library cannot read the answer's end and says so
			return b.Bytes(), nil
		}
		return nil, err
	})
	if err != nil {
		return nil, err
	}
	out, err := toPNG(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	return out, nil
}

// oneStream is a connection that is silent once a stream on it has ended.
// libvirtd sometimes tells a stream's end twice; go-libvirt listens to the first
// only, and hands on the second with its lock held: for ever.
type oneStream struct {
	net.Conn
	packets *bufio.Reader
	left    int  // bytes of a packet that are still to be read
	last    bool // that packet is the stream's end
	once    sync.Once
	closed  chan struct{}
}

func newOneStream(c net.Conn) *oneStream {
	return &oneStream{Conn: c, packets: bufio.NewReader(c), closed: make(chan struct{})}
}

// Read hands on what libvirtd says, as far as the end of the first stream.
func (s *oneStream) Read(b []byte) (int, error) {
	if s.left == 0 {
		if s.last {
			<-s.closed
			return 0, net.ErrClosed
		}
		head, err := s.packets.Peek(minPacket)
		if err != nil {
			return 0, err //nolint:wrapcheck // io.EOF has to stay what it is
		}
		if s.left = int(binary.BigEndian.Uint32(head)); s.left < minPacket || s.left > maxPacket {
			return 0, errPacketSize
		}
		s.last = s.left == minPacket && binary.BigEndian.Uint32(head[16:]) == socket.Stream && binary.BigEndian.Uint32(head[24:]) == socket.StatusContinue
	}
	n, err := s.packets.Read(b[:min(len(b), s.left)])
	s.left -= n
	return n, err //nolint:wrapcheck // io.EOF has to stay what it is
}

// Close ends it for whoever reads.
func (s *oneStream) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Conn.Close() //nolint:wrapcheck // its caller does not ask
}

// limited takes what fits and forgets the rest: a stream's writer must neither
// fail nor wait, or the connection stands still.
type limited struct{ bytes.Buffer }

// Write takes p as far as there is room.
func (b *limited) Write(p []byte) (int, error) {
	if room := maxPicture - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}

// toPNG turns QEMU's portable pixmap (P6, 8 bits) into PNG; PNG stays.
func toPNG(raw []byte) ([]byte, error) {
	if bytes.HasPrefix(raw, []byte("\x89PNG")) {
		return raw, nil
	}
	var w, h, depth int
	if _, err := fmt.Sscanf(string(raw[:min(len(raw), 64)]), "P6\n%d %d\n%d\n", &w, &h, &depth); err != nil || depth != 255 || w < 1 || h < 1 || w > 1<<14 || h > 1<<14 {
		return nil, errors.New("the picture is of no known kind")
	}
	if len(raw) < w*h*3 {
		return nil, errors.New("the picture is not whole")
	}
	pixels := raw[len(raw)-w*h*3:]
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		img.SetRGBA(i%w, i/w, color.RGBA{R: pixels[3*i], G: pixels[3*i+1], B: pixels[3*i+2], A: 255})
	}
	var out bytes.Buffer
	if err := png.Encode(&out, img); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
