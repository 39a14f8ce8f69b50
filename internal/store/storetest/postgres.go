package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// server is the PostgreSQL of this test binary. It is the one thing that tests
// share: starting one takes seconds.
var server struct {
	once sync.Once
	dir  string
	err  error
	stop chan struct{} // closed to stop it
	done chan error    // how it ended
}

// serverDSN starts the server on first use.
func serverDSN() (string, error) {
	server.once.Do(func() { server.err = startServer() })
	if server.err != nil {
		return "", fmt.Errorf("start PostgreSQL: %w", server.err)
	}
	return (&url.URL{
		Scheme: "postgres", User: url.User("postgres"), Path: "/postgres",
		RawQuery: url.Values{"host": {server.dir}, "sslmode": {"disable"}}.Encode(),
	}).String(), nil
}

func startServer() error {
	bin, err := findServer()
	if err != nil {
		return err
	}
	attr, uid, err := credentials()
	if err != nil {
		return err
	}
	if server.dir, err = os.MkdirTemp("", "baadal-pg-"); err != nil {
		return err
	}
	if uid >= 0 {
		if err := os.Chown(server.dir, uid, -1); err != nil {
			return err
		}
	}
	data := filepath.Join(server.dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C.UTF-8")
	initdb.Dir, initdb.SysProcAttr = server.dir, attr
	if out, err := initdb.CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("initdb: %w: %s", err, out), os.RemoveAll(server.dir))
	}
	var output bytes.Buffer
	cmd := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-k", server.dir, "-c", "listen_addresses=", "-c", "max_connections=500",
		"-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off", "-c", "shared_buffers=128MB", "-c", "work_mem=16MB")
	cmd.Dir, cmd.SysProcAttr, cmd.Stdout, cmd.Stderr = server.dir, attr, &output, &output
	server.stop, server.done = make(chan struct{}), make(chan error, 1)
	started := make(chan error, 1)
	go func() {
		// The server dies with the thread that started it, should the test
		// binary be killed: so that thread must stay.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		<-server.stop
		_ = cmd.Process.Signal(syscall.SIGQUIT) // at once: nothing in it is worth keeping
		_ = cmd.Wait()                          // ends with an error then
		server.done <- os.RemoveAll(server.dir)
	}()
	if err := <-started; err != nil {
		return err
	}
	return waitServer()
}

func waitServer() error {
	socket := filepath.Join(server.dir, ".s.PGSQL.5432")
	var err error
	for range 600 {
		var conn *pgx.Conn
		conn, err = pgx.Connect(context.Background(), "host="+server.dir+" user=postgres dbname=postgres sslmode=disable")
		if err == nil {
			return conn.Close(context.Background())
		}
		time.Sleep(50 * time.Millisecond) // another process: there is nothing to wait on
	}
	return fmt.Errorf("no answer on %s: %w", socket, err)
}

// findServer returns the folder with the newest initdb and postgres.
func findServer() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errors.New("no initdb on PATH or in /usr/lib/postgresql")
	}
	return filepath.Dir(found[len(found)-1]), nil
}

// credentials makes root run the server as user postgres: it refuses root.
func credentials() (*syscall.SysProcAttr, int, error) {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
	if os.Getuid() != 0 {
		return attr, -1, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, 0, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, 0, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, 0, err
	}
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attr, int(uid), nil
}

func stopServer() error {
	if server.stop == nil {
		return nil
	}
	close(server.stop)
	return <-server.done
}

var databases atomic.Int64

// createDatabase makes a database of its own for one test.
func createDatabase(admin string) (dsn string, drop func() error, err error) {
	u, err := url.Parse(admin)
	if err != nil {
		return "", nil, errors.New("BAADAL_TEST_POSTGRES is not a URL")
	}
	name := fmt.Sprintf("baadal_test_%d_%d", os.Getpid(), databases.Add(1))
	run := func(sql string) error {
		ctx := context.Background()
		conn, err := pgx.Connect(ctx, admin)
		if err != nil {
			return err
		}
		_, err = conn.Exec(ctx, sql)
		return errors.Join(err, conn.Close(ctx))
	}
	if err := run("CREATE DATABASE " + name); err != nil {
		return "", nil, fmt.Errorf("create database: %w", err)
	}
	u.Path = "/" + name
	return u.String(), func() error { return run("DROP DATABASE " + name + " WITH (FORCE)") }, nil
}
