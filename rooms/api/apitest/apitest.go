// Package apitest holds responses against the API description, in the tests of all doors.
package apitest

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// The validator knows of no body that is SDP, and keeps its decoders in a global.
func init() {
	for _, mediaType := range []string{"application/sdp", "application/trickle-ice-sdpfrag", "application/openmetrics-text"} {
		openapi3filter.RegisterBodyDecoder(mediaType, openapi3filter.PlainBodyDecoder)
	}
}

// A Description is the API description, made strict.
type Description struct{ *openapi3.T }

// Load reads the API description; the test ends if it is not valid. Its objects are made
// strict: the document lets later versions add members, but today's must all be described.
// Only problem documents may have members of their own (RFC 9457, section 3.2).
func Load(t testing.TB, yaml []byte) *Description {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(yaml)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, schema := range doc.Components.Schemas {
		if schema.Value.Type.Is("object") && name != "Problem" {
			no := false
			schema.Value.AdditionalProperties = openapi3.BoolSchema{Has: &no}
		}
	}
	return &Description{doc}
}

// Check reports a response whose status, header or body is not as described for the path,
// which is given as in the description: "/api/rooms/{room}". A status that is not described is
// wrong, and so is a body where none is.
func (d *Description) Check(t testing.TB, path string, res *http.Response, body []byte) {
	t.Helper()
	method := res.Request.Method
	item := d.Paths.Value(path)
	if item == nil || item.GetOperation(method) == nil {
		t.Errorf("%s %s is not described", method, path)
		return
	}
	op := item.GetOperation(method)
	err := openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: res.Request,
			Route:   &routers.Route{Spec: d.T, Path: path, PathItem: item, Method: method, Operation: op},
		},
		Status:  res.StatusCode,
		Header:  res.Header,
		Body:    io.NopCloser(bytes.NewReader(body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	})
	if err != nil {
		t.Errorf("%s %s: %d: %v\n%s", method, path, res.StatusCode, err, body)
	}
	// The validator lets bodies pass that are not described, and all of some statuses.
	described := op.Responses.Status(res.StatusCode)
	if described == nil {
		t.Errorf("%s %s: %d is not described", method, path, res.StatusCode)
	} else if len(described.Value.Content) == 0 && len(body) > 0 {
		t.Errorf("%s %s: %d has a body of %d bytes, described as empty", method, path, res.StatusCode, len(body))
	}
}
