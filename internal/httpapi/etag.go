package httpapi

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"
)

// Answer sends a body with its ETag, or 304 if the caller has just that body already
// (RFC 9110, section 13.1.2).
func Answer(c *gin.Context, contentType string, body []byte) error {
	sum := sha256.Sum256(body)
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`
	c.Header("ETag", tag)
	c.Header("Cache-Control", "private, no-cache") // keep it, but ask
	if namesTag(c.Request.Header.Values("If-None-Match"), tag) {
		c.Status(http.StatusNotModified)
		return nil
	}
	c.Data(http.StatusOK, contentType, body)
	return nil
}

// namesTag reports whether the field names the tag, by weak comparison (RFC 9110, section
// 8.8.3.2). Our tags hold no comma.
func namesTag(field []string, tag string) bool {
	for _, line := range field {
		for candidate := range strings.SplitSeq(line, ",") {
			candidate = strings.TrimSpace(candidate)
			if candidate == "*" || strings.TrimPrefix(candidate, "W/") == tag {
				return true
			}
		}
	}
	return false
}
