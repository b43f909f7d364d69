package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"

	"sightline/internal/fault"
)

const (
	maxKeys     = 1 << 20          // bytes of a set of keys
	loadTimeout = 5 * time.Second  // for an answer of the issuer
	askPatience = 3 * time.Second  // of a request whose key is not known
	askInterval = 10 * time.Second // between two loads because of keys that are not known
	loadRetry   = 10 * time.Second // after a load that failed
)

// keys are an issuer's public keys (RFC 7517), of a file or a URL. What was loaded last holds
// until something newer can be: the issuer may be away. A key that it has no more counts no more, be it the
// last one. It is safe for concurrent use.
type keys struct {
	where   string // a path or a URL
	refresh time.Duration
	kept    string // the file in which what came from a URL is kept over a restart; "": none
	client  *http.Client
	log     *slog.Logger

	set    atomic.Pointer[keyset] // nil: none yet
	unkept atomic.Bool            // the file has another set, because it could not be written
	asks   chan chan struct{}     // to run; each is closed when the set is as new as it can be
}

type keyset struct {
	keyfunc.Keyfunc
	raw  string
	keys int // that can be used
}

// newKeys returns the keys of a file, which must be right, or of a URL, whose are loaded while
// run runs; until then those that were kept hold.
func newKeys(c JWTConfig, stateDir string, log *slog.Logger) (*keys, error) {
	k := &keys{
		where: c.JWKS, refresh: c.Refresh.D(), log: log, asks: make(chan chan struct{}),
		client: &http.Client{Timeout: loadTimeout, CheckRedirect: CheckRedirect},
	}
	if !isURL(c.JWKS) {
		err := k.load(context.Background())
		if err == nil && k.set.Load().keys == 0 {
			err = errNoKeys
		}
		return k, err
	}
	if stateDir != "" {
		k.kept = filepath.Join(stateDir, keysFile(HashToken(c.JWKS)[:16])) // no other issuer's
		if raw, err := os.ReadFile(k.kept); err == nil {
			if set, err := parseKeys(raw); err == nil {
				k.set.Store(set)
			}
		}
	}
	return k, nil
}

func isURL(where string) bool {
	return strings.HasPrefix(where, "https://") || strings.HasPrefix(where, "http://")
}

// withoutPassword returns where keys or an issuer are as it can be shown.
func withoutPassword(where string) string {
	if at := strings.LastIndexByte(where, '@'); at >= 0 {
		return "…" + where[at:]
	}
	return where
}

// checkKeysURL says why keys can't be trusted that come from there.
func checkKeysURL(u *url.URL) error {
	if u.Scheme == "https" && u.Host != "" || u.Scheme == "http" && Loopback(hostPort(u)) {
		return nil
	}
	return errors.New("must be an https URL, or a file")
}

// CheckRedirect is that of clients which ask an issuer: it follows three times, and from https to https
// alone. What is on loopback is trusted where the configuration names it, and not where another leads there.
func CheckRedirect(r *http.Request, via []*http.Request) error {
	if len(via) > 3 || checkKeysURL(r.URL) != nil || via[0].URL.Scheme == "https" && r.URL.Scheme != "https" {
		return errors.New("redirected too often, or to what is not https")
	}
	return nil
}

func hostPort(u *url.URL) string {
	if u.Port() == "" {
		return u.Host + ":80"
	}
	return u.Host
}

// keysFile is the name of the file in which an issuer's keys are kept.
func keysFile(issuer string) string { return "jwks-" + issuer + ".json" }

// find returns the key that a token names, after another load if it is not known.
func (k *keys) find(ctx context.Context, t *jwt.Token) (any, error) {
	if set := k.set.Load(); set != nil {
		if key, err := set.Keyfunc.Keyfunc(t); err == nil {
			return key, nil
		}
	}
	k.ask(ctx)
	set := k.set.Load()
	if set == nil {
		return nil, fault.New(fault.Unavailable, "the keys of the tokens' issuer could not be fetched yet").After(loadRetry)
	}
	return set.Keyfunc.Keyfunc(t)
}

// ask waits until the keys are as new as they can be, but not for long.
func (k *keys) ask(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	done := make(chan struct{})
	select {
	case k.asks <- done:
	case <-ctx.Done():
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// run loads the keys now and then, and when somebody asks, until ctx is done.
func (k *keys) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last time.Time
	load := func() {
		last = time.Now()
		wait := k.refresh
		if err := k.load(ctx); err != nil && ctx.Err() == nil {
			k.log.Warn("keys of the tokens' issuer not loaded, the old ones hold", "from", withoutPassword(k.where), "err", err, "have", k.set.Load() != nil)
			wait = min(wait, loadRetry)
		}
		timer.Reset(wait)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			load()
		case done := <-k.asks:
			if time.Since(last) >= askInterval {
				load()
			}
			close(done)
		}
	}
}

// load makes what is at the file or URL the keys, if it is a set of keys.
func (k *keys) load(ctx context.Context) error {
	raw, err := k.read(ctx)
	if err != nil {
		return err
	}
	set, err := parseKeys(raw)
	if err != nil {
		return err
	}
	if old := k.set.Swap(set); old != nil && old.raw == set.raw {
		if k.unkept.Load() {
			k.keep(raw)
		}
		return nil
	}
	if set.keys == 0 {
		k.log.Warn("the tokens' issuer has withdrawn its keys: its tokens let nobody in", "from", withoutPassword(k.where), "err", errNoKeys)
	} else {
		k.log.Info("keys of the tokens' issuer loaded", "from", withoutPassword(k.where))
	}
	k.keep(raw)
	return nil
}

// keep writes a set where the next start finds it. What can't be written now is at the next load.
func (k *keys) keep(raw []byte) {
	if k.kept == "" {
		return
	}
	err := writeFile(k.kept, raw)
	if k.unkept.Store(err != nil); err != nil {
		k.log.Warn("keys of the tokens' issuer not kept", "err", err)
	}
}

func (k *keys) read(ctx context.Context) ([]byte, error) {
	if !isURL(k.where) {
		f, err := os.Open(k.where)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return io.ReadAll(io.LimitReader(f, maxKeys))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.where, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	res, err := k.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answered %s, want 200", res.Status)
	}
	return io.ReadAll(io.LimitReader(res.Body, maxKeys))
}

var errNoKeys = errors.New("has no public key that can be used for RS256, ES256 or EdDSA")

// parseKeys reads a set of keys, which may be empty. Keys that can't sign what is allowed here are left out (RFC
// 7517, section 5); where keys name other documents, these are not fetched.
func parseKeys(raw []byte) (*keyset, error) {
	var doc jwkset.JWKSMarshal
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("is no JSON Web Key Set: %w", err)
	}
	if doc.Keys == nil {
		return nil, errors.New("is no JSON Web Key Set: it has no keys")
	}
	store, n := jwkset.NewMemoryStorage(), 0
	for _, m := range doc.Keys {
		if m.KTY == jwkset.KtyOct || m.USE != "" && m.USE != jwkset.UseSig {
			continue
		}
		m.X5U, m.D = "", "" // nothing private is needed
		key, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
		if err != nil {
			continue
		}
		if err := store.KeyWrite(context.Background(), key); err == nil {
			n++
		}
	}
	f, err := keyfunc.New(keyfunc.Options{Storage: store})
	if err != nil {
		return nil, err
	}
	return &keyset{f, string(raw), n}, nil
}
