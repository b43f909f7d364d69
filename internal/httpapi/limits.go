package httpapi

import (
	"errors"
	"maps"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"sightline/internal/audit"
	"sightline/internal/fault"
	"sightline/internal/quota"
)

// Limits are who may ask how often. A request is counted once:
//
//	to a session that is live ─▶ by the session, whoever sends it: its URL is a secret
//	with a right token        ─▶ by the token, from wherever it comes
//	any other                 ─▶ by the client's address
//
// so that a flood of strangers behind the address of a hospital takes nothing from those in
// the hospital who have a token. Wrong tokens have a budget of their own for each address,
// which only wrong ones are refused by.
//
// In a cluster the node that a client asks counts by token and address, tells the others what it let
// pass, and counts what they did, see Router.Spent. The node that has a session counts by that. Of a session that another node has, only that one knows whether it is live: its
// requests count for the address here until it has said so, see Router.Vouch.
type limits struct {
	config    Config
	addresses *limiter[netip.Addr]
	tokens    *limiter[string] // by subject
	sessions  *limiter[string]
	wrong     *limiter[netip.Addr]

	subject func(*http.Request) string // who a right token says it is; "": none, or a wrong one
	live    func(id string) bool       // whether a session is live

	mu      sync.Mutex // guards what follows
	refused map[string]uint64
	vouched recent // sessions that are live at other nodes
}

// A caller is whose a request is.
type caller struct {
	address netip.Addr // see subscriber
	subject string     // of his token; "": he has none that is right
	node    bool       // another node of the cluster, in its own name
}

func newLimits(c Config) *limits {
	return &limits{
		config:    c,
		addresses: newLimiter[netip.Addr](c.RateLimit, c.RateBurst),
		tokens:    newLimiter[string](c.TokenRateLimit, c.TokenRateBurst),
		sessions:  newLimiter[string](c.SessionRateLimit, c.SessionRateBurst),
		wrong:     newLimiter[netip.Addr](float64(c.MaxWrongTokens)/60, c.MaxWrongTokens),
		refused:   make(map[string]uint64),
		subject:   func(*http.Request) string { return "" },
		live:      func(string) bool { return false },
	}
}

// Recognize says how the router tells who asks, for its limits: subject returns whose the
// right token of a request is, whatever that allows, "" if it has none; sessions know which of
// them are live. Call it before the first request. Without it all are counted by address.
func (r *Router) Recognize(subject func(*http.Request) string, sessions *Resources) {
	r.limits.subject, r.limits.live = subject, sessions.isLive
}

// The limits of requests, by their keys in the configuration.
const (
	rateLimit        = "http.rate_limit"
	tokenRateLimit   = "http.token_rate_limit"
	sessionRateLimit = "http.session_rate_limit"
	maxWrongTokens   = "http.max_wrong_tokens"
)

// Spent adds to use what clients have spent of limits of requests since the last time, as far as
// other nodes should know.
func (r *Router) Spent(use quota.Use) {
	byAddress := func(limit string) func(netip.Addr, int) {
		return func(a netip.Addr, n int) {
			if a.IsValid() {
				use.Add(limit, a.String(), n)
			}
		}
	}
	r.limits.addresses.spent(byAddress(rateLimit))
	r.limits.wrong.spent(byAddress(maxWrongTokens))
	r.limits.tokens.spent(func(subject string, n int) { use.Add(tokenRateLimit, subject, n) })
}

// Spend takes what clients have spent at another node.
func (r *Router) Spend(use quota.Use) {
	now := time.Now()
	for limit, l := range map[string]*limiter[netip.Addr]{rateLimit: r.limits.addresses, maxWrongTokens: r.limits.wrong} {
		for client, n := range use[limit] {
			if a, err := netip.ParseAddr(client); err == nil {
				l.spend(subscriber(a), n, now)
			}
		}
	}
	for subject, n := range use[tokenRateLimit] {
		r.limits.tokens.spend(subject, n, now)
	}
}

// Refusals returns how many requests were refused so far, or sessions ended, by the
// configuration's key of the limit.
func (r *Router) Refusals() map[string]uint64 {
	l := r.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.refused)
}

// count counts a refusal. limit is a key of the configuration, and nothing of a client's.
func (l *limits) count(limit string) {
	l.mu.Lock()
	l.refused[limit]++
	l.mu.Unlock()
}

// CountLimit counts a fault that names a limit, for who answers it otherwise than by Fail.
func CountLimit(c *gin.Context, f *fault.Error) {
	l, ok := c.Value(limitsKey).(*limits)
	if limit, named := f.Fields["limit"].(string); ok && named {
		l.count(limit)
	}
}

// middleware refuses who asks for changes too often.
func (l *limits) middleware(c *gin.Context) {
	c.Set(limitsKey, l)
	if changes(c.Request.Method) {
		arrival, arrived := Arrived(c.Request)
		who := caller{address: Client(c), subject: l.subject(c.Request), node: arrival.Own}
		c.Set(callerKey, who)
		if err := l.admit(c.Request.URL.Path, who, arrived, time.Now()); err != nil {
			Fail(c, err)
			return
		}
	}
	c.Next()
}

// Charge counts a request that only reads, and costs as much as one that changes something, as one of those. The
// error is a fault.TooMany.
func Charge(c *gin.Context) error {
	l, ok := c.Value(limitsKey).(*limits)
	if !ok {
		return nil
	}
	_, arrived := Arrived(c.Request)
	return l.admit(c.Request.URL.Path, callerOf(c), arrived, time.Now())
}

// Vouch says that another node has answered for a session: that it is live there, or not (any
// more). It is remembered of the last few thousand.
func (r *Router) Vouch(id string, live bool) {
	l := r.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	if live {
		l.vouched.add(id)
	} else {
		l.vouched.remove(id)
	}
}

func (l *limits) isVouched(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.vouched.has(id)
}

// admit counts a request; one that arrived by way of another node only where it is for a session
// of this one: that node has counted the rest. The error is a fault.TooMany.
func (l *limits) admit(path string, who caller, arrived bool, now time.Time) error {
	id, toSession := strings.CutPrefix(path, "/sessions/")
	switch {
	case toSession && (l.live(id) || l.isVouched(id)):
		return orWait(l.sessions.take(id, now), sessionRateLimit,
			"more than %g requests a second to one session", l.config.SessionRateLimit)
	case arrived:
		return nil
	case who.subject != "":
		return orWait(l.tokens.take(who.subject, now), tokenRateLimit,
			"more than %g requests a second with one token", l.config.TokenRateLimit)
	}
	return orWait(l.addresses.take(who.address, now), rateLimit,
		"more than %g requests a second from one address", l.config.RateLimit)
}

// orWait returns nil if there is nothing to wait for.
func orWait(wait time.Duration, limit, format string, args ...any) error {
	if wait == 0 {
		return nil
	}
	return fault.New(fault.TooMany, format+" ("+limit+")", args...).After(wait).With("limit", limit)
}

// guessed counts a refused token, unless err says whose it was: one that has expired or was
// revoked is not guessed, and its bearer has to know that he needs another. It returns the fault to answer with: that of the token
// until the address has used up its budget.
//
// The token was compared all the same: a right one gets through at any time, so that nobody
// can lock out those with whom he shares an address. What the budget bounds is what a
// guesser learns of why he was refused, and what the log and the challenge cost.
func (l *limits) guessed(c *gin.Context, f *fault.Error, err error) error {
	var known interface{ Who() audit.Who }
	if errors.As(err, &known) {
		return nil
	}
	if len(c.Request.Header.Values("Authorization")) == 0 && !c.Request.URL.Query().Has("access_token") {
		return nil // he did not know that one is needed
	}
	return orWait(l.wrong.take(Client(c), time.Now()), maxWrongTokens,
		"%s; and more than %d wrong tokens a minute come from this address", f.Detail, l.config.MaxWrongTokens)
}

// Client returns the address that a request is counted by: that of the client, or its /64.
// It is invalid for a client that has none.
func Client(c *gin.Context) netip.Addr {
	ip, _ := netip.ParseAddr(c.ClientIP())
	return subscriber(ip)
}

// callerOf returns whose a request is.
func callerOf(c *gin.Context) caller {
	if who, ok := c.Value(callerKey).(caller); ok {
		return who
	}
	return caller{address: Client(c)}
}

// recent remembers between maxRecent and twice as many keys, the last ones that were added.
type recent struct {
	now, before map[string]struct{}
}

const maxRecent = 5000

func (r *recent) add(key string) {
	if len(r.now) >= maxRecent {
		r.before, r.now = r.now, nil
	}
	if r.now == nil {
		r.now = make(map[string]struct{})
	}
	r.now[key] = struct{}{}
}

func (r *recent) has(key string) bool {
	_, now := r.now[key]
	_, before := r.before[key]
	return now || before
}

func (r *recent) remove(key string) {
	delete(r.now, key)
	delete(r.before, key)
}

func changes(method string) bool {
	return method == http.MethodPost || method == http.MethodPatch || method == http.MethodDelete
}
