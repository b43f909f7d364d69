package metrics

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"strings"

	"sightline/internal/auth"
	"sightline/internal/httpapi"
)

// Listen opens the listeners of the metrics' own: metrics.listen for /metrics and the
// health checks, with the limits and the certificate of the section http, and
// metrics.debug_listen for the profiles. It returns none if neither is configured. The
// caller runs and closes them. An error begins with the key.
func Listen(c Config, h httpapi.Config, m *Metrics, health *Health, log *slog.Logger) (servers []*httpapi.Server, err error) {
	defer func() {
		if err != nil {
			for _, s := range servers {
				s.Close()
			}
			servers = nil
		}
	}()
	if c.Enabled && c.Listen != "" {
		h.Listen = c.Listen
		router := httpapi.NewRouter(h, log)
		m.Register(router)
		health.Register(router)
		s, err := httpapi.NewServer(h, router, log)
		if err != nil {
			return servers, rename(err, "metrics.listen")
		}
		servers = append(servers, s)
	}
	if c.DebugListen != "" {
		h.Listen, h.TLSCert, h.TLSKey = c.DebugListen, "", ""
		s, err := httpapi.NewServer(h, profiles(), log)
		if err != nil {
			return servers, rename(err, "metrics.debug_listen")
		}
		servers = append(servers, s)
	}
	return servers, nil
}

// rename gives an error of a listener the key that the listener has here.
func rename(err error, key string) error {
	if inner := errors.Unwrap(err); inner != nil && strings.HasPrefix(err.Error(), "http.listen: ") {
		return fmt.Errorf("%s: %w", key, inner)
	}
	return err
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
