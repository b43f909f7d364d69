package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	requestTimeout = 10 * time.Second
	maxBody        = 64 << 10 // bytes of an answer
	maxProblem     = 200      // bytes of a refusal that are repeated
)

// A client speaks WHIP and WHEP.
type client struct{ http *http.Client }

func newClient() *client {
	return &client{http: &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: maxJoining, MaxConnsPerHost: maxJoining},
		Timeout:   requestTimeout,
	}}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// A refusal is an answer other than 201.
type refusal struct {
	status     int
	text       string        // of the status line and the problem
	retryAfter time.Duration // zero: not said
}

func (r *refusal) Error() string { return r.text }

// post sends an offer and returns the answer and the session's URL; the URL is not nil if the
// server has made a session, even if there is an error. The error is a *refusal if the server
// answered, but not with 201.
func (c *client) post(ctx context.Context, endpoint, token, offer string) (answer string, session *url.URL, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(offer))
	if err != nil {
		return "", nil, err
	}
	req.Header.Set("Content-Type", "application/sdp")
	res, err := c.do(req, token)
	if err != nil {
		return "", nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	if err != nil {
		return "", nil, fmt.Errorf("read the answer: %w", err)
	}
	if res.StatusCode != http.StatusCreated {
		return "", nil, newRefusal(res, body)
	}
	// Not every server tells where the session is; one that doesn't ends it by itself.
	session, _ = res.Location()
	return string(body), session, nil
}

// delete ends a session. The error is a *refusal if the server answered, but not with
// success; a session that is gone already is none.
func (c *client) delete(ctx context.Context, session *url.URL, token string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, session.String(), nil)
	if err != nil {
		return err
	}
	res, err := c.do(req, token)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	if err != nil {
		return err
	}
	if res.StatusCode/100 == 2 || res.StatusCode == http.StatusNotFound || res.StatusCode == http.StatusGone {
		return nil
	}
	return newRefusal(res, body)
}

func (c *client) do(req *http.Request, token string) (*http.Response, error) {
	req.Header.Set("User-Agent", "sightline-bench")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := c.http.Do(req)
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // without the URL: that of a session is a secret (RFC 9725, section 5)
	}
	return res, err
}

// newRefusal takes from a problem document (RFC 9457) its detail, else the beginning of the
// text.
func newRefusal(res *http.Response, body []byte) *refusal {
	var problem struct{ Title, Detail string }
	text := strings.Join(strings.Fields(string(body)), " ")
	if json.Unmarshal(body, &problem) == nil && problem.Detail+problem.Title != "" {
		if text = problem.Detail; text == "" {
			text = problem.Title
		}
	}
	if len(text) > maxProblem {
		text = strings.ToValidUTF8(text[:maxProblem], "") + "…"
	}
	r := &refusal{status: res.StatusCode, text: "HTTP " + res.Status}
	if text != "" {
		r.text += ": " + text
	}
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 {
		r.retryAfter = time.Duration(s) * time.Second
	}
	return r
}
