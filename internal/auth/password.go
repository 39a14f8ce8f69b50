package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"

	"baadal"
)

// Params is the cost of one password hash.
type Params struct {
	MemoryKiB uint32
	Time      uint32
	Threads   uint8
}

// defaultParams is what OWASP asks of argon2id at least: about 50 ms here.
var defaultParams = Params{MemoryKiB: 19 * 1024, Time: 2, Threads: 1}

const (
	saltLen = 16
	keyLen  = 32

	// parallel hashings at a time, so that a flood of sign-ins takes neither
	// all memory nor all CPUs; waiting is how many more may queue for a turn.
	parallel = 2
	waiting  = 64

	// maxMemoryKiB and maxTime bound what a stored hash may make us spend.
	maxMemoryKiB = 1 << 20
	maxTime      = 64
)

// Hasher makes and checks password hashes, at most two at a time. It is safe
// for concurrent use.
type Hasher struct {
	params Params
	slots  chan struct{}
	queue  chan struct{}
	dummy  string // hash of nobody's password, so that unknown users cost the same
}

// NewHasher returns a Hasher with the given cost; zero fields get the default
// (argon2id, 19 MiB, 2 passes, 1 thread).
func NewHasher(p Params) *Hasher {
	if p.MemoryKiB == 0 {
		p.MemoryKiB = defaultParams.MemoryKiB
	}
	if p.Time == 0 {
		p.Time = defaultParams.Time
	}
	if p.Threads == 0 {
		p.Threads = defaultParams.Threads
	}
	h := &Hasher{params: p, slots: make(chan struct{}, parallel), queue: make(chan struct{}, parallel+waiting)}
	h.dummy = encode(p, randomBytes(saltLen), randomBytes(keyLen))
	return h
}

// Hash returns the PHC string of a password with a new salt. It waits for its
// turn; the error is ctx's, or TooMany when too many wait already.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	release, err := h.acquire(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	salt := randomBytes(saltLen)
	return encode(h.params, salt, derive(h.params, password, salt, keyLen)), nil
}

// Verify compares a password with its PHC string in constant time. An empty
// string stands for an unknown user: it costs as much and never matches.
// Outdated says that the hash was made with another cost than the present one
// and should be replaced now that the password is at hand. A string that is no
// argon2id hash is an Internal error, never a match.
func (h *Hasher) Verify(ctx context.Context, phc, password string) (ok, outdated bool, err error) {
	unknown := phc == ""
	if unknown {
		phc = h.dummy
	}
	p, salt, key, err := decode(phc)
	if err != nil {
		return false, false, err
	}
	release, err := h.acquire(ctx)
	if err != nil {
		return false, false, err
	}
	defer release()
	match := subtle.ConstantTimeCompare(derive(p, password, salt, len(key)), key) == 1
	if unknown || !match {
		return false, false, nil
	}
	return true, p != h.params || len(salt) != saltLen || len(key) != keyLen, nil
}

func (h *Hasher) acquire(ctx context.Context) (release func(), err error) {
	select {
	case h.queue <- struct{}{}:
	default:
		return nil, baadal.Errorf(baadal.TooMany, "too many sign-ins at the moment").WithCode("sign_in_busy").
			WithDetail("try again in a few seconds")
	}
	select {
	case h.slots <- struct{}{}:
		return func() { <-h.slots; <-h.queue }, nil
	case <-ctx.Done():
		<-h.queue
		return nil, fmt.Errorf("wait for a password hash: %w", ctx.Err())
	}
}

func derive(p Params, password string, salt []byte, n int) []byte {
	return argon2.IDKey([]byte(password), salt, p.Time, p.MemoryKiB, p.Threads, uint32(n))
}

func encode(p Params, salt, key []byte) string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.MemoryKiB, p.Time, p.Threads,
		b64.EncodeToString(salt), b64.EncodeToString(key))
}

func decode(phc string) (p Params, salt, key []byte, err error) {
	bad := func(what string) (Params, []byte, []byte, error) {
		return Params{}, nil, nil, baadal.Errorf(baadal.Internal, "read password hash: %s", what)
	}
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return bad("not argon2id")
	}
	if parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return bad("unknown version")
	}
	var threads uint32
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.MemoryKiB, &p.Time, &threads); err != nil || n != 3 {
		return bad("parameters")
	}
	if p.MemoryKiB < 8 || p.MemoryKiB > maxMemoryKiB || p.Time < 1 || p.Time > maxTime || threads < 1 || threads > 64 {
		return bad("parameters out of range")
	}
	p.Threads = uint8(threads)
	if salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err != nil || len(salt) < 8 || len(salt) > 64 {
		return bad("salt")
	}
	if key, err = base64.RawStdEncoding.DecodeString(parts[5]); err != nil || len(key) < 16 || len(key) > 64 {
		return bad("key")
	}
	return p, salt, key, nil
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails: it crashes the program instead
	return b
}
