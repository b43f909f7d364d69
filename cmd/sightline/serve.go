package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/sync/errgroup"

	"sightline/internal/audit"
	"sightline/internal/auth"
	"sightline/internal/bridge"
	"sightline/internal/certs"
	"sightline/internal/cluster"
	"sightline/internal/cluster/forward"
	"sightline/internal/config"
	"sightline/internal/httpapi"
	"sightline/internal/rtc"
	"sightline/internal/signin"
	"sightline/metrics"
	"sightline/rooms"
	"sightline/rooms/api"
	"sightline/web"
	"sightline/whep"
	"sightline/whip"
)

func (p *process) serve(ctx context.Context) error {
	fs := p.flags("serve", "Runs the gateway until SIGTERM or SIGINT; it then drains, and a second signal skips the\n"+
		"wait. config.toml is the manual of the configuration; SIGHTLINE_<SECTION>_<KEY> overrides.")
	file := p.configFlag(fs)
	if err := p.parse(fs); err != nil {
		return err
	}
	c, err := p.load(*file)
	if err != nil {
		return err
	}
	return serve(ctx, c, p.logger(c.Log), p.signals, nil)
}

// A guest is a part that uses the gateway from outside, such as the demo's cameras. addr
// is where HTTP listens. It runs until ctx is done, which is before the gateway drains.
type guest func(ctx context.Context, addr string) error

// serve builds everything in order, answers until a signal, a failure or the end of ctx,
// drains, and closes in reverse. guest may be nil.
func serve(ctx context.Context, c config.Config, log *slog.Logger, signals <-chan os.Signal, guest guest) (err error) {
	began, cause := time.Now(), "cannot start"
	defer func() { lastWords(log, began, cause, err) }()
	log.Info("sightline starts", "version", buildVersion())

	limits := limitsOf(c.Cluster, c.Rooms)
	if c.Cluster.On() && c.Audit.Node == "" {
		if c.Audit.Node, err = cluster.NodeName(c.Cluster); err != nil {
			return err
		}
	}
	ledger, err := audit.Open(c.Audit, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ledger.Close()) }()
	ledger.Record(audit.Event{What: audit.Started, Version: buildVersion(), Config: c.Fingerprint()})

	registry := rooms.New(c.Rooms, log)
	defer registry.Close()
	registry.Record(ledger)
	mixer := bridge.New(c.Bridge, registry, log)
	defer mixer.Close()
	peers, err := rtc.New(c.ICE, log)
	if err != nil {
		return advise(err)
	}
	defer peers.Close()
	tokens, err := auth.Open(c.Auth, log)
	if err != nil {
		return err
	}
	defer tokens.Close()
	people, err := signin.New(c.Auth.OIDC, c.HTTP, tokens, ledger, log)
	if err != nil {
		return err
	}
	sessions := httpapi.NewResources(c.HTTP, httpapi.Causes{Deleted: rtc.Deleted, ShutDown: rtc.Draining, CrowdedOut: rtc.CrowdedOut, Word: rtc.Cause}, log)
	defer sessions.Close()
	sessions.AdmitIf(ledger.Admit)
	certificates, err := httpapi.OpenCertificates(c.HTTP, log)
	if err != nil {
		return err
	}
	roomAPI := api.New(c.API, registry, tokens, mixer, ledger)
	defer roomAPI.Close()
	pages, err := web.New(c.Stations)
	if err != nil {
		return err
	}

	var leaves atomic.Bool // SIGTERM has come
	build := metrics.ReadBuild(buildVersion())
	router := httpapi.NewRouter(c.HTTP, log)
	router.Recognize(tokens.Subject, sessions)
	router.Record(ledger, tokens.Bearer)
	publishers := whip.New(registry, peers, tokens, sessions, ledger, log)
	viewers := whep.New(registry, mixer, peers, tokens, sessions, ledger, log)
	member, err := join(c, newLocal(registry, mixer, peers, sessions, limits, log), router, tokens, people, roomAPI, publishers, viewers, log)
	if err != nil {
		return err
	}
	defer member.close()
	var servers []*httpapi.Server // all of them, before the first runs
	health := metrics.NewHealth(build, readiness(&leaves, certificates, ledger, member))
	health.Warn(warnings(ledger, member))
	numbers := metrics.New(c.Metrics, metrics.Sources{
		Rooms: registry.Snapshot, Bridge: mixer.Snapshot, Audit: ledger.Snapshot, Sessions: peers.Snapshot, Requests: router.Requests, Refusals: router.Refusals,
		Listeners: func() []httpapi.Snapshot { return snapshots(servers) }, Certificates: certificateSnapshot(certificates),
		SignIn: people.Snapshot, Cluster: member.snapshot,
	}, build, tokens, log)
	publishers.Route(router)
	viewers.Route(router)
	sessions.Route(router)
	roomAPI.Register(router)
	people.Route(router)
	pages.Register(router)
	health.Register(router)
	if c.Metrics.Listen == "" {
		numbers.Register(router)
	}

	if err := errors.Join(checkRoutes(router.Routes()), forward.Check(router.Routes())); err != nil {
		return err
	}

	servers, err = httpapi.Listen(c.HTTP, router, certificates, log)
	if err != nil {
		return advise(err)
	}
	defer closeAll(servers)
	server := servers[0]
	others, err := metrics.Listen(c.Metrics, c.HTTP, numbers, health, certificates, log)
	if err != nil {
		return advise(err)
	}
	defer closeAll(others)
	servers = append(servers, others...)

	g, life := errgroup.WithContext(ctx) // done at the first failure
	life, end := context.WithCancel(life)
	defer end()
	g.Go(func() error { return tokens.Run(life) })
	g.Go(func() error { return people.Run(life) })
	member.run(life, g)
	for _, s := range servers {
		g.Go(func() error { return s.Run(life) })
	}
	if ledger.Speech() {
		g.Go(func() error { return attend(life, registry, mixer) })
	}
	if certificates != nil {
		g.Go(func() error {
			certificates.Run(life)
			return nil
		})
	}
	visit := welcome(life, g, guest, server.Addr().String())
	if !tokens.Enabled() && !auth.Loopback(c.HTTP.Listen) {
		log.Warn("no tokens are configured: everybody who reaches the gateway may publish and watch")
	}
	if httpapi.OnlyFromHere(c.HTTP) {
		log.Warn("plain HTTP is taken from this machine only: http.trusted_proxies names no proxy", "listen", c.HTTP.Listen)
	}

	select {
	case s := <-signals:
		cause = s.String()
		visit.end()
		leaves.Store(true)
		drain(life, member.departure(), sessions, c.Shutdown.DrainTimeout.D(), signals, log)
	case <-life.Done():
		cause = "failure"
		if ctx.Err() != nil {
			cause = context.Cause(ctx).Error()
		}
		visit.end()
	}
	// Before sessions end: to the pages the room stays what it was, until they have come back to it.
	roomAPI.Close()
	sessions.Close() // while HTTP still answers: a client that is closed sends its DELETE
	member.endRelays()
	end()
	return g.Wait()
}

// checkRoutes returns an error if a room could have the name of a route, and hide it or be
// hidden by it: rooms have their pages at /{room}. It means that the program was built wrong.
func checkRoutes(routes gin.RoutesInfo) error {
	for _, r := range routes {
		first, _, _ := strings.Cut(strings.TrimPrefix(r.Path, "/"), "/")
		if first != "" && first[0] != ':' && !rooms.Reserved(first) {
			return fmt.Errorf("serve: %s %s begins with what a room may be called: rooms must reserve %q", r.Method, r.Path, first)
		}
	}
	return nil
}

// readiness says why no new sessions are taken.
func readiness(leaves *atomic.Bool, certificates certs.Source, ledger *audit.Log, member *membership) func() []string {
	return func() (reasons []string) {
		if leaves.Load() {
			reasons = append(reasons, "the gateway shuts down")
		}
		if certificates != nil && certificates.Snapshot().Missing() {
			reasons = append(reasons, "the gateway waits for its TLS certificate")
		}
		if ledger.Admit() != nil {
			reasons = append(reasons, unwritten)
		}
		return append(reasons, member.unready()...)
	}
}

func certificateSnapshot(c certs.Source) func() certs.Snapshot {
	if c == nil {
		return func() certs.Snapshot { return certs.Snapshot{} }
	}
	return c.Snapshot
}

func snapshots(servers []*httpapi.Server) []httpapi.Snapshot {
	out := make([]httpapi.Snapshot, len(servers))
	for i, s := range servers {
		out[i] = s.Snapshot()
	}
	return out
}

func closeAll(servers []*httpapi.Server) {
	for _, s := range servers {
		s.Close()
	}
}

// unwritten tells a stranger no more than he can notice.
const unwritten = "the audit log can't be written"

// warnings says what is wrong though new sessions are taken.
func warnings(ledger *audit.Log, member *membership) func() []string {
	return func() []string {
		if ledger.Failure() != nil {
			return append(member.warnings(), unwritten)
		}
		return member.warnings()
	}
}

// A visit is the time of a guest.
type visit struct {
	leave context.CancelFunc
	left  chan struct{}
}

// welcome runs the guest until the visit ends or life does.
func welcome(life context.Context, g *errgroup.Group, guest guest, addr string) visit {
	ctx, leave := context.WithCancel(life)
	v := visit{leave: leave, left: make(chan struct{})}
	g.Go(func() error {
		defer close(v.left)
		if guest == nil {
			return nil
		}
		return guest(ctx, addr)
	})
	return v
}

// end ends the visit and waits for the guest to have left.
func (v visit) end() {
	v.leave()
	<-v.left
}

var (
	errDrainTimeout = errors.New("shutdown.drain_timeout")
	errSecondSignal = errors.New("second signal")
)

// drain gives the rooms to the other nodes, if there are any (away is nil without a cluster), then takes
// no more sessions, and lets those of now go on until none is left. All that ends when the timeout is over or
// a second signal comes.
func drain(ctx context.Context, away *departure, sessions *httpapi.Resources, timeout time.Duration, signals <-chan os.Signal, log *slog.Logger) {
	began := time.Now()
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(timeout, func() { cancel(errDrainTimeout) })
	defer timer.Stop()
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-signals:
			cancel(errSecondSignal)
		case <-ctx.Done():
		}
	})
	if away != nil {
		log.Info("leaving the cluster", "sessions", sessions.Len(), "timeout", timeout)
		away.leave(ctx, log)
	}
	sessions.Drain()
	log.Info("draining", "sessions", sessions.Len(), "timeout", timeout)
	cause := "no session is left"
	if err := sessions.Wait(ctx); err != nil {
		cause = err.Error()
	}
	cancel(nil)
	wg.Wait()
	log.Info("drained", "after", time.Since(began).Round(time.Millisecond), "cause", cause, "sessions", sessions.Len())
}

// lastWords is the last line of the log.
func lastWords(log *slog.Logger, began time.Time, cause string, err error) {
	ran := slog.Duration("ran", time.Since(began).Round(time.Millisecond))
	if err != nil {
		log.Error("sightline ended", ran, "cause", cause, "err", err)
		return
	}
	log.Info("sightline ended", ran, "cause", cause)
}

// logger returns the log that the configuration asks for, on standard error.
func (p *process) logger(c config.Log) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.Level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(p.stderr, options))
	}
	return slog.New(slog.NewTextHandler(p.stderr, options))
}

// advise says what to do about a listener's error, which begins with its key.
func advise(err error) error {
	key, _, _ := strings.Cut(err.Error(), ": ")
	example, known := map[string]string{
		"http.listen":          "127.0.0.1:8081",
		"http.redirect_listen": ":8082",
		"ice.udp_listen":       ":8190",
		"ice.tcp_listen":       ":8190",
		"metrics.listen":       "127.0.0.1:9091",
		"metrics.debug_listen": "127.0.0.1:6061",
	}[key]
	switch {
	case !known:
		return err
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: another program has this port, perhaps another sightline; end it, or choose another port with %s, such as %s=%s",
			err, key, config.Variable(key), example)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w: ports below 1024 need the capability CAP_NET_BIND_SERVICE (docs/OPERATIONS.md), or choose another with %s", err, key)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w: no interface of this machine has this address", err)
	}
	return err
}
