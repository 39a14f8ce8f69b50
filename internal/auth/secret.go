package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"strings"
)

// Prefixes of secrets: what kind of secret a leaked string is, at a glance.
const (
	SessionPrefix = "bs_"
	TokenPrefix   = "bt_"
)

// NewSecret returns prefix followed by 32 random bytes in URL-safe base64.
func NewSecret(prefix string) string {
	return prefix + base64.RawURLEncoding.EncodeToString(randomBytes(32))
}

// HashSecret returns what is stored of a secret: its SHA-256, hex. A secret
// has 256 random bits, so a fast hash without salt is enough.
func HashSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// IsSecret reports whether s could be a secret with the given prefix; it lets
// a caller refuse nonsense before asking the database.
func IsSecret(prefix, s string) bool {
	rest, ok := strings.CutPrefix(s, prefix)
	return ok && len(rest) == base64.RawURLEncoding.EncodedLen(32)
}

// oneTimeAlphabet leaves out what people mistake for one another (0 O 1 l I).
const oneTimeAlphabet = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"

// OneTimePassword returns a random password that people can type: four groups
// of four letters and digits, about 92 bits.
func OneTimePassword() string {
	var b strings.Builder
	for i := range 16 {
		if i > 0 && i%4 == 0 {
			b.WriteByte('-')
		}
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(oneTimeAlphabet))))
		if err != nil {
			panic("random number: " + err.Error()) // crypto/rand never fails
		}
		b.WriteByte(oneTimeAlphabet[n.Int64()])
	}
	return b.String()
}
