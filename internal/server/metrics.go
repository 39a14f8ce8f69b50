package server

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"baadal"
)

// setUpMetrics makes the server's own registry: nothing registers by itself.
func (s *Server) setUpMetrics() {
	reg := prometheus.NewRegistry()
	s.requests = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "baadal_http_request_duration_seconds", Help: "Time to answer, by route and status.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60},
	}, []string{"route", "status"})
	reg.MustRegister(s.requests, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &statsCollector{s: s})
	s.metrics = promhttp.HandlerFor(reg, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// statsCollector asks the service for its counts when somebody scrapes.
type statsCollector struct{ s *Server }

var (
	descVMs     = prometheus.NewDesc("baadal_vms", "VMs by state.", []string{"state"}, nil)
	descHosts   = prometheus.NewDesc("baadal_hosts", "Hosts by state.", []string{"state"}, nil)
	descTasks   = prometheus.NewDesc("baadal_tasks", "Tasks by state.", []string{"state"}, nil)
	descDiffs   = prometheus.NewDesc("baadal_audit_differences", "Differences that the last audit found.", nil, nil)
	descOldest  = prometheus.NewDesc("baadal_oldest_pending_task_seconds", "How long the oldest pending task has waited.", nil, nil)
	descStreams = prometheus.NewDesc("baadal_event_streams", "Event streams that are open.", nil, nil)
	descUp      = prometheus.NewDesc("baadal_stats_up", "1 if the counts could be read.", nil, nil)
)

// Describe sends every description.
func (c *statsCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descVMs, descHosts, descTasks, descDiffs, descOldest, descStreams, descUp} {
		ch <- d
	}
}

// Collect reads the counts; a store that does not answer shows as up 0.
func (c *statsCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	c.s.streams.mu.Lock()
	gauge(descStreams, float64(c.s.streams.all))
	c.s.streams.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	st, err := c.s.svc.Stats(ctx)
	if err != nil {
		c.s.log.WarnContext(ctx, "read stats", "error", err)
		gauge(descUp, 0)
		return
	}
	gauge(descUp, 1)
	for d, counts := range map[*prometheus.Desc]map[string]int{descVMs: st.VMs, descHosts: st.Hosts, descTasks: st.Tasks} {
		for state, n := range counts {
			gauge(d, float64(n), state)
		}
	}
	gauge(descDiffs, float64(st.Differences))
	gauge(descOldest, st.OldestPendingTask.Seconds())
}

// serveMetrics is for whoever may see the hosts, or for everyone if so configured.
func (s *Server) serveMetrics(w http.ResponseWriter, r *http.Request) {
	if !s.cfg.MetricsPublic {
		if err := s.admit(r, baadal.ActionHostRead); err != nil {
			s.writeProblem(w, r, err)
			return
		}
	}
	s.metrics.ServeHTTP(w, r)
}
