package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	cryptossh "golang.org/x/crypto/ssh"

	"baadal"
	"baadal/internal/reconcile"
	"baadal/internal/server"
	"baadal/internal/service"
	"baadal/internal/store"
	"baadal/internal/task"
	"baadal/internal/workflow"
	"baadal/web"
)

// serveOptions are the flags of `baadal serve`.
type serveOptions struct {
	config   string
	listen   string
	state    string
	simulate int
}

func serveCommand() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: `Run the server: the API, the tasks and the loops that watch the hosts.

Without --config the defaults hold: it listens on 127.0.0.1:8080 and keeps its
state, an SQLite database and an SSH key, in /var/lib/baadal. The first start
makes the user admin and prints a one-time password. A socket passed by systemd
is used instead of the configured address.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd.Context(), cmd.OutOrStdout(), o) },
	}
	cmd.Flags().StringVar(&o.config, "config", "", "configuration `file` (docs/baadal.example.yaml)")
	cmd.Flags().StringVar(&o.listen, "listen", "", "`address` to listen on, before the configuration's")
	cmd.Flags().StringVar(&o.state, "state", "", "state `folder`, before the configuration's")
	cmd.Flags().IntVar(&o.simulate, "simulate", 0, "no real hosts: simulate this `number` of them")
	return cmd
}

// read reads the configuration; the flags come before it.
func (o serveOptions) read(ctx context.Context) (config, error) {
	cfg, err := readConfig(ctx, o.config)
	if err != nil {
		return cfg, err
	}
	if o.listen != "" {
		cfg.Listen = o.listen
	}
	if o.state != "" {
		cfg.State = o.state
	}
	if err := cfg.complete(); err != nil {
		return cfg, baadal.Errorf(baadal.Invalid, "the configuration has mistakes:\n%v", err)
	}
	return cfg, nil
}

// serve wires everything, top to bottom, and runs until ctx ends.
func serve(ctx context.Context, out io.Writer, o serveOptions) error {
	cfg, err := o.read(ctx)
	if err != nil {
		return err
	}
	log := cfg.logger()
	if err := os.MkdirAll(cfg.State, 0o700); err != nil {
		return fmt.Errorf("make state folder: %w", err)
	}
	// The socket comes first: a port that is taken must not disturb anything.
	listener, err := listen(ctx, cfg)
	if err != nil {
		return err
	}
	defer listener.Close()
	db, err := store.Open(ctx, store.Config{DSN: cfg.Database, Logger: log})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	world, err := openWorld(cfg, o, log)
	if err != nil {
		return err
	}
	defer world.close()

	queue := task.New(db, task.Options{Workers: cfg.Workers, Logger: log, Slots: slots(db)})
	flows := workflow.New(db, world.systems, workflow.Options{Logger: log})
	queue.Register(flows.Bodies()...)
	var svc *service.Service
	doors, err := openDoors(cfg, log, func() *service.Service { return svc })
	if err != nil {
		return err
	}
	defer doors.close()
	loops := reconcile.New(db, doors.watched(world.watched(flows)), reconcile.Options{Logger: log})
	svc = service.New(db, queue, service.Options{
		Prober: world.systems.Prober, Stats: loops.VMStats, Files: world.systems.Images, Foreign: world.systems.Adopter,
		Consoles: world.consoles, Screens: world.screens, VNCAddress: cfg.VNC.Address, Domain: cfg.domain(), Taken: ownAddresses(cfg), Logger: log,
		NAT: service.NAT{Public: world.public, Traffic: loops.PublicTraffic},
	})
	if err := bootstrap(ctx, out, svc); err != nil {
		return err
	}
	if err := svc.EnsureBuiltinNetworks(ctx); err != nil {
		return fmt.Errorf("make built-in networks: %w", err)
	}
	if err := svc.ForgetLines(ctx); err != nil {
		return err
	}
	if err := queue.Start(ctx); err != nil {
		return err
	}
	loops.Start(ctx)

	proxies, err := cfg.proxies()
	if err != nil {
		return err
	}
	site := server.New(server.Config{
		Service: svc, Logger: log, Version: version(), Pages: web.Pages(), MetricsPublic: cfg.MetricsPublic, TrustedProxies: proxies,
	}).HTTPServer(cfg.Listen)
	log.Info("serving", "address", listener.Addr().String(), "database", databaseKind(cfg.Database), "version", version())
	err = run(ctx, site, listener, cfg.TLS)

	// Leave in the reverse order: no new work, then no work, then no store.
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	err = errors.Join(err, site.Shutdown(stop))
	loops.Stop()
	return errors.Join(err, queue.Stop(stop))
}

// run serves until ctx ends or serving fails.
func run(ctx context.Context, web *http.Server, listener net.Listener, tls tlsConfig) error {
	failed := make(chan error, 1)
	go func() {
		if tls.Certificate != "" {
			failed <- web.ServeTLS(listener, tls.Certificate, tls.Key)
			return
		}
		failed <- web.Serve(listener)
	}()
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	}
}

// listen takes the socket that systemd passed, if it passed one, or opens the
// configured address.
func listen(ctx context.Context, cfg config) (net.Listener, error) {
	if pid, _ := strconv.Atoi(os.Getenv("LISTEN_PID")); pid == os.Getpid() {
		if n, _ := strconv.Atoi(os.Getenv("LISTEN_FDS")); n != 1 {
			return nil, baadal.Errorf(baadal.Invalid, "systemd passed %s sockets, one is wanted", os.Getenv("LISTEN_FDS"))
		}
		const first = 3 // sd_listen_fds(3)
		f := os.NewFile(first, "socket from systemd")
		defer f.Close()
		l, err := net.FileListener(f)
		if err != nil {
			return nil, fmt.Errorf("use the socket from systemd: %w", err)
		}
		return l, nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return nil, baadal.Errorf(baadal.Unavailable, "cannot listen on %s: %w", cfg.Listen, err).WithCode("address_in_use").
			WithNext("Choose another address", "baadal serve --listen 127.0.0.1:PORT")
	}
	return l, nil
}

// sshKey reads the controller's key, or makes one and says where it must go.
func sshKey(path string, log *slog.Logger) (cryptossh.Signer, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if raw, err = makeSSHKey(path); err == nil {
			log.Info("made an SSH key: put its public half into authorized_keys of every host", "file", path+".pub")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read ssh key: %w", err)
	}
	signer, err := cryptossh.ParsePrivateKey(raw)
	if err != nil {
		return nil, baadal.Errorf(baadal.Invalid, "ssh key %s is not usable: %w", path, err).WithDetail("it must be a private key without a passphrase")
	}
	return signer, nil
}

func makeSSHKey(path string) ([]byte, error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := cryptossh.MarshalPrivateKey(key, "baadal controller")
	if err != nil {
		return nil, err
	}
	public, err := cryptossh.NewPublicKey(pub)
	if err != nil {
		return nil, err
	}
	raw := pem.EncodeToMemory(block)
	if err := os.WriteFile(path+".pub", cryptossh.MarshalAuthorizedKey(public), 0o644); err != nil { //nolint:gosec // it is public
		return nil, err
	}
	return raw, os.WriteFile(path, raw, 0o600)
}

// bootstrap makes the first administrator and prints the one-time password,
// once. Until somebody has used it, each start says how to get another.
func bootstrap(ctx context.Context, out io.Writer, svc *service.Service) error {
	name, password, err := svc.Bootstrap(ctx)
	switch {
	case err != nil || name == "":
		return err
	case password == "":
		fmt.Fprintf(out, "Nobody has set a password for %s yet. If the first one is lost, stop the server and get another: baadal rescue %s\n", name, name)
	default:
		fmt.Fprintf(out, "The first administrator is %s, with the one-time password %s\nSign in with it: baadal login %s\n", name, password, name)
	}
	return nil
}

// slots reads how much work one host may carry, at most once a second.
func slots(db *store.DB) func() int {
	var n int
	var read time.Time
	return func() int { // only the dispatcher calls it
		if time.Since(read) > time.Second {
			ctx, stop := context.WithTimeout(context.Background(), time.Second)
			defer stop()
			err := db.View(ctx, func(tx *store.Tx) error {
				v, err := tx.SettingValues()
				n = v.Int(baadal.SettingHostSlots)
				return err
			})
			if err == nil {
				read = time.Now()
			}
		}
		return max(n, 1)
	}
}

// ownAddresses are those of this machine and of the boxes it works with. One
// that cannot be read is not kept out of ranges; the network would tell.
func ownAddresses(cfg config) (all []netip.Addr) {
	interfaces, _ := net.InterfaceAddrs()
	for _, a := range interfaces {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			all = append(all, p.Addr())
		}
	}
	for _, box := range []string{cfg.DHCP.Address, cfg.DNS.Address, cfg.NAT.Address, cfg.NAT.Public} {
		if host, _, err := net.SplitHostPort(box); err == nil {
			box = host
		}
		if a, err := netip.ParseAddr(box); err == nil {
			all = append(all, a)
		}
	}
	return all
}

func databaseKind(dsn string) string {
	if len(dsn) > 7 && dsn[:7] == "sqlite:" {
		return "sqlite"
	}
	return "postgresql"
}
