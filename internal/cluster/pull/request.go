package pull

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"sightline/internal/bridge"
	"sightline/internal/cluster"
	"sightline/internal/fault"
)

const (
	requestTimeout = 3 * time.Second
	maxAnswer      = 64 << 10 // bytes
)

// endpoint is the path and query of what is pulled.
func (k key) endpoint() string {
	if k.publisher != bridge.Mix {
		return "/whep/" + k.room + "/" + k.publisher + "/" + string(k.kind)
	}
	query := url.Values{}
	for name, value := range map[string]string{"for": k.listener, "role": k.role} {
		if value != "" {
			query.Set(name, value)
		}
	}
	u := url.URL{Path: "/whep/" + k.room + "/" + bridge.Mix, RawQuery: query.Encode()}
	return u.String()
}

// post sends the offer to the owner, and returns the answer and the path of the session. The
// error is the owner's fault, or Unavailable if it doesn't answer.
func (l *pull) post(ctx context.Context, owner cluster.Member, offer []byte) (answer []byte, session string, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	res, body, err := l.do(ctx, owner, http.MethodPost, l.endpoint(), offer)
	if err != nil {
		return nil, "", err
	}
	location, err := res.Location()
	switch {
	case res.StatusCode != http.StatusCreated:
		return nil, "", refusal(res, body)
	case err != nil:
		return nil, "", fault.New(fault.Unavailable, "node %q does not say where its session is", owner.Name)
	}
	return body, location.Path, nil
}

// delete ends the session, which close_notify may not have reached.
func (l *pull) delete(ctx context.Context, owner cluster.Member, session string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	if _, _, err := l.do(ctx, owner, http.MethodDelete, session, nil); err != nil {
		l.log.Debug("the session at the owner was not deleted", "node", owner.Name, "err", err)
	}
}

func (l *pull) do(ctx context.Context, owner cluster.Member, method, target string, body []byte) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/sdp")
	}
	req.Header.Set("User-Agent", "sightline-relay")
	res, err := l.puller.Sender.Do(ctx, owner, req)
	var text []byte
	if err == nil {
		defer res.Body.Close()
		text, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	}
	switch {
	case err == nil:
		return res, text, nil
	case fault.KindOf(err) != "":
		return nil, nil, err
	default:
		return nil, nil, &fault.Error{
			Kind: fault.Unavailable, Detail: fmt.Sprintf("node %q, which has this room, does not answer", owner.Name), RetryAfter: retryAfter, Cause: err,
		}
	}
}

// refusal makes the owner's problem document a fault again (RFC 9457).
func refusal(res *http.Response, body []byte) error {
	f := &fault.Error{Kind: fault.Unavailable}
	for _, known := range []struct {
		status int
		kind   fault.Kind
	}{
		{http.StatusBadRequest, fault.BadRequest}, {http.StatusNotFound, fault.NotFound}, {http.StatusConflict, fault.Conflict},
		{http.StatusUnprocessableEntity, fault.Unprocessable}, {http.StatusForbidden, fault.Forbidden},
	} {
		if res.StatusCode == known.status {
			f.Kind = known.kind
		}
	}
	var problem struct{ Detail string }
	if json.Unmarshal(body, &problem) == nil && problem.Detail != "" {
		f.Detail = problem.Detail
	} else {
		f.Detail = "the node that has this room answers " + strconv.Itoa(res.StatusCode)
	}
	if n, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && n > 0 && n < 3600 {
		f.RetryAfter = time.Duration(n) * time.Second
	}
	return f
}
