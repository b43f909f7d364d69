// Package metrics is what monitoring asks: Prometheus metrics, health, version, and Go's
// profiles for whoever sits at the machine.
//
// Nothing is counted here. One collector reads the state of the heart, of the peers and of
// HTTP when it is scraped, so that the way of a packet knows no metrics. Labels are
// bounded: never a session id, an address or what a client says of itself.
package metrics

import (
	"log/slog"
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"sightline/internal/audit"
	"sightline/internal/auth"
	"sightline/internal/bridge"
	"sightline/internal/certs"
	"sightline/internal/httpapi"
	"sightline/internal/rtc"
	"sightline/internal/signin"
	"sightline/rooms"
)

// Sources are where the numbers come from. All are safe for concurrent use and don't wait.
type Sources struct {
	Rooms    func() rooms.Snapshot
	Bridge   func() bridge.Snapshot
	Audit    func() audit.Snapshot
	Sessions func() rtc.Snapshot
	Requests func() []httpapi.RequestCount
	Refusals func() map[string]uint64 // by the configuration's key of the limit

	Listeners    func() []httpapi.Snapshot
	Certificates func() certs.Snapshot
	SignIn       func() signin.Snapshot
	Cluster      func() Cluster // nil: the gateway is alone
}

// An Authorizer decides who may read the metrics. *auth.Auth is one.
type Authorizer interface {
	Authorize(r *http.Request, scope auth.Scope, room, publisher string) (auth.Identity, error)
}

// Metrics answers scrapes.
type Metrics struct {
	config  Config
	auth    Authorizer
	handler http.Handler
}

// New returns the metrics of a gateway.
func New(c Config, from Sources, build Build, a Authorizer, log *slog.Logger) *Metrics {
	registry := prometheus.NewRegistry()
	registry.MustRegister( // fails only for two of one name, which the tests would tell
		newCollector(from, build, c.MaxLabelValues),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return &Metrics{
		config: c,
		auth:   a,
		handler: promhttp.HandlerFor(registry, promhttp.HandlerOpts{
			ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelError),
			ErrorHandling:       promhttp.HTTPErrorOnError,
			MaxRequestsInFlight: 4, // scrapes take turns anyway
			EnableOpenMetrics:   true,
		}),
	}
}

// Register adds /metrics, if it is enabled.
func (m *Metrics) Register(r gin.IRouter) {
	if m.config.Enabled {
		r.GET("/metrics", httpapi.Handle(m.scrape))
		r.HEAD("/metrics", httpapi.Handle(m.scrape))
	}
}

// scrape answers who may read of all rooms and publishers: the metrics name them.
func (m *Metrics) scrape(c *gin.Context) error {
	if m.config.Auth {
		if _, err := m.auth.Authorize(c.Request, auth.Read, auth.Every, auth.Every); err != nil {
			return err
		}
	}
	m.handler.ServeHTTP(c.Writer, c.Request)
	return nil
}
