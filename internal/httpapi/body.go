package httpapi

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"sightline/internal/fault"
	"sightline/internal/sdp"
)

// The media types of WHIP and WHEP (RFC 9725, section 4).
const (
	SDP      = "application/sdp"
	Fragment = "application/trickle-ice-sdpfrag" // RFC 8840, section 9
)

// CheckType returns a fault.MediaType unless the request's body is of mediaType and not
// compressed. accept is the header field in which the response says what it should have
// been: Accept for POST (RFC 9110, section 15.5.16), Accept-Patch for PATCH (RFC 5789,
// section 2.2).
func CheckType(c *gin.Context, mediaType, accept string) error {
	h := c.Request.Header
	values := h.Values("Content-Type")
	if len(values) != 1 {
		return WithHeader(fault.New(fault.MediaType, "the request must have one Content-Type, %s", mediaType), accept, mediaType)
	}
	// Parameters and case do not matter: some clients send a charset.
	if got, _, err := mime.ParseMediaType(values[0]); err != nil || !strings.EqualFold(got, mediaType) {
		return WithHeader(fault.New(fault.MediaType, "Content-Type must be %s, got %q", mediaType, clip(values[0], 100)), accept, mediaType)
	}
	for _, coding := range h.Values("Content-Encoding") {
		if !strings.EqualFold(strings.TrimSpace(coding), "identity") {
			return WithHeader(fault.New(fault.MediaType, "compressed bodies are not taken, got Content-Encoding %q", clip(coding, 100)),
				"Accept-Encoding", "identity")
		}
	}
	return nil
}

// ReadBody reads the request's body. The error is a fault: TooLarge beyond http.max_body,
// BadRequest for one that is empty, breaks off or takes too long.
func ReadBody(c *gin.Context) ([]byte, error) {
	body, err := ReadAnyBody(c)
	if err == nil && len(body) == 0 {
		err = fault.New(fault.BadRequest, "the body is empty")
	}
	return body, err
}

// ReadAnyBody is ReadBody for where there need not be one.
func ReadAnyBody(c *gin.Context) ([]byte, error) {
	limit := c.GetInt64(bodyKey)
	tooLarge := fault.New(fault.TooLarge, "the body must not be longer than %d bytes (http.max_body)", limit).With("limit", "http.max_body")
	if limit > 0 && c.Request.ContentLength > limit {
		c.Header("Connection", "close")
		if c.GetHeader("Expect") == "" { // with it the body has not been sent, and need not be (RFC 9110, section 10.1.1)
			drain(c)
		}
		return nil, tooLarge
	}
	body, err := io.ReadAll(c.Request.Body)
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		return nil, tooLarge // and net/http closes the connection
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.Header("Connection", "close")
		return nil, fault.New(fault.BadRequest, "the body did not come in time (http.body_timeout)").With("limit", "http.body_timeout")
	case err != nil:
		return nil, fault.New(fault.BadRequest, "the body broke off after %d bytes", len(body))
	}
	return body, nil
}

// drain reads of a body that is too long as much as there is of it, up to the limit. At
// that net/http knows why the connection ends, and lingers; if it only closed, a client that
// still sends would see a reset instead of the answer.
func drain(c *gin.Context) {
	const patience = 100 * time.Millisecond
	_ = http.NewResponseController(c.Writer).SetReadDeadline(time.Now().Add(patience))
	_, _ = io.Copy(io.Discard, c.Request.Body)
}

// ReadOffer reads an SDP offer. The error is a fault.
func ReadOffer(c *gin.Context) (*sdp.Offer, error) {
	if err := CheckType(c, SDP, "Accept"); err != nil {
		return nil, err
	}
	body, err := ReadBody(c)
	if err != nil {
		return nil, err
	}
	return sdp.Parse(body)
}

// UserAgent returns what the client calls itself, cut to a length that can be shown.
func UserAgent(c *gin.Context) string {
	const longest = 200
	return clip(strings.ToValidUTF8(c.Request.UserAgent(), ""), longest)
}
