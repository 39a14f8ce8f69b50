package auth_test

import (
	"regexp"
	"testing"

	"baadal/internal/auth"
)

func TestSecrets(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		s := auth.NewSecret(auth.TokenPrefix)
		if !regexp.MustCompile(`^bt_[A-Za-z0-9_-]{43}$`).MatchString(s) || seen[s] {
			t.Fatalf("bad or repeated secret %q", s)
		}
		if !auth.IsSecret(auth.TokenPrefix, s) || auth.IsSecret(auth.SessionPrefix, s) || auth.IsSecret(auth.TokenPrefix, s[1:]) {
			t.Errorf("IsSecret is wrong about %q", s)
		}
		seen[s] = true
	}
	const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if got := auth.HashSecret("abc"); got != abc {
		t.Errorf("HashSecret(abc) = %s", got)
	}
}

func TestOneTimePassword(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		p := auth.OneTimePassword()
		if !regexp.MustCompile(`^([a-km-zA-HJ-NP-Z2-9]{4}-){3}[a-km-zA-HJ-NP-Z2-9]{4}$`).MatchString(p) || seen[p] {
			t.Fatalf("bad or repeated password %q", p)
		}
		seen[p] = true
	}
}
