package metrics

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"

	"sightline/internal/auth"
	"sightline/internal/httpapi"
	"sightline/rooms/api"
	"sightline/rooms/api/apitest"
)

// get asks a handler and returns the response and its body.
func get(t *testing.T, h http.Handler, path, token string) (*http.Response, []byte) {
	t.Helper()
	r := httptest.NewRequest("GET", path, nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	res := w.Result()
	res.Request = r
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, body
}

func TestMetricsAskForAReaderOfEverything(t *testing.T) {
	doc := apitest.Load(t, api.Description)
	open, closed := auth.New(auth.Config{}), tokens()
	off := Defaults()
	off.Auth = false
	for _, tt := range []struct {
		name   string
		config Config
		auth   Authorizer
		token  string
		want   int
	}{
		{"no tokens configured", Defaults(), open, "", 200},
		{"no tokens configured, one sent", Defaults(), open, "undefined", 200},
		{"a reader", Defaults(), closed, readAll, 200},
		{"no token", Defaults(), closed, "", 401},
		{"an unknown token", Defaults(), closed, "guess", 401},
		{"another scope", Defaults(), closed, playsOnly, 403},
		{"a reader of some rooms", Defaults(), closed, readMRI, 403},
		{"a reader of some publishers", Defaults(), closed, readOne, 403},
		{"no token, metrics.auth off", off, closed, "", 200},
	} {
		router := httpapi.NewRouter(httpapi.Defaults(), quiet())
		New(tt.config, busy().sources(), build, tt.auth, quiet()).Register(router)
		res, body := get(t, router, "/metrics", tt.token)
		if res.StatusCode != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, res.StatusCode, tt.want)
		}
		if leaks := strings.Contains(string(body), "mri-1"); leaks != (tt.want == 200) {
			t.Errorf("%s: the answer names rooms: %t", tt.name, leaks)
		}
		doc.Check(t, "/metrics", res, body)
	}
}

func TestMetricsAreWithThoseOfTheProcess(t *testing.T) {
	router := httpapi.NewRouter(httpapi.Defaults(), quiet())
	New(Defaults(), busy().sources(), build, auth.New(auth.Config{}), quiet()).Register(router)
	_, body := get(t, router, "/metrics", "")
	for _, want := range []string{"\nsightline_rooms 1\n", "\ngo_goroutines ", "\nprocess_cpu_seconds_total ", "\nprocess_open_fds "} {
		if !strings.Contains(string(body), want) {
			t.Errorf("%q is not there", want)
		}
	}
}

func TestMetricsCanBeOff(t *testing.T) {
	c := Defaults()
	c.Enabled = false
	router := httpapi.NewRouter(httpapi.Defaults(), quiet())
	New(c, busy().sources(), build, auth.New(auth.Config{}), quiet()).Register(router)
	if res, _ := get(t, router, "/metrics", ""); res.StatusCode != http.StatusNotFound {
		t.Errorf("got %d, want 404", res.StatusCode)
	}
}

func TestHealthIsAsDescribed(t *testing.T) {
	doc := apitest.Load(t, api.Description)
	var reasons []string
	router := httpapi.NewRouter(httpapi.Defaults(), quiet())
	NewHealth(build, func() []string { return reasons }).Register(router)
	for _, tt := range []struct {
		path    string
		reasons []string
		want    int
		body    string
	}{
		{"/healthz", nil, 200, `{"status":"ok"}`},
		{"/readyz", nil, 200, `{"status":"ok"}`},
		{"/version", nil, 200, `{"version":"1.2.3","commit":"abc","go":"go1.26"}`},
		{"/healthz", []string{"draining"}, 200, `{"status":"ok"}`}, // it lives all the same
		{"/readyz", []string{"draining", "the media socket is closed"}, 503, `"reasons":["draining","the media socket is closed"]`},
	} {
		reasons = tt.reasons
		res, body := get(t, router, tt.path, "")
		if res.StatusCode != tt.want || !strings.Contains(string(body), tt.body) {
			t.Errorf("%s with %v: got %d %s, want %d and %s", tt.path, tt.reasons, res.StatusCode, body, tt.want, tt.body)
		}
		doc.Check(t, tt.path, res, body)
	}
}

func TestBuildNamesTheGoRelease(t *testing.T) {
	if b := ReadBuild("1.2.3"); b.Version != "1.2.3" || !strings.HasPrefix(b.Go, "go") {
		t.Errorf("got %+v", b)
	}
}

// run serves what Listen opens until the test ends, and returns the addresses.
func run(t *testing.T, c Config) []string {
	t.Helper()
	m := New(c, busy().sources(), build, auth.New(auth.Config{}), quiet())
	health := NewHealth(build, func() []string { return nil })
	servers, err := Listen(c, httpapi.Defaults(), m, health, nil, quiet())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	var addrs []string
	for _, s := range servers {
		addrs = append(addrs, s.Addr().String())
		wg.Go(func() {
			if err := s.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	return addrs
}

func statusOf(t *testing.T, url string) int {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	res.Body.Close()
	return res.StatusCode
}

func TestListenersOfTheirOwn(t *testing.T) {
	c := Defaults()
	if addrs := run(t, c); len(addrs) != 0 {
		t.Errorf("by default: %d listeners, want none", len(addrs))
	}
	c.Listen, c.DebugListen = "127.0.0.1:0", "127.0.0.1:0"
	addrs := run(t, c)
	if len(addrs) != 2 {
		t.Fatalf("got %d listeners, want 2", len(addrs))
	}
	for url, want := range map[string]int{
		"http://" + addrs[0] + "/metrics":                  200,
		"http://" + addrs[0] + "/healthz":                  200,
		"http://" + addrs[0] + "/readyz":                   200,
		"http://" + addrs[0] + "/debug/pprof/":             404,
		"http://" + addrs[1] + "/debug/pprof/":             200,
		"http://" + addrs[1] + "/debug/pprof/heap":         200,
		"http://" + addrs[1] + "/debug/pprof/cmdline":      200,
		"http://" + addrs[1] + "/metrics":                  404,
		"http://" + addrs[1] + "/debug/pprof/nonexistent!": 404,
	} {
		if got := statusOf(t, url); got != want {
			t.Errorf("%s: got %d, want %d", url, got, want)
		}
	}
}

func TestProfilesAreNotForForeignPages(t *testing.T) {
	h := profiles()
	for host, want := range map[string]int{
		"127.0.0.1:6060":        200,
		"localhost:6060":        200,
		"[::1]:6060":            200,
		"localhost":             200,
		"[::1]":                 200,
		"attacker.example:6060": 403,
		"attacker.example":      403,
		"10.0.0.1:6060":         403,
		"":                      403,
	} {
		r := httptest.NewRequest("GET", "/debug/pprof/cmdline", nil)
		r.Host = host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("Host %q: got %d, want %d", host, w.Code, want)
		}
	}
}

func TestListenerThatCannotOpenNamesItsKey(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for key, c := range map[string]Config{
		"metrics.listen: ":       {Enabled: true, Listen: taken.Addr().String()},
		"metrics.debug_listen: ": {Enabled: true, Listen: "127.0.0.1:0", DebugListen: taken.Addr().String()},
	} {
		m := New(c, busy().sources(), build, auth.New(auth.Config{}), quiet())
		servers, err := Listen(c, httpapi.Defaults(), m, NewHealth(build, nil), nil, quiet())
		if err == nil || !strings.HasPrefix(err.Error(), key) || !errors.Is(err, syscall.EADDRINUSE) || servers != nil {
			t.Errorf("got %d listeners and %v, want none and an error that begins with %q", len(servers), err, key)
		}
	}
}

func TestImpossibleConfigurationIsNamed(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	for _, tt := range []struct {
		key    string
		change func(*Config)
	}{
		{"metrics.listen: ", func(c *Config) { c.Listen = "9090" }},
		{"metrics.listen: ", func(c *Config) { c.Listen = ":http-alt" }},
		{"metrics.max_label_values: ", func(c *Config) { c.MaxLabelValues = 0 }},
		{"metrics.debug_listen: ", func(c *Config) { c.DebugListen = "6060" }},
		{"metrics.debug_listen: ", func(c *Config) { c.DebugListen = ":6060" }},
		{"metrics.debug_listen: ", func(c *Config) { c.DebugListen = "192.0.2.1:6060" }},
	} {
		c := Defaults()
		tt.change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), tt.key) {
			t.Errorf("%+v: got %v, want an error that begins with %q", c, err, tt.key)
		}
	}
}

func TestVersionIsJSON(t *testing.T) {
	var got map[string]string
	router := httpapi.NewRouter(httpapi.Defaults(), quiet())
	NewHealth(ReadBuild("x"), func() []string { return nil }).Register(router)
	_, body := get(t, router, "/version", "")
	if err := json.Unmarshal(body, &got); err != nil || got["version"] != "x" || got["go"] == "" {
		t.Errorf("got %s, %v", body, err)
	}
}
