package libvirt_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"image/png"
	"io"
	"net"
	"testing"
	"time"

	"baadal"
	"baadal/internal/libvirt"
	"baadal/internal/libvirt/libvirttest"
)

// TestUnrulyStream: libvirtd at times sends a picture before it answers the
// call. Neither the picture nor the calls after it may suffer by that.
func TestUnrulyStream(t *testing.T) {
	t.Parallel()
	h := newLocal(t, "", libvirt.Options{CallTimeout: 5 * time.Second, Dial: unruly(libvirttest.StartDaemon(t))})
	domains, err := h.Domains(t.Context(), testHost)
	if err != nil || len(domains) != 1 {
		t.Fatalf("%+v, %v", domains, err)
	}
	for range 20 {
		picture, err := h.Screenshot(t.Context(), testHost, domains[0].UUID)
		if err != nil {
			t.Fatal(err)
		}
		if img, err := png.Decode(bytes.NewReader(picture)); err != nil || img.Bounds().Dx() < 100 {
			t.Fatalf("the picture is none: %v", err)
		}
		if _, err := h.Domain(t.Context(), testHost, domains[0].UUID); err != nil {
			t.Fatalf("after the picture: %v", err)
		}
	}
}

// unruly connects to a libvirtd and holds back its answer to a call for a picture
// until the first piece of it is through.
func unruly(path string) func(context.Context, baadal.Host) (net.Conn, error) {
	return func(ctx context.Context, _ baadal.Host) (net.Conn, error) {
		daemon, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if err != nil {
			return nil, err
		}
		ours, theirs := net.Pipe()
		go func() { _, _ = io.Copy(daemon, theirs); _ = daemon.Close() }()
		go func() {
			defer func() { _ = theirs.Close() }()
			var late []byte
			for {
				packet := make([]byte, 4)
				if _, err := io.ReadFull(daemon, packet); err != nil {
					return
				}
				packet = append(packet, make([]byte, binary.BigEndian.Uint32(packet)-4)...)
				if _, err := io.ReadFull(daemon, packet[4:]); err != nil {
					return
				}
				const screenshot, reply, stream = 211, 1, 3 // libvirt's protocol
				switch {
				case packet[19] == reply && packet[15] == screenshot:
					late, packet = packet, nil
				case packet[19] == stream:
					packet, late = append(packet, late...), nil
				}
				if _, err := theirs.Write(packet); err != nil {
					return
				}
			}
		}()
		return ours, nil
	}
}
