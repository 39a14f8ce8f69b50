package cloudinit

import (
	"crypto/rand"
	"math/big"
)

// passwordLetters leaves out what looks alike on a console: 0 O o, 1 l I.
const (
	passwordLetters = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz"
	passwordAll     = passwordLetters + "23456789"
	passwordLen     = 16
)

// Password makes a random console password of 16 letters and digits, about 92
// bits. It begins with a letter, so that no YAML reader takes it for a number.
func Password() (string, error) {
	b := make([]byte, passwordLen)
	for i := range b {
		from := passwordAll
		if i == 0 {
			from = passwordLetters
		}
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(from))))
		if err != nil {
			return "", err
		}
		b[i] = from[n.Int64()]
	}
	return string(b), nil
}
