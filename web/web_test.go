package web

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
)

func serve(t *testing.T) http.Handler {
	t.Helper()
	return serveWith(t, Defaults())
}

func serveWith(t *testing.T, c Config) http.Handler {
	t.Helper()
	gin.SetMode(gin.ReleaseMode)
	pages, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	router := gin.New()
	pages.Register(router)
	return router
}

func ask(h http.Handler, method, url string, header http.Header) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, url, nil)
	for name, values := range header {
		req.Header[name] = values
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	return rec
}

func TestPagesAreFoundUnderValidNamesOnly(t *testing.T) {
	h := serve(t)
	for _, tt := range []struct {
		path string
		want int
	}{
		{"/", 200},
		{"/mri-2", 200},
		{"/mri-2/hospital", 200},
		{"/mri-2/technician", 200},
		{"/mri-2/room", 200},
		{"/mri-2/kitchen", 404},
		{"/.hidden", 404},
		{"/.hidden/hospital", 404},
		{"/metrics", 404},
		{"/whip", 404},
		{"/api/technician", 404},
		{"/hospital", 200},
		{"/%3Cscript%3E", 404},
		{"/" + strings.Repeat("a", 65), 404},
		{"/watch/mri-2/console", 200},
		{"/watch/mri-2/console/video", 200},
		{"/watch/mri-2/console/audio", 200},
		{"/watch/mri-2/console/subtitles", 404},
		{"/watch/mri-2/.hidden", 404},
		{"/watch/mri-2/~mix", 200},
		{"/watch/mri-2/~mix/audio", 404},
		{"/watch/mri-2/~min", 404},
		{"/watch/~mix/console", 404},
		{"/watch/api/console", 404},
		{"/watch/mri-2/%3Cscript%3E", 404},
		{"/watch/mri-2/" + strings.Repeat("a", 65), 404},
		{"/assets/watch.js", 200},
		{"/assets/none.js", 404},
		{"/assets/../web.go", 404},
		{"/assets/", 404},
	} {
		t.Run(tt.path, func(t *testing.T) {
			get := ask(h, http.MethodGet, tt.path, nil)
			if get.Code != tt.want {
				t.Fatalf("GET is answered %d, want %d", get.Code, tt.want)
			}
			head := ask(h, http.MethodHead, tt.path, nil)
			if head.Code != tt.want {
				t.Errorf("HEAD is answered %d, want %d", head.Code, tt.want)
			}
			for _, name := range []string{"Content-Type", "Cache-Control", "Etag", "Content-Security-Policy"} {
				if got, want := head.Header().Get(name), get.Header().Get(name); got != want {
					t.Errorf("HEAD has %s %q, GET %q", name, got, want)
				}
			}
		})
	}
}

func TestPolicyAllowsNothingFromElsewhereAndNothingInline(t *testing.T) {
	h := serve(t)
	inline := regexp.MustCompile(`(?i)<script(?:\s[^>]*)?>[^<]|<style|\sstyle=|\son[a-z]+=|javascript:`)
	elsewhere := regexp.MustCompile(`(?:src|href)="(?:https?:)?//|@import|\burl\(`)
	for _, page := range []string{"/", "/r", "/r/technician", "/metrics", "/watch/r/p", "/watch/r/p/none", "/assets/watch.css", "/assets/watch.js", "/assets/ui.css", "/assets/stations.js"} {
		res := ask(h, http.MethodGet, page, nil)
		csp := res.Header().Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "base-uri 'none'", "frame-ancestors 'self'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: policy %q lacks %q", page, csp, want)
			}
		}
		if strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") {
			t.Errorf("%s: policy %q is lax", page, csp)
		}
		if got, want := res.Header().Get("X-Content-Type-Options"), "nosniff"; got != want {
			t.Errorf("%s: X-Content-Type-Options is %q, want %q", page, got, want)
		}
		if strings.HasPrefix(res.Header().Get("Content-Type"), "text/html") {
			if found := inline.FindString(res.Body.String()); found != "" {
				t.Errorf("%s: inline script or style %q", page, found)
			}
		}
		if found := elsewhere.FindString(res.Body.String()); found != "" && !(found == "url(" && path.Ext(page) == ".js") {
			t.Errorf("%s: loads from elsewhere: %q", page, found)
		}
	}
}

func TestPagesAreNotStoredAndTheirAssetsAreForAYear(t *testing.T) {
	h := serve(t)
	links := regexp.MustCompile(`(?:src|href)="([^"]*assets/[^"]*)"`)
	for _, page := range []string{"/", "/r", "/r/hospital", "/metrics", "/watch/r/p", "/watch/r/p/video", "/watch/r/p/none"} {
		res := ask(h, http.MethodGet, page, nil)
		if got, want := res.Header().Get("Cache-Control"), "no-store"; got != want {
			t.Errorf("%s: Cache-Control is %q, want %q", page, got, want)
		}
		found := links.FindAllStringSubmatch(res.Body.String(), -1)
		if len(found) < 2 {
			t.Errorf("%s names %d assets, want a style and an icon at least", page, len(found))
		}
		for _, link := range found {
			// As a browser resolves it; pages may also be below a proxy's path.
			url := path.Join(path.Dir(page), link[1])
			asset := ask(h, http.MethodGet, url, nil)
			if asset.Code != http.StatusOK {
				t.Errorf("%s: %s is answered %d", page, url, asset.Code)
			}
			if got := asset.Header().Get("Cache-Control"); !strings.Contains(got, "immutable") || !strings.Contains(got, "max-age=31536000") {
				t.Errorf("%s: Cache-Control is %q, want immutable for a year", url, got)
			}
		}
	}
}

func TestAssetIsNotSentAgain(t *testing.T) {
	h := serve(t)
	first := ask(h, http.MethodGet, "/assets/watch.js", nil)
	if got, want := first.Header().Get("Cache-Control"), "no-cache"; got != want {
		t.Errorf("Cache-Control is %q, want %q", got, want)
	}
	again := ask(h, http.MethodGet, "/assets/watch.js", http.Header{"If-None-Match": {first.Header().Get("ETag")}})
	if again.Code != http.StatusNotModified || again.Body.Len() != 0 {
		t.Errorf("asked with its ETag it is answered %d with %d bytes, want 304 with none", again.Code, again.Body.Len())
	}
}

func TestWatchPageNamesItsTrack(t *testing.T) {
	body := ask(serve(t), http.MethodGet, "/watch/mri-2/console/video", nil).Body.String()
	for _, want := range []string{`data-room="mri-2"`, `data-publisher="console"`, `data-kind="video"`, `data-root="./../../../"`, "<title>console · mri-2</title>"} {
		if !strings.Contains(body, want) {
			t.Errorf("page lacks %s", want)
		}
	}
}

func TestStationKnowsWhereItIs(t *testing.T) {
	h := serve(t)
	for path, want := range map[string]string{
		"/":           `<body data-page="root" data-root="./" data-room="" data-reserved="api assets `,
		"/mri-2":      `<body data-page="lobby" data-root="./" data-room="mri-2" data-reserved="">`,
		"/mri-2/room": `<body data-page="room" data-root="./../" data-room="mri-2" data-reserved="">`,
		"/room/room":  `<body data-page="room" data-root="./../" data-room="room" data-reserved="">`,
		"/metrics":    `No room can be called &#34;metrics&#34;: /metrics is one of the gateway&#39;s own routes.`,
		"/whip/room":  `No room can be called &#34;whip&#34;`,
		"/caf%C3%A9":  `is no name: it must be 1 to 64 of the letters`,
	} {
		if body := ask(h, http.MethodGet, path, nil).Body.String(); !strings.Contains(body, want) {
			t.Errorf("%s lacks %s:\n%s", path, want, body)
		}
	}
}

// Who may use a camera is decided by the browser's user; the page only may ask, and only
// where somebody can want it to.
func TestOnlyPagesOfARoomMayAskForDevices(t *testing.T) {
	h := serve(t)
	for path, want := range map[string]bool{
		"/": false, "/r": true, "/r/hospital": true, "/r/technician": true, "/r/room": true, "/metrics": false, "/watch/r/p": false, "/assets/stations.js": false,
	} {
		policy := ask(h, http.MethodGet, path, nil).Header().Get("Permissions-Policy")
		for _, feature := range []string{"camera", "microphone", "display-capture"} {
			if got := strings.Contains(policy, feature+"=(self)"); got != want {
				t.Errorf("%s: Permissions-Policy %q, want it to allow %s: %t", path, policy, feature, want)
			}
			if !want && !strings.Contains(policy, feature+"=()") {
				t.Errorf("%s: Permissions-Policy %q does not forbid %s", path, policy, feature)
			}
		}
		if strings.Contains(policy, "*") {
			t.Errorf("%s: Permissions-Policy %q is lax", path, policy)
		}
	}
}

// A page loads one script, which has all it needs.
func TestScriptsAreWholeAndSmall(t *testing.T) {
	pages, err := New(Defaults())
	if err != nil {
		t.Fatal(err)
	}
	imports := regexp.MustCompile(`(?m)(?:^|[;}\s])import\s*["'{*(]|\bfrom\s*["'][./]`)
	for name, a := range pages.assets {
		if path.Ext(name) != ".js" {
			continue
		}
		if found := imports.Find(a.content); found != nil {
			t.Errorf("%s imports something: %q", name, found)
		}
		var packed bytes.Buffer
		w, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		_, _ = w.Write(a.content)
		_ = w.Close()
		if got, want := packed.Len(), 90_000; got > want {
			t.Errorf("%s has %d bytes gzipped, want %d at most", name, got, want)
		}
	}
}
