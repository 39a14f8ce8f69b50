package auth_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"baadal"
	"baadal/internal/auth"
)

var cheap = auth.Params{MemoryKiB: 64, Time: 1, Threads: 1}

func TestHashAndVerify(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	h := auth.NewHasher(cheap)
	phc, err := h.Hash(ctx, "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(phc, "$argon2id$v=19$m=64,t=1,p=1$") {
		t.Errorf("not a PHC string: %s", phc)
	}
	if again, _ := h.Hash(ctx, "correct horse"); again == phc {
		t.Error("two hashes of one password are equal: no salt")
	}
	for password, want := range map[string]bool{"correct horse": true, "correct horsf": false, "": false} {
		ok, outdated, err := h.Verify(ctx, phc, password)
		if err != nil || ok != want || outdated {
			t.Errorf("Verify(%q) = %v, %v, %v; want %v, false, nil", password, ok, outdated, err, want)
		}
	}
	ok, outdated, err := auth.NewHasher(auth.Params{MemoryKiB: 128, Time: 1, Threads: 1}).Verify(ctx, phc, "correct horse")
	if err != nil || !ok || !outdated {
		t.Errorf("under another cost: %v, %v, %v; want true, true, nil", ok, outdated, err)
	}
}

func TestDefaultCost(t *testing.T) {
	t.Parallel()
	phc, err := auth.NewHasher(auth.Params{}).Hash(t.Context(), "x")
	if err != nil || !strings.HasPrefix(phc, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("Hash = %q, %v", phc, err)
	}
}

// The vector is of the reference implementation's command line, printf password
// | argon2 somesalt -id -t 2 -m 16 -p 1 -l 32.
func TestVerifyKnownVector(t *testing.T) {
	t.Parallel()
	const phc = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	ok, _, err := auth.NewHasher(cheap).Verify(t.Context(), phc, "password")
	if err != nil || !ok {
		t.Errorf("Verify = %v, %v", ok, err)
	}
}

func TestVerifyUnknownUserNeverMatches(t *testing.T) {
	t.Parallel()
	for _, password := range []string{"", "password"} {
		if ok, outdated, err := auth.NewHasher(cheap).Verify(t.Context(), "", password); ok || outdated || err != nil {
			t.Errorf("Verify(\"\", %q) = %v, %v, %v", password, ok, outdated, err)
		}
	}
}

func TestVerifyRefusesBadHashes(t *testing.T) {
	t.Parallel()
	for _, phc := range []string{
		"x", "$2b$12$abcdefghijklmnopqrstuv", "$argon2i$v=19$m=64,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=16$m=64,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=64,t=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=4294967295,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=64,t=0,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$", "$argon2id$v=19$m=64,t=1,p=1$$AAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$!!",
	} {
		ok, _, err := auth.NewHasher(cheap).Verify(t.Context(), phc, "")
		if ok || baadal.KindOf(err) != baadal.Internal {
			t.Errorf("Verify(%q) = %v, %v; want an Internal error", phc, ok, err)
		}
	}
}

func TestHasherGivesUpWithContext(t *testing.T) {
	t.Parallel()
	h := auth.NewHasher(auth.Params{MemoryKiB: 64 * 1024, Time: 4, Threads: 1})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { _, _ = h.Hash(ctx, "slow") })
	}
	// A flood beyond slots and queue is refused, not piled up.
	var mu sync.Mutex
	refused, gaveUp := 0, 0
	for range 200 {
		wg.Go(func() {
			_, err := h.Hash(ctx, "slow")
			mu.Lock()
			defer mu.Unlock()
			switch {
			case baadal.KindOf(err) == baadal.TooMany:
				if refused++; refused == 100 {
					cancel()
				}
			case errors.Is(err, context.Canceled):
				gaveUp++
			}
		})
	}
	wg.Wait()
	cancel()
	if refused < 100 || gaveUp == 0 {
		t.Errorf("refused %d, gave up %d; want at least 100 and 1", refused, gaveUp)
	}
	if _, err := h.Hash(t.Context(), "after"); err != nil {
		t.Errorf("after the flood: %v", err)
	}
}
