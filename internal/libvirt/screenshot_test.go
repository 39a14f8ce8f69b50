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

// TestStreamEndToldTwice: libvirtd at times tells the end of a stream twice.
// Neither the picture nor the calls after it may hang by that.
func TestStreamEndToldTwice(t *testing.T) {
	t.Parallel()
	h := newLocal(t, "", libvirt.Options{CallTimeout: 5 * time.Second, Dial: twice(libvirttest.StartDaemon(t))})
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

// twice connects to a libvirtd and repeats each end of a stream.
func twice(path string) func(context.Context, baadal.Host) (net.Conn, error) {
	return func(ctx context.Context, _ baadal.Host) (net.Conn, error) {
		real, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if err != nil {
			return nil, err
		}
		ours, theirs := net.Pipe()
		go func() { _, _ = io.Copy(real, theirs); _ = real.Close() }()
		go func() {
			defer func() { _ = theirs.Close() }()
			for {
				var length uint32
				if binary.Read(real, binary.BigEndian, &length) != nil {
					return
				}
				packet := binary.BigEndian.AppendUint32(nil, length)
				packet = append(packet, make([]byte, length-4)...)
				if _, err := io.ReadFull(real, packet[4:]); err != nil {
					return
				}
				if length == 28 && packet[19] == 3 && packet[27] == 2 { // an empty packet of a stream that goes on: its end
					packet = append(packet, packet...)
				}
				if _, err := theirs.Write(packet); err != nil {
					return
				}
			}
		}()
		return ours, nil
	}
}
