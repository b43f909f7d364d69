package metrics

import (
	"log/slog"
	"net/http"
	"net/http/pprof"
	"strings"

	"sightline/internal/auth"
	"sightline/internal/certs"
	"sightline/internal/httpapi"
)

// Listen opens the listeners of the metrics' own: metrics.listen for /metrics and the
// health checks, with the limits of the section http and the gateway's certificates, and
// metrics.debug_listen for the profiles. It returns none if neither is configured. The
// caller runs and closes them. An error begins with the key.
func Listen(c Config, h httpapi.Config, m *Metrics, health *Health, certificates certs.Source, log *slog.Logger) (servers []*httpapi.Server, err error) {
	defer func() {
		if err != nil {
			for _, s := range servers {
				s.Close()
			}
			servers = nil
		}
	}()
	if c.Enabled && c.Listen != "" {
		own := h
		own.Listen, own.Open = c.Listen, h.Open || !c.Auth // who asks for no token has none to lose
		router := httpapi.NewRouter(own, log)
		m.Register(router)
		health.Register(router)
		s, err := httpapi.NewServer("metrics", own, router, certificates, log)
		if err != nil {
			return servers, err
		}
		servers = append(servers, s)
	}
	if c.DebugListen != "" {
		h.Listen = c.DebugListen
		s, err := httpapi.NewServer("debug", h, profiles(), nil, log)
		if err != nil {
			return servers, err
		}
		servers = append(servers, s)
	}
	return servers, nil
}

// profiles serves Go's profiles under /debug/pprof/.
func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A page of somewhere else can make a browser on this machine ask here under a
		// name of its own (DNS rebinding).
		host := r.Host
		if !strings.Contains(host, ":") || strings.HasSuffix(host, "]") {
			host += ":80"
		}
		if !auth.Loopback(host) {
			http.Error(w, "only by a loopback address", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}
