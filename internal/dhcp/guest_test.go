package dhcp_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// The types of DHCP messages (RFC 2131), and the options that are used here.
const (
	msgDiscover, msgRequest, msgDecline, msgACK, msgNAK = 1, 3, 4, 5, 6

	optAddress, optType, optServer, optClient = 50, 53, 54, 61
)

// guest is a DHCP client: who it says it is, and what it does.
type guest struct {
	mac      string
	id       string // client identifier; none if empty
	remember string // an address that it had before and asks for without looking around
	takes    bool   // takes what it is offered
	declines bool   // and then finds it in use
}

// talk returns the address that the guest is offered or gets, "no" if what it
// remembers is refused, and "" if nobody answers. It changes the thread's
// namespace.
func (g guest) talk(namespace int) string {
	hw, err := net.ParseMAC(g.mac)
	if err != nil {
		return err.Error()
	}
	s, err := socket(namespace)
	if err != nil {
		return err.Error()
	}
	defer unix.Close(s)
	if g.remember != "" {
		return said(exchange(s, g.message(hw, msgRequest, option(optAddress, netip.MustParseAddr(g.remember).AsSlice()))))
	}
	offer, err := exchange(s, g.message(hw, msgDiscover))
	if err != nil || offer == nil || !g.takes {
		return said(offer, err)
	}
	want := append(option(optAddress, offer[16:20]), option(optServer, find(offer, optServer))...)
	ack, err := exchange(s, g.message(hw, msgRequest, want))
	if err == nil && ack != nil && g.declines {
		err = send(s, g.message(hw, msgDecline, want))
		time.Sleep(100 * time.Millisecond) // it is not answered
	}
	return said(ack, err)
}

// said is an answer in words.
func said(answer []byte, err error) string {
	switch {
	case err != nil:
		return err.Error()
	case answer == nil:
		return ""
	case slices.Equal(find(answer, optType), []byte{msgNAK}):
		return "no"
	}
	ip, _ := netip.AddrFromSlice(answer[16:20])
	return ip.String()
}

// message is one from a client.
func (g guest) message(hw net.HardwareAddr, kind byte, options ...[]byte) []byte {
	p := make([]byte, 236, 300)
	p[0], p[1], p[2] = 1, 1, 6 // request, Ethernet, 6 bytes
	binary.BigEndian.PutUint32(p[4:], uint32(time.Now().UnixNano()))
	p[10] = 0x80 // answer by broadcast
	copy(p[28:], hw)
	p = append(p, 99, 130, 83, 99) // the options' cookie
	p = append(p, option(optType, []byte{kind})...)
	if g.id != "" {
		p = append(p, option(optClient, []byte(g.id))...)
	}
	for _, o := range options {
		p = append(p, o...)
	}
	p = append(p, 255)
	return append(p, make([]byte, max(0, 300-len(p)))...)
}

func option(number byte, value []byte) []byte {
	return append([]byte{number, byte(len(value))}, value...)
}

// find returns an option of a message.
func find(message []byte, number byte) []byte {
	for o := message[240:]; len(o) > 2 && o[0] != 255 && len(o) >= 2+int(o[1]); o = o[2+int(o[1]):] {
		if o[0] == number {
			return o[2 : 2+int(o[1])]
		}
	}
	return nil
}

// socket is a client's in a network namespace.
func socket(namespace int) (int, error) {
	ns, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", namespace), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(ns)
	if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
		return 0, err
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	_ = unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
	_ = unix.SetsockoptString(s, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "c0")
	_ = unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 400000})
	if err := unix.Bind(s, &unix.SockaddrInet4{Port: 68}); err != nil {
		_ = unix.Close(s)
		return 0, err
	}
	return s, nil
}

func send(s int, p []byte) error {
	return unix.Sendto(s, p, 0, &unix.SockaddrInet4{Port: 67, Addr: [4]byte{255, 255, 255, 255}})
}

// exchange sends a packet until it is answered, three times at most.
func exchange(s int, p []byte) ([]byte, error) {
	for range 3 {
		if err := send(s, p); err != nil {
			return nil, err
		}
		answer := make([]byte, 1500)
		n, _, err := unix.Recvfrom(s, answer, 0)
		if err == nil && n > 240 && bytes.Equal(answer[4:8], p[4:8]) {
			return answer[:n], nil
		}
	}
	return nil, nil //nolint:nilnil // silence is an answer, too
}
