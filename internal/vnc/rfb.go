package vnc

import (
	"bytes"
	"crypto/des" //nolint:gosec // it is what VNC has
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"baadal"
)

// Words of RFB (RFC 6143).
const (
	hello         = "RFB 003.008\n"
	securityNone  = 1
	securityVNC   = 2
	challengeSize = 16
	reasonSize    = 1 << 10 // bytes of a reason that we read
)

// errWrong says that a client gave a wrong password.
var errWrong = errors.New("wrong password")

// client is the side of a VNC client before it may see anything.
type client struct {
	io.ReadWriter
	minor int // of its version: 3, 7 or 8
}

// greet agrees on a version and on the one way to sign in, and returns what the
// client made of the challenge.
func (c *client) greet() (challenge, answer []byte, err error) {
	if _, err := io.WriteString(c, hello); err != nil {
		return nil, nil, fmt.Errorf("greet: %w", err)
	}
	version := make([]byte, len(hello))
	if _, err := io.ReadFull(c, version); err != nil {
		return nil, nil, fmt.Errorf("read version: %w", err)
	}
	var major int
	if _, err := fmt.Sscanf(string(version), "RFB %03d.%03d\n", &major, &c.minor); err != nil || major != 3 {
		return nil, nil, fmt.Errorf("not a VNC client: it says %q", version)
	}
	if err := c.agree(); err != nil {
		return nil, nil, err
	}
	challenge, answer = make([]byte, challengeSize), make([]byte, challengeSize)
	rand.Read(challenge) // never fails
	if _, err := c.Write(challenge); err != nil {
		return nil, nil, fmt.Errorf("send challenge: %w", err)
	}
	if _, err := io.ReadFull(c, answer); err != nil {
		return nil, nil, fmt.Errorf("read answer: %w", err)
	}
	return challenge, answer, nil
}

// agree has the client sign in with a password. Old ones are told, newer ones
// are asked.
func (c *client) agree() error {
	if c.minor < 7 {
		c.minor = 3
		if _, err := c.Write(binary.BigEndian.AppendUint32(nil, securityVNC)); err != nil {
			return fmt.Errorf("send security type: %w", err)
		}
		return nil
	}
	if _, err := c.Write([]byte{1, securityVNC}); err != nil {
		return fmt.Errorf("send security types: %w", err)
	}
	var chosen [1]byte
	if _, err := io.ReadFull(c, chosen[:]); err != nil {
		return fmt.Errorf("read security type: %w", err)
	}
	if chosen[0] != securityVNC {
		return fmt.Errorf("it wants security type %d, which was not offered", chosen[0])
	}
	return nil
}

// refuse tells the client why it gets nothing.
func (c *client) refuse(why string) {
	b := binary.BigEndian.AppendUint32(nil, 1)
	if c.minor >= 8 {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(why))), why...) //nolint:gosec // a sentence
	}
	_, _ = c.Write(b) // it may be gone
}

// welcome lets the client in, and reads its last word before the picture. The
// word says whether others may look too; they always may.
func (c *client) welcome() error {
	if _, err := c.Write(make([]byte, 4)); err != nil {
		return fmt.Errorf("let in: %w", err)
	}
	var shared [1]byte
	if _, err := io.ReadFull(c, shared[:]); err != nil {
		return fmt.Errorf("read client's word: %w", err)
	}
	return nil
}

// encrypt is what VNC makes of a challenge: DES with the password as key, each
// of its bytes backwards.
func encrypt(password string, challenge []byte) ([]byte, error) {
	var key [baadal.VNCPasswordLength]byte
	copy(key[:], password)
	for i := range key {
		key[i] = bits.Reverse8(key[i])
	}
	block, err := des.NewCipher(key[:]) //nolint:gosec // likewise
	if err != nil {
		return nil, err
	}
	out := make([]byte, challengeSize)
	for i := 0; i < challengeSize; i += block.BlockSize() {
		block.Encrypt(out[i:], challenge[i:])
	}
	return out, nil
}

// check compares an answer with the right one.
func check(password string, challenge, answer []byte) error {
	want, err := encrypt(password, challenge)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(want, answer) != 1 {
		return errWrong
	}
	return nil
}

// enter speaks to a VM's screen up to where the client's own words go on. The
// screen asks for nothing: who reaches its socket may see it.
func enter(screen io.ReadWriter) error {
	version := make([]byte, len(hello))
	if _, err := io.ReadFull(screen, version); err != nil {
		return fmt.Errorf("read the screen's version: %w", err)
	}
	if string(version) != hello {
		return fmt.Errorf("the screen says %q", version)
	}
	if _, err := io.WriteString(screen, hello); err != nil {
		return fmt.Errorf("greet the screen: %w", err)
	}
	var n [1]byte
	if _, err := io.ReadFull(screen, n[:]); err != nil {
		return fmt.Errorf("read the screen's security types: %w", err)
	}
	types := make([]byte, n[0])
	if _, err := io.ReadFull(screen, types); err != nil {
		return fmt.Errorf("read the screen's security types: %w", err)
	}
	if len(types) == 0 {
		return fmt.Errorf("the screen refuses: %s", reason(screen))
	}
	if !bytes.Contains(types, []byte{securityNone}) {
		return fmt.Errorf("the screen wants one of the security types %v", types)
	}
	if _, err := screen.Write([]byte{securityNone}); err != nil {
		return fmt.Errorf("choose the screen's security type: %w", err)
	}
	result := make([]byte, 4)
	if _, err := io.ReadFull(screen, result); err != nil {
		return fmt.Errorf("read the screen's result: %w", err)
	}
	if binary.BigEndian.Uint32(result) != 0 {
		return fmt.Errorf("the screen refuses: %s", reason(screen))
	}
	if _, err := screen.Write([]byte{1}); err != nil { // others may look too
		return fmt.Errorf("begin with the screen: %w", err)
	}
	return nil
}

// reason reads why a screen refuses.
func reason(screen io.Reader) string {
	size := make([]byte, 4)
	if _, err := io.ReadFull(screen, size); err != nil {
		return err.Error()
	}
	text := make([]byte, min(binary.BigEndian.Uint32(size), reasonSize))
	if _, err := io.ReadFull(screen, text); err != nil {
		return err.Error()
	}
	return string(text)
}
