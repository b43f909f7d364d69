package demo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	requestTimeout = 10 * time.Second
	deleteTimeout  = 2 * time.Second // at the end nobody waits longer for a gateway that may be gone
	maxAnswer      = 64 << 10        // bytes
)

// A client speaks WHIP (RFC 9725) with one endpoint.
type client struct {
	endpoint *url.URL
	token    string
	http     *http.Client
}

// A refusal is an answer other than 201.
type refusal struct {
	status     string
	retryAfter time.Duration // zero: not said
}

func (r *refusal) Error() string { return "the gateway refuses to publish: " + r.status }

// post sends the offer and returns the answer and the URL of the session. The error is a
// *refusal if the gateway answered, but did not accept.
func (c *client) post(ctx context.Context, offer string) (answer string, session *url.URL, err error) {
	res, err := c.do(ctx, http.MethodPost, c.endpoint, []byte(offer))
	if err != nil {
		return "", nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		seconds, _ := strconv.Atoi(res.Header.Get("Retry-After"))
		return "", nil, &refusal{res.Status, time.Duration(max(seconds, 0)) * time.Second}
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return "", nil, fmt.Errorf("read the answer: %w", err)
	}
	session, err = res.Location()
	if err != nil {
		return "", nil, fmt.Errorf("the answer has no usable Location: %w", err)
	}
	return string(body), session, nil
}

// delete ends the session, even when ctx is done.
func (c *client) delete(ctx context.Context, session *url.URL) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deleteTimeout)
	defer cancel()
	res, err := c.do(ctx, http.MethodDelete, session, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer))
	return err
}

func (c *client) do(ctx context.Context, method string, at *url.URL, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, at.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "sightline-demo")
	if body != nil {
		req.Header.Set("Content-Type", "application/sdp")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	return c.http.Do(req)
}
