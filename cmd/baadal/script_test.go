package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"baadal": main})
}

// TestScripts runs testdata/script: the real command line against a real server
// with SQLite, whose hosts are simulated. Each script has a server of its own.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
			if err := os.WriteFile(filepath.Join(env.WorkDir, "image.qcow2"), image(2<<30), 0o600); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(env.WorkDir, "cd.iso"), cdImage(), 0o600); err != nil {
				return err
			}
			return startServer(env)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"furnish": furnish, "until": until},
	})
}

// furnish signs the administrator in and makes a cloud of two hosts, a
// datastore, a network and a template.
func furnish(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(os.WriteFile(ts.MkAbs("first"), []byte(ts.Getenv("FIRST_PASSWORD")+"\na-good-password\n"), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("password"), []byte("a-good-password\n"), 0o600))
	script := [][]string{
		{"host", "add", "10.77.0.11", "--yes"},
		{"host", "add", "10.77.0.12", "--yes"},
		{"datastore", "add", "main", "/mnt/datastore"},
		{"network", "create", "lab", "--vlan", "10", "--cidr", "192.168.10.0/24", "--gateway", "192.168.10.1"},
		{"template", "import", ts.MkAbs("image.qcow2"), "--name", "debian-12", "--os", "Debian 12"},
	}
	in, err := os.Open(ts.MkAbs("first"))
	ts.Check(err)
	defer in.Close()
	c, out := scriptCLI(ts)
	c.in = in
	if code := c.run(context.Background(), []string{"login", "admin", "--password-stdin"}); code != 0 {
		ts.Fatalf("login: %d\n%s", code, out)
	}
	for _, args := range script {
		c, out := scriptCLI(ts)
		if code := c.run(context.Background(), args); code != 0 {
			ts.Fatalf("baadal %s: exit code %d\n%s", strings.Join(args, " "), code, out)
		}
	}
}

func scriptCLI(ts *testscript.TestScript) (*cli, *bytes.Buffer) {
	c, out, _ := quietCLI()
	c.err, c.getenv, c.now, c.in = out, ts.Getenv, time.Now, strings.NewReader("")
	return c, out
}

// until runs a command line again and again until a file, or what it prints
// itself ("stdout"), matches.
func until(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: until FILE REGEXP ARGUMENT...")
	}
	re, err := regexp.Compile(args[1])
	ts.Check(err)
	var text []byte
	for range 200 {
		c, out := scriptCLI(ts)
		code := c.run(context.Background(), args[2:])
		text = out.Bytes()
		if args[0] != "stdout" {
			if code != 0 {
				ts.Fatalf("baadal %s: exit code %d\n%s", strings.Join(args[2:], " "), code, out)
			}
			text, err = os.ReadFile(ts.MkAbs(args[0]))
			ts.Check(err)
		}
		if re.Match(text) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("%s does not match %q after 10 s:\n%s", args[0], args[1], text)
}

// image is the header of an empty qcow2 image of the given size.
func image(size uint64) []byte {
	b := make([]byte, 256<<10)
	copy(b, "QFI\xfb")
	binary.BigEndian.PutUint32(b[4:], 3)
	binary.BigEndian.PutUint32(b[20:], 16)
	binary.BigEndian.PutUint64(b[24:], size)
	return b
}

// cdImage is the least that passes for an ISO 9660 image.
func cdImage() []byte {
	b := make([]byte, 64<<10)
	copy(b[16*2048+1:], "CD001")
	return b
}

// serverOutput is what a server prints while it runs.
type serverOutput struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *serverOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *serverOutput) find(re *regexp.Regexp) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if m := re.FindSubmatch(o.b.Bytes()); m != nil {
		return string(m[1])
	}
	return ""
}

var firstPassword = regexp.MustCompile(`one-time password (\S+)\n`)

// startServer runs `baadal serve --simulate` in this process until the script
// ends.
func startServer(env *testscript.Env) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		return err
	}
	config := filepath.Join(env.WorkDir, "server.yaml")
	// Ports for VNC clients are the VMs' own: each server has an address of its own.
	n := rand.N[uint32](1 << 24)
	text := fmt.Sprintf("log:\n  level: error\nvnc:\n  address: 127.%d.%d.%d\n", 1+byte(n>>16)%250, byte(n>>8), 1+byte(n)%250)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	out, ended := new(serverOutput), make(chan error, 1)
	go func() {
		ended <- serve(ctx, out, serveOptions{config: config, listen: address, state: filepath.Join(env.WorkDir, "state"), simulate: 3})
	}()
	env.Defer(func() {
		stop()
		if err := <-ended; err != nil {
			env.T().Log("the server ended with: ", err)
		}
	})
	url := "http://" + address
	env.Setenv("BAADAL_SERVER", url)
	for range 500 {
		select {
		case err := <-ended:
			ended <- err
			return fmt.Errorf("the server did not start: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
		password := out.find(firstPassword)
		if resp, err := http.Get(url + "/readyz"); err == nil && password != "" {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				env.Setenv("FIRST_PASSWORD", password)
				return nil
			}
		}
	}
	return fmt.Errorf("the server at %s is not ready after 10 s", url)
}
