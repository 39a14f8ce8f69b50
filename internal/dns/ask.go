package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
)

const (
	headerLength  = 12
	recursionWish = 0x0100
	isAnswer      = 0x8000
	typeA         = 1
	classInternet = 1
	answerLimit   = 4096 // bytes of an answer to one question for an address
)

// ask asks the server at the other end of a TCP connection whether the name has
// the address, and reads no more of its answer than that takes: the answer
// section's last four bytes are the address. It closes the connection.
func ask(ctx context.Context, conn net.Conn, name, address string) (bool, error) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // a stream through SSH has no deadlines
	defer stop()
	const number = 0x6264
	query := binary.BigEndian.AppendUint16(nil, number)
	query = append(query, recursionWish>>8, 0, 0, 1, 0, 0, 0, 0, 0, 0)
	for label := range strings.SplitSeq(name, ".") {
		query = append(append(query, byte(len(label))), label...)
	}
	query = append(query, 0, 0, typeA, 0, classInternet)
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)); err != nil { //nolint:gosec // a checked name is short
		return false, fmt.Errorf("ask the name server: %w", errors.Join(err, context.Cause(ctx)))
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return false, fmt.Errorf("wait for the name server: %w", errors.Join(err, context.Cause(ctx)))
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	if n < headerLength || n > answerLimit {
		return false, fmt.Errorf("the name server answers with %d bytes", n)
	}
	answer := make([]byte, n)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return false, fmt.Errorf("read the name server's answer: %w", err)
	}
	flags := binary.BigEndian.Uint16(answer[2:])
	if binary.BigEndian.Uint16(answer) != number || flags&isAnswer == 0 {
		return false, errors.New("what answers is no name server")
	}
	answers := binary.BigEndian.Uint16(answer[6:])
	if flags&0xf != 0 || answers == 0 {
		return false, nil
	}
	want := net.ParseIP(address).To4()
	end := n // an OPT record may follow: it was not asked for, and none comes
	return end >= len(query)+4 && net.IP(answer[end-4:end]).Equal(want), nil
}
