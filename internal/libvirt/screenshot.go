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
	"io"
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
	// with a stream. That it is, libvirtd learns by the connection's end.
	var stream *oneStream
	l, err := h.openWith(ctx, host, func(c net.Conn) net.Conn {
		stream = &oneStream{Conn: c, packets: bufio.NewReader(c), closed: make(chan struct{})}
		return stream
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	defer l.close()
	raw, err := call(ctx, l, op, func(rpc *golibvirt.Libvirt) ([]byte, error) {
		_, err := rpc.DomainScreenshot(dom, io.Discard, 0, 0)
		if stream.content.Len() > 0 { // the client library cannot read the answer's end and says so
			return stream.content.Bytes(), nil
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

// procScreenshot is the number of virDomainScreenshot in libvirt's protocol.
const procScreenshot = 211

// oneStream is a connection for one picture. It takes the picture out itself:
// libvirtd begins to send it at times before it answers the call, and go-libvirt
// would take the first piece for the answer, the answer for the end, and hand on
// the end with its lock held when nobody listens any more, for ever.
type oneStream struct {
	net.Conn
	packets *bufio.Reader
	content limited
	out     []byte // what go-libvirt is to read still
	end     []byte // the packet that ends the stream, once it is here
	replied bool   // the answer to the call was handed on
	over    bool   // the end, too
	once    sync.Once
	closed  chan struct{}
}

// Read hands on everything but the stream, whose end comes last.
func (s *oneStream) Read(b []byte) (int, error) {
	for len(s.out) == 0 {
		switch {
		case s.over:
			<-s.closed
			return 0, net.ErrClosed
		case s.replied && s.end != nil:
			s.out, s.over = s.end, true
		default:
			packet, err := s.next()
			if err != nil {
				return 0, err
			}
			s.sort(packet)
		}
	}
	n := copy(b, s.out)
	s.out = s.out[n:]
	return n, nil
}

func (s *oneStream) next() ([]byte, error) {
	head, err := s.packets.Peek(minPacket)
	if err != nil {
		return nil, err //nolint:wrapcheck // io.EOF has to stay what it is
	}
	size := binary.BigEndian.Uint32(head)
	if size < minPacket || size > maxPacket {
		return nil, errPacketSize
	}
	packet := make([]byte, size)
	_, err = io.ReadFull(s.packets, packet)
	return packet, err //nolint:wrapcheck // io.EOF has to stay what it is
}

// sort looks at a packet's header: length, program, version, procedure, type,
// serial, status, 4 bytes each.
func (s *oneStream) sort(packet []byte) {
	procedure, kind, status := binary.BigEndian.Uint32(packet[12:]), binary.BigEndian.Uint32(packet[16:]), binary.BigEndian.Uint32(packet[24:])
	switch {
	case kind == socket.Stream && status == socket.StatusContinue && len(packet) == minPacket:
		s.end = packet
	case kind == socket.Stream && status == socket.StatusContinue:
		_, _ = s.content.Write(packet[minPacket:]) // it never fails
	default:
		s.out = packet
		s.replied = s.replied || kind == socket.Reply && procedure == procScreenshot
	}
}

// Close ends it for whoever reads.
func (s *oneStream) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Conn.Close() //nolint:wrapcheck // its caller does not ask
}

// limited takes what fits and forgets the rest.
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
