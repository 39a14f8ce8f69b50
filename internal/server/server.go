// Package server speaks HTTP: it decodes a request, makes one service call and
// encodes the answer. It holds no rules; who may do what is the permission
// table's, what is possible the service's. error.go is the only place that
// turns a kind of error into a status.
//
// One file per noun, the routes as a table at its top.
package server

import (
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"

	"baadal/internal/service"
)

// Prefix is where the API lives.
const Prefix = "/api/v1"

// Limits of a request.
const (
	maxBody   = 1 << 20          // bytes of a JSON body
	maxUpload = 64 << 30         // bytes of an upload, unless configured
	ioTimeout = 30 * time.Second // see Config.IOTimeout
	maxWait   = 60 * time.Second // of a long poll
)

// Config is what a Server needs. Zero fields other than Service have defaults.
type Config struct {
	Service        *service.Service
	Logger         *slog.Logger
	Version        string         // of the program, for people
	Pages          fs.FS          // the built pages; none if nil or empty
	MetricsPublic  bool           // /metrics without a sign-in
	SecureCookies  bool           // mark cookies Secure even when the connection is plain (TLS ends before us)
	TrustedProxies []netip.Prefix // whose X-Forwarded-For and X-Forwarded-Proto are believed
	MaxUpload      int64          // bytes; 64 GiB
	Heartbeat      time.Duration  // of the event stream; 15 s
	IOTimeout      time.Duration  // for a whole JSON body, each read of an upload and each write, so that a stuck client holds nothing; 30 s
}

// Server answers the API, its documentation, health and metrics.
type Server struct {
	cfg      Config
	svc      *service.Service
	log      *slog.Logger
	mux      *http.ServeMux
	api      huma.API
	csrf     *http.CrossOriginProtection
	routes   []route
	requests *prometheus.HistogramVec
	metrics  http.Handler
	streams  streamCount
	draining chan struct{}
	drain    sync.Once
}

// New returns a Server with all its routes. A mistake in a route table panics.
func New(cfg Config) *Server {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxUpload == 0 {
		cfg.MaxUpload = maxUpload
	}
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = 15 * time.Second
	}
	if cfg.IOTimeout == 0 {
		cfg.IOTimeout = ioTimeout
	}
	s := &Server{
		cfg: cfg, svc: cfg.Service, log: cfg.Logger, mux: http.NewServeMux(),
		csrf: http.NewCrossOriginProtection(), draining: make(chan struct{}),
	}
	s.streams.byUser = map[int64]int{}
	s.api = newAPI(s.mux)
	s.setUpMetrics()
	for _, table := range [][]route{
		s.authRoutes(), s.userRoutes(), s.tokenRoutes(), s.hostRoutes(), s.datastoreRoutes(), s.templateRoutes(),
		s.networkRoutes(), s.publicRoutes(), s.forwardRoutes(), s.affinityRoutes(), s.secGroupRoutes(), s.vmRoutes(), s.imageRoutes(), s.snapshotRoutes(), s.backupRoutes(), s.diskRoutes(), s.cdromRoutes(), s.nicRoutes(), s.taskRoutes(), s.auditRoutes(), s.settingRoutes(), s.eventRoutes(), s.consoleRoutes(), s.vncRoutes(),
	} {
		for _, r := range table {
			r.register(s, r)
			s.routes = append(s.routes, r)
		}
	}
	s.finishSpec()
	s.registerPages()
	s.registerWeb(cfg.Pages)
	s.registerHealth()
	return s
}

// Handler returns the whole server as a handler: routes and everything around.
func (s *Server) Handler() http.Handler {
	return s.observe(s.recoverPanics(s.secureHeaders(http.HandlerFunc(s.dispatch))))
}

// HTTPServer returns an http.Server for the handler with timeouts for headers
// and idle connections; bodies and answers have theirs per read and write. Its
// Shutdown ends the event streams and long polls first.
func (s *Server) HTTPServer(addr string) *http.Server {
	hs := &http.Server{
		Addr:              addr,
		Handler:           s.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	hs.RegisterOnShutdown(s.Drain)
	return hs
}

// Drain ends event streams and long polls, so that clients connect elsewhere.
// Requests that come later are answered, without waiting. Idempotent.
func (s *Server) Drain() { s.drain.Do(func() { close(s.draining) }) }

// Routes lists what the API offers, for documentation and tests.
func (s *Server) Routes() []Route {
	out := make([]Route, len(s.routes))
	for i, r := range s.routes {
		out[i] = Route{Method: r.method, Path: Prefix + r.path, ID: r.id, Action: r.action}
	}
	return out
}

// dispatch hands the request to its route; what has none gets a problem, not
// the mux's plain text.
func (s *Server) dispatch(w http.ResponseWriter, r *http.Request) {
	h, pattern := s.mux.Handler(r)
	if pattern != "" {
		s.mux.ServeHTTP(w, r)
		return
	}
	p := probe{header: http.Header{}}
	h.ServeHTTP(&p, r)
	if p.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", p.header.Get("Allow"))
		s.writeProblem(w, r, methodNotAllowed(r, p.header.Get("Allow")))
		return
	}
	s.writeProblem(w, r, noRoute(r))
}

// probe keeps what a handler says without sending it.
type probe struct {
	header http.Header
	status int
}

// Header returns the headers that were said.
func (p *probe) Header() http.Header { return p.header }

func (p *probe) Write(b []byte) (int, error) { return len(b), nil }

// WriteHeader notes the status.
func (p *probe) WriteHeader(status int) { p.status = status }

// remote returns the client's address without port, and whether its
// connection is encrypted, as far as trusted proxies tell.
func (s *Server) remote(r *http.Request) (addr string, secure bool) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	secure = r.TLS != nil || s.cfg.SecureCookies
	if !s.trusts(host) {
		return host, secure
	}
	secure = secure || r.Header.Get("X-Forwarded-Proto") == "https"
	return s.forwardedFor(r, host), secure
}
