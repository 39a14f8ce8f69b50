package server

import (
	"context"
	"net/http"
	"time"

	"baadal"
)

func (s *Server) registerHealth() {
	s.mux.HandleFunc("GET /healthz", s.serveHealth)
	s.mux.HandleFunc("GET /readyz", s.serveReady)
	s.mux.HandleFunc("GET /metrics", s.serveMetrics)
}

// serveHealth says that the process lives.
func (s *Server) serveHealth(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok " + s.cfg.Version + "\n")) // the client went away: nobody is left to tell
}

// serveReady says whether it can work: the database answers, workers run, and
// it is not about to end.
func (s *Server) serveReady(w http.ResponseWriter, r *http.Request) {
	select {
	case <-s.draining:
		s.writeProblem(w, r, draining())
		return
	default:
	}
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	if err := s.svc.Ready(ctx); err != nil {
		s.log.WarnContext(ctx, "not ready", "error", err)
		s.writeProblem(w, r, baadal.Errorf(baadal.Unavailable, "not ready").WithCode("not_ready"))
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ready\n")) // the client went away: nobody is left to tell
}

func draining() error {
	return baadal.Errorf(baadal.Unavailable, "the server is about to end").WithCode("draining")
}
