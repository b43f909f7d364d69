package forward

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"unicode"

	"sightline/internal/fault"
	"sightline/internal/httpapi"
)

const (
	maxMessage = 512 << 10 // of the engine's
	maxRequest = 2 << 20   // as HTTP has it; http.max_body is 1 MiB at most
	maxAnswer  = 16 << 20  // likewise
	compressed = 16 << 10  // what is longer is
)

// A label is what goes with a request to another node: one line of JSON before it.
type label struct {
	Client  netip.Addr `json:"client,omitzero"`
	TLS     bool       `json:"tls,omitempty"`
	Base    string     `json:"base,omitempty"`
	Request string     `json:"request,omitempty"`
	Own     bool       `json:"own,omitempty"` // the node's own request, in its own name
}

// pack returns a label and a request for decode. The request's header fields that are for a
// single connection are left out (RFC 9110, section 7.6.1).
func pack(r *http.Request, body []byte, a httpapi.Arrival) ([]byte, error) {
	out := r.Clone(r.Context())
	out.Body, out.ContentLength, out.TransferEncoding, out.Trailer = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil, nil
	if len(body) == 0 {
		out.Body = http.NoBody
	}
	dropHops(out.Header)
	out.Header.Del("Expect") // the body is here
	if out.UserAgent() == "" {
		out.Header.Set("User-Agent", "") // or Write would name one
	}
	if out.Host == "" || strings.ContainsFunc(out.Host, func(c rune) bool { return c > unicode.MaxASCII }) {
		out.Host = "unknown.invalid" // HTTP/1.0, or what Write may not take; URLs begin with the entry's base
	}
	var buf bytes.Buffer
	head, err := json.Marshal(label{Client: a.Client, TLS: a.TLS, Base: a.Base, Request: a.Request, Own: a.Own})
	if err != nil {
		return nil, fmt.Errorf("label a request: %w", err)
	}
	buf.Write(append(head, '\n'))
	if err := out.Write(&buf); err != nil {
		return nil, fmt.Errorf("write a request for another node: %w", err)
	}
	data := deflate(buf.Bytes())
	if len(data) > maxMessage {
		return nil, fault.New(fault.TooLarge, "the request is too long to be brought to the node that its room lives on: it has %d bytes, %d are possible", len(data), maxMessage)
	}
	return data, nil
}

// unpack is what pack has packed; node is the name of the one that has sent it. The error is a
// fault.BadRequest.
func unpack(data []byte, node string) (*http.Request, httpapi.Arrival, error) {
	bad := func(err error) (*http.Request, httpapi.Arrival, error) {
		return nil, httpapi.Arrival{}, fault.New(fault.BadRequest, "node %s sent a request that is none: %w", node, err)
	}
	data, err := inflate(data, maxRequest)
	if err != nil {
		return bad(err)
	}
	head, request, _ := bytes.Cut(data, []byte("\n"))
	var l label
	if err := json.Unmarshal(head, &l); err != nil {
		return bad(err)
	}
	if err := l.validate(); err != nil {
		return bad(err)
	}
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(request)))
	if err != nil {
		return bad(err)
	}
	return r, httpapi.Arrival{Client: l.Client.WithZone(""), TLS: l.TLS, Base: l.Base, Request: l.Request, Node: node, Own: l.Own}, nil
}

func (l label) validate() error {
	if l.Base != "" {
		u, err := url.Parse(l.Base)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || len(l.Base) > 1000 {
			return errors.New("its base is no URL")
		}
	}
	if len(l.Request) > 32 || strings.Trim(l.Request, "0123456789abcdef") != "" {
		return errors.New("its id is none")
	}
	return nil
}

// writeResponse writes a response for readResponse.
func writeResponse(status int, header http.Header, body []byte) ([]byte, error) {
	dropHops(header)
	header.Del("Content-Length") // follows from the body
	res := http.Response{
		StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Header: header,
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}
	var buf bytes.Buffer
	if err := res.Write(&buf); err != nil {
		return nil, fmt.Errorf("write a response for another node: %w", err)
	}
	data := deflate(buf.Bytes())
	if len(data) > maxMessage {
		return nil, fault.New(fault.Unavailable, "the answer is too long to be brought from the node that has it: ask that one, or for less")
	}
	return data, nil
}

// readResponse reads a whole response. The error is a fault.Unavailable: the node is not sane.
func readResponse(data []byte, node string) (*http.Response, []byte, error) {
	bad := func(err error) (*http.Response, []byte, error) {
		return nil, nil, fault.New(fault.Unavailable, "node %s sent an answer that is none: %w", node, err)
	}
	data, err := inflate(data, maxAnswer)
	if err != nil {
		return bad(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(data)), nil)
	if err != nil {
		return bad(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode < 200 || res.StatusCode > 599 {
		return bad(cmp.Or(err, errors.New("it has no status of an answer")))
	}
	dropHops(res.Header)
	return res, body, nil
}

// dropHops removes what is about one connection.
func dropHops(h http.Header) {
	for _, line := range h.Values("Connection") {
		for name := range strings.SplitSeq(line, ",") {
			h.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range []string{
		"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade",
	} {
		h.Del(name)
	}
}

// The first byte of a message says whether the rest is compressed: lists and pages of the audit log
// have twenty times the length otherwise.
const (
	plain   = 'p'
	zipped  = 'z'
	fastest = gzip.BestSpeed
)

func deflate(data []byte) []byte {
	if len(data) <= compressed {
		return append([]byte{plain}, data...)
	}
	var buf bytes.Buffer
	buf.WriteByte(zipped)
	w, _ := gzip.NewWriterLevel(&buf, fastest) // the level is one
	_, _ = w.Write(data)                       // to memory
	_ = w.Close()
	return buf.Bytes()
}

func inflate(data []byte, limit int) ([]byte, error) {
	if len(data) == 0 || len(data) > maxMessage {
		return nil, fmt.Errorf("it has %d bytes", len(data))
	}
	switch data[0] {
	case plain:
		return data[1:], nil
	case zipped:
		r, err := gzip.NewReader(bytes.NewReader(data[1:]))
		if err != nil {
			return nil, err
		}
		out, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
		if err == nil && len(out) > limit {
			err = fmt.Errorf("it has more than %d bytes", limit)
		}
		return out, err
	}
	return nil, fmt.Errorf("it begins with %q", data[0])
}
