package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"baadal"
)

// certificate writes a self-signed certificate for 127.0.0.1.
func certificate(t *testing.T, dir string) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "baadal"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return cert, key, pool
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestServeTLS runs the server with a certificate and stops it politely.
func TestServeTLS(t *testing.T) {
	t.Parallel()
	dir, addr := t.TempDir(), freePort(t)
	cert, key, pool := certificate(t, dir)
	file := filepath.Join(dir, "baadal.yaml")
	text := fmt.Sprintf("listen: %s\nstate: %s\ntls: {certificate: %s, key: %s}\nlog: {level: error}\n", addr, filepath.Join(dir, "state"), cert, key)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, io.Discard, serveOptions{config: file, simulate: 1}) }()
	api := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	var resp *http.Response
	var err error
	for range 600 {
		if resp, err = api.Get("https://" + addr + "/readyz"); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("readyz over TLS: %s", resp.Status)
	}
	api.CloseIdleConnections()
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the server ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the server does not stop")
	}
}

// TestServeRefuses starts servers that cannot run: each says why.
func TestServeRefuses(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	err = serve(t.Context(), io.Discard, serveOptions{state: t.TempDir(), listen: taken.Addr().String(), simulate: 1})
	if e, ok := errors.AsType[*baadal.Error](err); !ok || e.Code != "address_in_use" || len(e.Next) == 0 {
		t.Errorf("a port that is taken: %v", err)
	}

	state := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	first := freePort(t)
	go func() { ended <- serve(ctx, io.Discard, serveOptions{state: state, listen: first, simulate: 1}) }()
	ready := false
	for i := 0; i < 600 && !ready; i++ {
		if resp, err := http.Get("http://" + first + "/readyz"); err == nil {
			_ = resp.Body.Close()
			ready = resp.StatusCode == http.StatusOK
		}
		time.Sleep(50 * time.Millisecond)
	}
	if !ready {
		t.Fatal("the first controller is never ready")
	}
	err = serve(t.Context(), io.Discard, serveOptions{state: state, listen: freePort(t), simulate: 1})
	if err == nil || !strings.Contains(err.Error(), "baadal.db") {
		t.Errorf("a second controller on one SQLite database: %v", err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the first ends with %v", err)
	}
}
