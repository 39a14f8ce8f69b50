package ssh_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/needs"
	"baadal/internal/ssh"
)

func TestRunResults(t *testing.T) {
	t.Parallel()
	d := startSSHD(t)
	p := newPool(t, ssh.Options{Signer: d.signer})
	tests := []struct {
		name string
		cmd  ssh.Command
		want ssh.Result
	}{
		{"output", ssh.Command{Argv: []string{"echo", "hello"}}, ssh.Result{Stdout: []byte("hello\n")}},
		{"code and stderr", ssh.Command{Argv: []string{"sh", "-c", "echo bad >&2; exit 7"}}, ssh.Result{Stderr: []byte("bad\n"), Code: 7}},
		{"stdin", ssh.Command{Argv: []string{"tr", "a-z", "A-Z"}, Stdin: strings.NewReader("abc")}, ssh.Result{Stdout: []byte("ABC")}},
		{"no stdin is empty, not a hang", ssh.Command{Argv: []string{"cat"}}, ssh.Result{}},
		{"stdin not read", ssh.Command{Argv: []string{"true"}, Stdin: bytes.NewReader(make([]byte, 8<<20))}, ssh.Result{}},
		{"killed by a signal", ssh.Command{Argv: []string{"sh", "-c", "kill -9 $$"}}, ssh.Result{Code: 137}},
		{"no such program", ssh.Command{Argv: []string{"/nowhere/no-such-program"}}, ssh.Result{Code: 127}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := p.Run(t.Context(), d.host, tt.cmd)
			if err != nil {
				t.Fatal(err)
			}
			if tt.want.Code == 127 {
				got.Stderr = nil // the shell's words
			}
			norm := func(b []byte) string { return string(b) }
			if diff := cmp.Diff([]any{norm(tt.want.Stdout), norm(tt.want.Stderr), tt.want.Code}, []any{norm(got.Stdout), norm(got.Stderr), got.Code}); diff != "" {
				t.Error(diff)
			}
		})
	}
	_, err := p.RunOK(t.Context(), d.host, ssh.Command{Argv: []string{"sh", "-c", "echo no space >&2; exit 3"}})
	if baadal.CodeOf(err) != "command_failed" || !strings.Contains(err.Error(), "no space") {
		t.Errorf("RunOK of a failing command: %v", err)
	}
}

// TestQuoteSurvivesShell sends odd arguments through a real sshd and shell.
func TestQuoteSurvivesShell(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	d := startSSHD(t)
	p := newPool(t, ssh.Options{Signer: d.signer})
	pieces := []string{"'", `"`, `\`, "\n", "$(id)", "`id`", ";", "|", "&", ">", "*", "~", "!", "#", "$HOME", "ü", "名", "\t", " ", "-n", "=", "{a,b}", "\x01", "\xff", "%s", "\r"}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		args := make([]string, 1+rnd.IntN(6))
		for i := range args {
			for range rnd.IntN(8) {
				args[i] += pieces[rnd.IntN(len(pieces))]
			}
		}
		res, err := p.RunOK(t.Context(), d.host, ssh.Command{Argv: append([]string{"printf", `%s\0`}, args...)})
		if err != nil {
			t.Fatalf("%q: %v", args, err)
		}
		got := strings.Split(strings.TrimSuffix(string(res.Stdout), "\x00"), "\x00")
		if diff := cmp.Diff(args, got); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestQuoteRefuses(t *testing.T) {
	t.Parallel()
	for _, argv := range [][]string{nil, {""}, {"echo", "a\x00b"}} {
		if s, err := ssh.Quote(argv); baadal.KindOf(err) != baadal.Invalid {
			t.Errorf("Quote(%q) = %q, %v; want Invalid", argv, s, err)
		}
	}
}

func TestRunStreams(t *testing.T) {
	t.Parallel()
	d := startSSHD(t)
	p := newPool(t, ssh.Options{Signer: d.signer})
	const size = 64 << 20
	in, out := sha256.New(), sha256.New()
	src := io.LimitReader(rand.NewChaCha8([32]byte{1}), size)
	n := &countingWriter{w: out}
	if _, err := p.RunOK(t.Context(), d.host, ssh.Command{Argv: []string{"cat"}, Stdin: io.TeeReader(src, in), Stdout: n}); err != nil {
		t.Fatal(err)
	}
	if n.n != size || !bytes.Equal(in.Sum(nil), out.Sum(nil)) {
		t.Errorf("%d of %d bytes came back, or not the same ones", n.n, size)
	}
}

type countingWriter struct {
	w io.Writer
	n int
}

func (c *countingWriter) Write(b []byte) (int, error) { c.n += len(b); return c.w.Write(b) }

func TestRunKillsWhatItCannotServe(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	d := startSSHD(t)
	p := newPool(t, ssh.Options{Signer: d.signer})
	errPulled := errors.New("cable pulled")
	t.Run("output limit", func(t *testing.T) {
		start := time.Now()
		_, err := p.Run(t.Context(), d.host, ssh.Command{Argv: []string{"yes"}, Limit: 1000})
		if err == nil || !strings.Contains(err.Error(), "longer than 1000 bytes") || time.Since(start) > 5*time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
	})
	t.Run("broken writer", func(t *testing.T) {
		r, w := io.Pipe()
		_ = r.CloseWithError(errPulled)
		_, err := p.Run(t.Context(), d.host, ssh.Command{Argv: []string{"yes"}, Stdout: w})
		if !errors.Is(err, errPulled) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("broken reader", func(t *testing.T) {
		mark := filepath.Join(t.TempDir(), "whole")
		in := io.MultiReader(strings.NewReader(strings.Repeat("x", 1<<20)), brokenReader{errPulled})
		_, err := p.Run(t.Context(), d.host, ssh.Command{Argv: []string{"sh", "-c", `cat >/dev/null; echo all >"$0"`, mark}, Stdin: in})
		if !errors.Is(err, errPulled) {
			t.Errorf("got %v", err)
		}
		time.Sleep(300 * time.Millisecond)
		if _, err := os.Stat(mark); err == nil {
			t.Error("the program took half an input for the whole")
		}
	})
}

type brokenReader struct{ err error }

func (r brokenReader) Read([]byte) (int, error) { return 0, r.err }

// TestRunSessionLimit runs more commands at once than sshd's MaxSessions (10).
func TestRunSessionLimit(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	d := startSSHD(t)
	p := newPool(t, ssh.Options{Signer: d.signer})
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			want := strconv.Itoa(i)
			res, err := p.RunOK(t.Context(), d.host, ssh.Command{Argv: []string{"sh", "-c", `sleep 0.1; echo "$0"`, want}})
			if err != nil || strings.TrimSpace(string(res.Stdout)) != want {
				t.Errorf("run %d: %q, %v", i, res.Stdout, err)
			}
		})
	}
	wg.Wait()
}

func TestRunCancelKillsRemote(t *testing.T) {
	t.Parallel()
	d := startSSHD(t)
	p := newPool(t, ssh.Options{Signer: d.signer})
	for _, trap := range []string{"", `trap "" TERM;`} {
		t.Run("trap="+trap, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "pids")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			failed := make(chan error, 1)
			go func() {
				_, err := p.Run(ctx, d.host, ssh.Command{Argv: []string{"sh", "-c", trap + ` sleep 300 & echo $$ $! >"$0.new"; mv "$0.new" "$0"; wait; sleep 300`, file}, Timeout: -1})
				failed <- err
			}()
			pids := strings.Fields(waitFile(t, file))
			start := time.Now()
			cancel()
			if err := <-failed; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("Run took %s to return after cancel", took)
			}
			for _, s := range pids {
				pid, _ := strconv.Atoi(s)
				if !gone(pid) {
					t.Errorf("process %d is still there", pid)
				}
			}
		})
	}
}

func waitFile(t *testing.T, file string) string {
	t.Helper()
	for range 500 {
		if b, err := os.ReadFile(file); err == nil {
			return string(b)
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal(file + " does not appear")
	return ""
}

// gone waits up to two seconds for a process to end.
func gone(pid int) bool {
	for range 500 {
		// A dead orphan whose new parent does not reap it stays as a zombie.
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return true
		}
		time.Sleep(20 * time.Millisecond)
	}
	return false
}

func TestRunDeadline(t *testing.T) {
	t.Parallel()
	d := startSSHD(t)
	p := newPool(t, ssh.Options{Signer: d.signer, CallTimeout: 200 * time.Millisecond})
	slow := ssh.Command{Argv: []string{"sleep", "1"}}
	if err := p.Ping(t.Context(), d.host); err != nil {
		t.Fatal(err)
	}
	_, err := p.Run(t.Context(), d.host, slow)
	wantKind(t, err, baadal.Unavailable)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := p.RunOK(ctx, d.host, slow); err != nil {
		t.Errorf("the caller's longer deadline did not win: %v", err)
	}
	slow.Timeout = -1
	if _, err := p.RunOK(t.Context(), d.host, slow); err != nil {
		t.Errorf("without bound: %v", err)
	}
}
