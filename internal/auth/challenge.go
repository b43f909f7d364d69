package auth

import (
	"fmt"
	"net/http"

	"sightline/internal/fault"
)

// Realm is the protection space that challenges name (RFC 9110, section 11.5).
const Realm = "sightline"

// A refusal is a fault with its challenge.
type refusal struct {
	fault     *fault.Error
	challenge string
}

// challenge returns a fault with the challenge of RFC 6750, section 3. code and scope may be "".
func challenge(kind fault.Kind, code, scope, format string, args ...any) error {
	value := fmt.Sprintf("Bearer realm=%q", Realm)
	if code != "" {
		value += fmt.Sprintf(", error=%q", code)
	}
	if scope != "" {
		value += fmt.Sprintf(", scope=%q", scope)
	}
	return &refusal{fault.New(kind, format, args...), value}
}

// invalid is the answer to a token that lets nobody in.
func invalid(format string, args ...any) error {
	return challenge(fault.Unauthenticated, "invalid_token", "", format, args...)
}

func (r *refusal) Error() string { return r.fault.Detail }

// Unwrap lets errors.As find the fault.
func (r *refusal) Unwrap() error { return r.fault }

// Header returns the header fields that the response has to carry.
func (r *refusal) Header() http.Header {
	return http.Header{"Www-Authenticate": {r.challenge}}
}
