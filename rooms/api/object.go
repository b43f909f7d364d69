package api

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"sightline/internal/fault"
	"sightline/internal/httpapi"
)

// A setter reads the value of one member of a JSON object.
type setter func(json.RawMessage) error

// into returns a setter of a field, whose value must be what it says.
func into[T any](field **T, what string) setter {
	return func(raw json.RawMessage) error {
		var v *T
		if err := json.Unmarshal(raw, &v); err != nil || v == nil { // null
			return fault.New(fault.BadRequest, "must be %s", what)
		}
		*field = v
		return nil
	}
}

// readObject reads a JSON object by the setters of its members, which are all that it may have.
// accept is the header that says what is taken. The error is a fault.
func readObject(c *gin.Context, accept string, members map[string]setter) error {
	if err := httpapi.CheckType(c, jsonType, accept); err != nil {
		return err
	}
	body, err := httpapi.ReadBody(c)
	if err != nil {
		return err
	}
	var object map[string]json.RawMessage // a struct would take other spellings of its members
	if err := json.Unmarshal(body, &object); err != nil || object == nil {
		return fault.New(fault.BadRequest, "the body must be a JSON object")
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		set := members[name]
		if set == nil {
			return fault.New(fault.BadRequest, "there is no member %q, only %s", clip(name), strings.Join(slices.Sorted(maps.Keys(members)), ", "))
		}
		if err := set(object[name]); err != nil {
			return fault.New(fault.BadRequest, "%s: %w", name, err)
		}
	}
	return nil
}

// clip bounds what an error repeats.
func clip(s string) string {
	const longest = 64
	if len(s) > longest {
		return strings.ToValidUTF8(s[:longest], "") + "…"
	}
	return s
}
