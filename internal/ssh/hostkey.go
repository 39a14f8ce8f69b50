package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"baadal"
)

// pin is the key that a host must show.
type pin struct {
	target target
	key    ssh.PublicKey
	seen   ssh.PublicKey // what it showed instead
}

func parsePin(t target) (*pin, error) {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(t.hostKey))
	if err != nil {
		return nil, &baadal.Error{
			Kind: baadal.Conflict, Code: "host_key_missing", Err: err,
			Title: "no host key is pinned for " + t.host, Detail: "without it nobody knows who answers at " + t.addr,
			Next: []baadal.Offer{{Label: "Pin it", Action: "baadal host add " + t.addr}},
		}
	}
	return &pin{target: t, key: key}, nil
}

// algorithms asks the host for a key of the pinned type; a host with several
// would else show the one it likes best.
func (p *pin) algorithms() []string {
	if p.key.Type() == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{p.key.Type()}
}

var errOtherKey = errors.New("host key is not the pinned one")

func (p *pin) check(_ string, _ net.Addr, key ssh.PublicKey) error {
	if !bytes.Equal(key.Marshal(), p.key.Marshal()) {
		p.seen = key
		return errOtherKey
	}
	return nil
}

// mismatch returns the error for a changed host key if err is one, else nil. A
// host that no longer has a key of the pinned type has changed, too.
func (p *pin) mismatch(err error) error {
	seen := ""
	if p.seen != nil {
		seen = p.seen.Type() + " " + ssh.FingerprintSHA256(p.seen)
	} else if n, ok := errors.AsType[*ssh.AlgorithmNegotiationError](err); ok && strings.Contains(err.Error(), "host key") {
		seen = "no " + p.key.Type() + " key but " + strings.Join(n.RequestedAlgorithms, ", ")
	} else {
		return nil
	}
	e := &baadal.Error{
		Kind: baadal.Conflict, Code: "host_key_changed", Err: err,
		Title: fmt.Sprintf("the host key of %s has changed: all work on it has stopped", p.target.host),
	}
	e = e.WithDetail("pinned %s %s, seen %s: either the host was installed anew or something else answers at %s",
		p.key.Type(), ssh.FingerprintSHA256(p.key), seen, p.target.addr)
	e = e.WithNext("Compare with the host itself, on its console", "ssh-keygen -lf /etc/ssh/ssh_host_"+keyFileName(p.key)+"_key.pub")
	return e.WithNext("If the new key is right, pin it", "baadal host add "+p.target.addr)
}

// keyFileName is how OpenSSH names the file of a key of this type.
func keyFileName(k ssh.PublicKey) string {
	switch {
	case strings.HasPrefix(k.Type(), "ecdsa-"):
		return "ecdsa"
	case k.Type() == ssh.KeyAlgoRSA:
		return "rsa"
	}
	return "ed25519"
}

// isAuthError tells a refused client key from other handshake failures. The
// library has no type for it on the client's side.
func isAuthError(err error) bool {
	return strings.Contains(err.Error(), "unable to authenticate")
}

// authorizedKey writes a key as one line without comment.
func authorizedKey(k ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k)))
}

var errKeySeen = errors.New("key seen")

// FetchHostKey asks the sshd at addr (host:port) for its host key without
// authenticating and without trusting it. It returns the key in
// authorized_keys form and its SHA256 fingerprint. Ed25519 is preferred.
func FetchHostKey(ctx context.Context, addr string) (key, fingerprint string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", "", unavailable(addr, "", fmt.Errorf("dial %s: %w", addr, plainDialError(err)))
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { _ = raw.Close() })()

	var seen ssh.PublicKey
	_, _, _, err = ssh.NewClientConn(raw, addr, &ssh.ClientConfig{
		User: "baadal",
		HostKeyCallback: func(_ string, _ net.Addr, k ssh.PublicKey) error {
			seen = k
			return errKeySeen
		},
		HostKeyAlgorithms: []string{
			ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
			ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
		},
	})
	if seen == nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return "", "", unavailable(addr, "no SSH server answers there", fmt.Errorf("fetch host key: %w", err))
	}
	return authorizedKey(seen), ssh.FingerprintSHA256(seen), nil
}
