package httpapi

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"
)

// Endpoint answers GET and HEAD of a WHIP or WHEP endpoint: 200 without content (RFC 9725,
// section 4.1; WHEP, section 4.2). A request that prefers a page is led to one, if page
// is not empty, by a Refresh header field: the response stays the one of the standard.
func Endpoint(c *gin.Context, page string) {
	c.Header("Content-Type", SDP)
	c.Header("Accept-Post", SDP)
	c.Header("Content-Length", "0") // net/http would say it for GET only; HEAD has the same headers
	if page != "" && prefersHTML(c.Request.Header) {
		c.Header("Refresh", "0; url="+BaseURL(c)+page)
	}
	c.Status(http.StatusOK)
}

// EndpointOptions answers OPTIONS of an endpoint, preflights too (RFC 9725, section 4.2).
// It never has Link header fields: who asks has not shown a token.
func EndpointOptions(c *gin.Context) {
	c.Header("Accept-Post", SDP)
	c.Header("Allow", "GET, HEAD, OPTIONS, POST")
	c.Status(http.StatusOK)
}

// prefersHTML reports whether Accept ranks text/html above SDP, as a browser's does.
func prefersHTML(h http.Header) bool {
	accept := strings.Join(h.Values("Accept"), ",")
	if len(accept) > 2048 {
		return false
	}
	return quality(accept, "text", "html") > quality(accept, "application", "sdp")
}

// quality returns the weight that Accept gives to a media type, by its most specific range
// (RFC 9110, section 12.5.1).
func quality(accept, main, sub string) float64 {
	best, q := 0, 0.0
	for part := range strings.SplitSeq(accept, ",") {
		mediaRange, params, _ := strings.Cut(part, ";")
		specific := 0
		switch strings.ToLower(strings.TrimSpace(mediaRange)) {
		case main + "/" + sub:
			specific = 3
		case main + "/*":
			specific = 2
		case "*/*":
			specific = 1
		}
		if specific <= best {
			continue
		}
		best, q = specific, 1
		for param := range strings.SplitSeq(params, ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
			if strings.EqualFold(name, "q") {
				if v, err := strconv.ParseFloat(value, 64); err == nil && v >= 0 && v <= 1 {
					q = v
				}
			}
		}
	}
	return q
}
