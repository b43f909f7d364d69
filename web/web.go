// Package web is the door for people: the list of rooms, a room's lobby and stations, and the
// page that plays one track or pair, or a room's mix.
//
// The pages are static. All that they know and do goes through WHEP and the room API, as
// any other client's, with the token that the page's own URL carries in its fragment; a
// fragment never reaches the server or its logs.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"sightline/internal/bridge"
	"sightline/internal/media"
	"sightline/rooms"
)

//go:generate ./generate.sh

//go:embed assets
var assetFiles embed.FS

//go:embed pages
var pageFiles embed.FS

// policy lets a page load and ask only what is the gateway's own: no inline script or
// style, nothing from elsewhere, and no frame around it but of the same origin.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self' blob:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"

// The permissions of a page that plays, and of one where a person may show himself, too.
const (
	noDevices  = "camera=(), microphone=(), display-capture=(), geolocation=()"
	allDevices = "camera=(self), microphone=(self), display-capture=(self), speaker-selection=(self), geolocation=()"
)

// Pages are the pages and what they load.
type Pages struct {
	config    Config
	assets    map[string]asset // by name
	version   string           // changes with any asset
	templates *template.Template
}

type asset struct {
	content     []byte
	contentType string
	etag        string
}

// New reads the embedded pages. c is valid. An error means that the program was built wrong.
func New(c Config) (*Pages, error) {
	p := &Pages{config: c, assets: make(map[string]asset)}
	all := sha256.New()
	err := fs.WalkDir(assetFiles, "assets", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := assetFiles.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		_, _ = fmt.Fprintf(all, "%s %x\n", name, sum)
		contentType, err := typeOf(name)
		if err != nil {
			return err
		}
		p.assets[strings.TrimPrefix(name, "assets/")] = asset{
			content: content, contentType: contentType, etag: `"` + hex.EncodeToString(sum[:8]) + `"`,
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	p.version = hex.EncodeToString(all.Sum(nil)[:8])
	p.templates, err = template.ParseFS(pageFiles, "pages/*.html")
	if err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	return p, nil
}

// typeOf does not ask the machine's own table of types, so that every machine says the
// same.
func typeOf(name string) (string, error) {
	switch ext := path.Ext(name); ext {
	case ".js":
		return "text/javascript; charset=utf-8", nil
	case ".css":
		return "text/css; charset=utf-8", nil
	case ".svg":
		return "image/svg+xml", nil
	default:
		return "", fmt.Errorf("%s: no content type for %q", name, ext)
	}
}

// Register adds the routes of the pages.
func (p *Pages) Register(r gin.IRouter) {
	for path, handler := range map[string]gin.HandlerFunc{
		"/":                             p.root,
		"/:room":                        p.station("lobby"),
		"/:room/hospital":               p.station("hospital"),
		"/:room/technician":             p.station("technician"),
		"/:room/room":                   p.station("room"),
		"/watch/:room/:publisher":       p.watch,
		"/watch/:room/:publisher/:kind": p.watch,
		"/assets/*name":                 p.asset,
		"/api/stations":                 p.limits,
	} {
		r.GET(path, handler)
		r.HEAD(path, handler)
	}
}

// A view is what a page's template shows. Its URLs are relative, so that a page works
// under any address and below any path of a proxy.
type view struct {
	Root            string // the gateway's root, relative to the page, with a slash at the end
	Assets          string // the folder of the assets, likewise
	Room, Publisher string
	Name            string // of what is played, for people
	Kind            string // "video", "audio"; "" is the pair, or the mix
	Page            string // of the stations' script: "root", "lobby", "hospital", "technician", "room"
	Title           string
	Reserved        string // names that no room can have, for the page where one is named
	Reason          string // why there is nothing here
}

func (p *Pages) view(depth int) view {
	root := "./" + strings.Repeat("../", depth)
	return view{Root: root, Assets: root + "assets/" + p.version + "/"}
}

// depth is how far below the gateway's root a request's page is.
func depth(c *gin.Context) int { return strings.Count(c.Request.URL.EscapedPath(), "/") - 1 }

func (p *Pages) root(c *gin.Context) {
	v := p.view(0)
	v.Page, v.Reserved = "root", strings.Join(rooms.ReservedNames(), " ")
	p.page(c, http.StatusOK, "station.html", v)
}

// station answers with a page of a room, which need not be open: who enters it opens it.
func (p *Pages) station(name string) gin.HandlerFunc {
	return func(c *gin.Context) {
		v := p.view(depth(c))
		v.Room, v.Page, v.Title = c.Param("room"), name, c.Param("room")
		if err := rooms.ValidRoom(v.Room); err != nil {
			v.Reason = sentence(err)
			p.page(c, http.StatusNotFound, "missing.html", v)
			return
		}
		p.page(c, http.StatusOK, "station.html", v)
	}
}

// sentence returns an error as people read it.
func sentence(err error) string {
	r, size := utf8.DecodeRuneInString(err.Error())
	return string(unicode.ToUpper(r)) + err.Error()[size:] + "."
}

func (p *Pages) watch(c *gin.Context) {
	v := p.view(depth(c))
	v.Room, v.Publisher, v.Kind = c.Param("room"), c.Param("publisher"), c.Param("kind")
	v.Name = v.Publisher
	if v.Publisher == bridge.Mix {
		v.Name = "Everybody"
		if listener := c.Query("for"); rooms.ValidName(listener) == nil {
			v.Name += " but " + listener
		}
	}
	if rooms.ValidRoom(v.Room) != nil || !playable(v.Publisher, v.Kind) {
		p.page(c, http.StatusNotFound, "missing.html", v)
		return
	}
	p.page(c, http.StatusOK, "watch.html", v)
}

// playable reports whether there can be an endpoint of that kind, "" for the one without.
func playable(publisher, kind string) bool {
	if publisher == bridge.Mix {
		return kind == ""
	}
	return rooms.ValidName(publisher) == nil && (kind == "" || kind == string(media.Video) || kind == string(media.Audio))
}

// page answers with a page. It is not stored: it names assets of this very version.
func (p *Pages) page(c *gin.Context, status int, name string, v view) {
	var body bytes.Buffer
	if err := p.templates.ExecuteTemplate(&body, name, v); err != nil {
		_ = c.AbortWithError(http.StatusInternalServerError, err)
		return
	}
	h := c.Writer.Header()
	h.Set("Cache-Control", "no-store")
	secure(h)
	if name == "station.html" && v.Room != "" {
		h.Set("Permissions-Policy", allDevices)
	}
	c.Data(status, "text/html; charset=utf-8", body.Bytes())
}

// asset answers "/assets/{version}/{name}" for a year, as what is there never changes, and
// "/assets/{name}" with a question each time.
func (p *Pages) asset(c *gin.Context) {
	name := strings.TrimPrefix(c.Param("name"), "/")
	name, immutable := strings.CutPrefix(name, p.version+"/")
	a, ok := p.assets[name]
	if !ok {
		p.page(c, http.StatusNotFound, "missing.html", p.view(depth(c)))
		return
	}
	h := c.Writer.Header()
	secure(h)
	h.Set("Content-Type", a.contentType)
	h.Set("ETag", a.etag)
	h.Set("Cache-Control", "no-cache")
	if immutable {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeContent(c.Writer, c.Request, "", time.Time{}, bytes.NewReader(a.content))
}

func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", noDevices)
}
