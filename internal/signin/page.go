package signin

import (
	"bytes"
	"errors"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	_ "embed"

	"github.com/gin-gonic/gin"

	"sightline/internal/auth"
	"sightline/internal/fault"
	"sightline/internal/httpapi"
)

//go:embed page.html
var pageFile string

var pageTemplate = template.Must(template.New("page").Parse(pageFile))

// A view is a page that a browser gets where it can't be led on. Its URLs are relative, so that
// it works below any path of a proxy.
type view struct {
	Title, Words string
	Again        string // where to sign in again; "": no link
	Root         string // the gateway's, with a slash at the end
}

// policy lets a page load its own style, and nothing else.
const policy = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// page is httpapi.Handle for what people see: a fault is a page.
func (d *Door) page(h httpapi.Handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		err := h(c)
		var f *fault.Error
		switch {
		case err == nil:
			return
		case !errors.As(err, &f):
			httpapi.Fail(c, err)
			return
		}
		httpapi.CountLimit(c, f)
		var h interface{ Header() http.Header }
		if errors.As(err, &h) {
			maps.Copy(c.Writer.Header(), h.Header())
		}
		v := view{Title: "Not signed in", Words: sentence(f.Detail)}
		if d.issuer != nil {
			v.Again = "login"
			if to, err := returnPath(c.QueryArray("return")); err == nil && to != "/" {
				v.Again += "?return=" + url.QueryEscape(to)
			}
		}
		if f.RetryAfter > 0 {
			c.Header("Retry-After", strconv.Itoa(max(1, int(f.RetryAfter.Seconds()))))
		}
		show(c, httpapi.Status(f.Kind), v)
	}
}

// done tells who has signed in again beside a call that he can go back to it.
func (d *Door) done(c *gin.Context) error {
	s := d.mine(c)
	if s == nil {
		return auth.NotKnown("you are not signed in")
	}
	show(c, http.StatusOK, view{Title: "Signed in", Words: "You are signed in as " + s.label + ". Close this tab, and go on where you were."})
	return nil
}

func show(c *gin.Context, status int, v view) {
	v.Root = "../"
	var body bytes.Buffer
	if err := pageTemplate.Execute(&body, v); err != nil {
		httpapi.Fail(c, err)
		return
	}
	c.Header("Content-Security-Policy", policy)
	c.Header("Cache-Control", "no-store")
	c.Data(status, "text/html; charset=utf-8", body.Bytes())
}

func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + strings.TrimRight(s[1:], ".") + "."
}
