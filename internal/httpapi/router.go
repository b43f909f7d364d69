package httpapi

import (
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"

	"sightline/internal/audit"
	"sightline/internal/fault"
)

// The keys of what the middleware leaves in a request's gin.Context.
const (
	logKey     = "sightline.log"     // *slog.Logger with the request's id
	baseKey    = "sightline.base"    // *base
	bodyKey    = "sightline.body"    // int64: the longest body
	routineKey = "sightline.routine" // bool: see Routine
	limitsKey  = "sightline.limits"  // *limits
	callerKey  = "sightline.caller"  // caller, of a request for a change
	nodeKey    = "sightline.node"    // string: see AnsweredBy
)

// A Router is gin's engine with the middleware of all doors.
type Router struct {
	*gin.Engine
	requests requests
	limits   *limits
	plain    atomic.Uint64 // requests refused because they came in the clear
	record   audit.Recorder
	bearer   func(*http.Request) audit.Who // see Record

	elsewhere gin.HandlerFunc // nil: all is answered here
}

// Requests returns the counts of requests so far, sorted.
func (r *Router) Requests() []RequestCount { return r.requests.snapshot() }

// NewRouter returns a router without routes: request ids, an access log without queries
// and secrets, security headers, CORS, limits of body and rate, and problem documents for
// 404, 405 and 500.
func NewRouter(c Config, log *slog.Logger) *Router {
	gin.SetMode(gin.ReleaseMode) // gin's own, for all routers: no banner, no warnings
	r := &Router{Engine: gin.New(), limits: newLimits(c), record: audit.Discard, bearer: func(*http.Request) audit.Who { return audit.Who{} }}
	r.HandleMethodNotAllowed = true
	// A redirect of gin's is a 301 or 307 with a relative target, which clients follow
	// without their token or with GET (RFC 9725, section 4.5).
	r.RedirectTrailingSlash = false
	r.RedirectFixedPath = false
	// Validate has checked the syntax; an error leaves no proxy trusted.
	if err := r.SetTrustedProxies(c.TrustedProxies); err != nil {
		_ = r.SetTrustedProxies(nil)
	}
	// Not X-Real-IP, which gin would take besides: a proxy that does not set it passes on the client's.
	r.RemoteIPHeaders = []string{"X-Forwarded-For"}
	base := newBase(c)
	r.Use(
		entryOnly(newAnswering(c, r.limits.count).middleware),
		r.observe(log),
		recovery,
		secure,
		entryOnly(hsts(c, base)),
		entryOnly(cors(c.AllowedOrigins)),
		locate(base),
		entryOnly(lastIfChunked),
		bound(c),
		entryOnly(r.encrypted(c, base)),
		r.limits.middleware,
		allNamed,
		r.divert,
	)
	r.NoRoute(Handle(func(*gin.Context) error { return errNothing }))
	r.NoMethod(methodNotAllowed)
	return r
}

// observe gives the request an id, and logs and counts it when it is done. The log has
// the pattern of the route and not the path: the path of a session is a secret.
func (r *Router) observe(log *slog.Logger) gin.HandlerFunc {
	return func(c *gin.Context) {
		id := identify(c)
		c.Set(logKey, log.With("request", id))
		began := time.Now()

		c.Next()

		r.recordRefusal(c)
		if a, arrived := Arrived(c.Request); arrived && a.Node == "" {
			return // it is a part of a request that is counted as a whole
		}
		status := c.Writer.Status()
		r.requests.add(c.FullPath(), c.Request.Method, status)
		level := slog.LevelDebug
		if status >= 500 || changes(c.Request.Method) && !c.GetBool(routineKey) {
			level = slog.LevelInfo
		}
		if !log.Enabled(c, level) {
			return
		}
		attrs := []slog.Attr{
			slog.String("request", id),
			slog.String("method", c.Request.Method),
			slog.String("route", c.FullPath()),
			slog.Int("status", status),
			slog.Int("bytes", max(0, c.Writer.Size())),
			slog.Duration("took", time.Since(began).Round(time.Microsecond)),
			slog.String("client", c.ClientIP()),
			slog.String("agent", clip(c.Request.UserAgent(), 120)),
		}
		for _, p := range c.Params {
			if p.Key == "room" || p.Key == "publisher" {
				attrs = append(attrs, slog.String(p.Key, clip(p.Value, 64)))
			}
		}
		log.LogAttrs(c, level, "request", append(attrs, nodes(c)...)...)
	}
}

// Routine says of a request that its client makes it every few seconds: the log has it at
// debug.
func Routine(c *gin.Context) { c.Set(routineKey, true) }

// recovery turns a panic into a 500. http.ErrAbortHandler goes on: it is net/http's way
// to break off a response.
func recovery(c *gin.Context) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(v)
		}
		Fail(c, errPanic(v, debug.Stack()))
	}()
	c.Next()
}

// secure sets what every response carries. A page sets its own Content-Security-Policy.
func secure(c *gin.Context) {
	h := c.Writer.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	c.Next()
}

// cors lets pages of other origins in (Fetch, "CORS protocol"). Preflights are answered
// 200 without a token, whoever asks (RFC 9725, sections 4.2 and 4.7.1); without
// Access-Control-Allow-Origin the browser goes no further. The lists are explicit: a
// "*" would not cover Authorization.
func cors(origins []string) gin.HandlerFunc {
	all := slices.Contains(origins, "*")
	return func(c *gin.Context) {
		origin := c.GetHeader("Origin")
		h := c.Writer.Header()
		switch {
		case all:
			h.Set("Access-Control-Allow-Origin", "*")
		case len(origins) > 0:
			h.Add("Vary", "Origin")
			if slices.Contains(origins, origin) {
				h.Set("Access-Control-Allow-Origin", origin)
			}
		}
		if h.Get("Access-Control-Allow-Origin") != "" {
			h.Set("Access-Control-Expose-Headers", "Location, Link, ETag, Accept-Post, Accept-Patch, "+
				"Access-Control-Allow-Methods, Retry-After, WWW-Authenticate, "+endedBy)
			// On every response: a client library reads it from a plain OPTIONS.
			h.Set("Access-Control-Allow-Methods", "OPTIONS, GET, HEAD, POST, PATCH, DELETE")
			if c.Request.Method == http.MethodOptions {
				h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, If-Match, ETag, Last-Event-ID")
				h.Set("Access-Control-Max-Age", "7200")
			}
		}
		c.Next()
	}
}

// methodNotAllowed answers what a path's routes do not: OPTIONS with what they do, all
// else with 405. gin has set Allow (RFC 9110, section 15.5.6).
func methodNotAllowed(c *gin.Context) {
	h := c.Writer.Header()
	allow := strings.Split(h.Get("Allow"), ", ")
	if !slices.Contains(allow, http.MethodOptions) {
		allow = append(allow, http.MethodOptions)
	}
	slices.Sort(allow)
	h.Set("Allow", strings.Join(allow, ", "))
	if c.Request.Method == http.MethodOptions {
		c.Status(http.StatusOK)
		c.Writer.WriteHeaderNow()
		return
	}
	problem(c, http.StatusMethodNotAllowed, "method-not-allowed",
		c.Request.Method+" is not allowed here, only "+h.Get("Allow"), nil)
}

// bound gives the request's body a longest length and time, and the response a time;
// who writes a stream of events sets deadlines of his own. net/http
// drains unread bodies after the handler, under the same deadline.
func bound(c Config) gin.HandlerFunc {
	const writeTimeout = time.Minute
	return func(g *gin.Context) {
		rc := http.NewResponseController(g.Writer)
		now := time.Now()
		_ = rc.SetWriteDeadline(now.Add(writeTimeout))
		if g.Request.ContentLength != 0 {
			_ = rc.SetReadDeadline(now.Add(c.BodyTimeout.D()))
			g.Request.Body = http.MaxBytesReader(unwrap(g.Writer), g.Request.Body, int64(c.MaxBody))
		}
		g.Set(bodyKey, int64(c.MaxBody))
		g.Next()
		_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // of what is left, be it the end of a stream
	}
}

var errNothing = fault.New(fault.NotFound, "there is nothing here")

// allNamed answers 404 where a name in the path is empty, as in /api/rooms//invitations: to gin that is one, and to
// those who ask what somebody may do it stands for no particular room, which everybody may who may in one.
func allNamed(c *gin.Context) {
	if slices.ContainsFunc(c.Params, func(p gin.Param) bool { return p.Value == "" }) {
		Fail(c, errNothing)
		return
	}
	c.Next()
}

// lastIfChunked closes the connection after a request in chunks: it may have had a Content-Length besides, which
// net/http drops. What a proxy took for the rest of this request must not be read as the next one (RFC 9112,
// section 6.1).
func lastIfChunked(c *gin.Context) {
	if c.Request.ProtoMajor == 1 && len(c.Request.TransferEncoding) > 0 {
		c.Header("Connection", "close")
	}
	c.Next()
}

// unwrap returns net/http's own writer: MaxBytesReader tells it to close the connection
// of a client that sends too much.
func unwrap(w http.ResponseWriter) http.ResponseWriter {
	for {
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = u.Unwrap()
	}
}

// clip cuts a text of the client's own for the log.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
