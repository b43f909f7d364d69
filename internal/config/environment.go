package config

import (
	"encoding"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

const prefix = "SIGHTLINE_"

// Variable returns the environment variable that overrides a key:
// SIGHTLINE_ICE_UDP_LISTEN for ice.udp_listen.
func Variable(key string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// readEnvironment overrides what environ names. Lists are separated by commas; a list
// of tables is written as TOML does: [{url = "stun:host"}].
func (l *loader) readEnvironment(c any, environ []string) {
	l.variables = make(map[string]string)
	keys := make(map[string]string) // by variable
	values := make(map[string]reflect.Value)
	for key, value := range leaves(reflect.ValueOf(c).Elem(), "") {
		keys[Variable(key)], values[key] = key, value
	}
	for _, entry := range slices.Sorted(slices.Values(environ)) {
		name, text, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, prefix) || injected(name) {
			continue
		}
		key, ok := keys[name]
		if !ok {
			hint := suggest(name, slices.Sorted(maps.Keys(keys)))
			if !strings.Contains(hint, "did you mean") {
				hint = "; see docs/CONFIGURATION.md, or unset it"
			}
			l.problems = append(l.problems, Problem{Source: name, Text: "unknown variable" + hint})
			continue
		}
		l.variables[key] = name
		l.assignText(values[key], text, key)
	}
}

// injected says whether Kubernetes set the variable for a Service named sightline:
// whoever deploys did not write it.
func injected(name string) bool {
	rest := strings.TrimPrefix(name, prefix)
	return rest == "PORT" || strings.HasPrefix(rest, "PORT_") || strings.HasPrefix(rest, "SERVICE_")
}

// leaves returns every key that is no table, with the field that it sets.
func leaves(structure reflect.Value, key string) map[string]reflect.Value {
	all := make(map[string]reflect.Value)
	for name, value := range fields(structure) {
		at := join(key, name)
		if isTable(value.Type()) {
			maps.Copy(all, leaves(value, at))
			continue
		}
		all[at] = value
	}
	return all
}

// assignText sets dst to what a variable says, by way of the value that TOML would give.
func (l *loader) assignText(dst reflect.Value, text, key string) {
	if _, ok := dst.Addr().Interface().(encoding.TextUnmarshaler); ok {
		l.assign(dst, text, key)
		return
	}
	switch dst.Kind() {
	case reflect.String:
		dst.SetString(text)
	case reflect.Slice:
		l.assignListText(dst, text, key)
	case reflect.Bool:
		l.assign(dst, parsed(strconv.ParseBool(text))(text), key)
	case reflect.Float32, reflect.Float64:
		l.assign(dst, parsed(strconv.ParseFloat(text, 64))(text), key)
	default:
		l.assign(dst, parsed(strconv.ParseInt(text, 10, 64))(text), key)
	}
}

// parsed returns the value, or the text where it could not be parsed: assign then
// says what would be right.
func parsed[T any](value T, err error) func(text string) any {
	return func(text string) any {
		if err != nil {
			return text
		}
		return value
	}
}

func (l *loader) assignListText(dst reflect.Value, text, key string) {
	if isTable(dst.Type().Elem()) {
		var document struct {
			Value []any `toml:"value"`
		}
		if err := toml.Unmarshal([]byte("value = "+text), &document); err != nil {
			l.add(key, "must be a list of tables as TOML writes it, such as [{name = \"…\"}]")
			return
		}
		l.assignList(dst, document.Value, key)
		return
	}
	list := []any{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	l.assignList(dst, list, key)
}
