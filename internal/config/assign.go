package config

import (
	"encoding"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// fields yields the fields of a struct that configuration can set, by their names.
func fields(structure reflect.Value) iter.Seq2[string, reflect.Value] {
	return func(yield func(string, reflect.Value) bool) {
		t := structure.Type()
		for i := range t.NumField() {
			field, value := t.Field(i), structure.Field(i)
			name, _, _ := strings.Cut(field.Tag.Get("toml"), ",")
			if name == "-" || !field.IsExported() {
				continue
			}
			if name == "" && field.Anonymous {
				for name, value := range fields(value) {
					if !yield(name, value) {
						return
					}
				}
				continue
			}
			if name != "" && !yield(name, value) {
				return
			}
		}
	}
}

// isTable says whether TOML writes v as a table.
func isTable(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// assignTable sets the fields of a struct to the values of a table, and files a
// problem for each that is unknown or has the wrong type.
func (l *loader) assignTable(structure reflect.Value, table map[string]any, key string) {
	known := maps.Collect(fields(structure))
	for _, name := range slices.Sorted(maps.Keys(table)) {
		at := join(key, name)
		if field, ok := known[name]; ok {
			l.assign(field, table[name], at)
			continue
		}
		what := "key"
		if key == "" {
			what = "section"
		}
		l.add(at, "unknown %s%s", what, suggest(name, slices.Sorted(maps.Keys(known))))
	}
}

// assign sets dst, a field, to a value that TOML gave.
func (l *loader) assign(dst reflect.Value, value any, key string) {
	wrong := func(want string) {
		l.add(key, "must be %s, got %s", want, shown(key, dst, value))
		l.unset[key] = true
	}

	if text, ok := dst.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if err := text.UnmarshalText([]byte(fmt.Sprint(value))); err != nil {
			l.add(key, "%s", textError(dst, err, value))
			l.unset[key] = true
		}
		return
	}
	switch dst.Kind() {
	case reflect.Struct:
		table, ok := value.(map[string]any)
		if !ok {
			wrong("a table")
			return
		}
		l.assignTable(dst, table, key)
	case reflect.Slice:
		list, ok := value.([]any)
		if !ok {
			wrong("a list in brackets")
			return
		}
		l.assignList(dst, list, key)
	case reflect.String:
		if s, ok := value.(string); ok {
			dst.SetString(s)
			return
		}
		wrong("a text in quotes")
	case reflect.Bool:
		if b, ok := value.(bool); ok {
			dst.SetBool(b)
			return
		}
		wrong("true or false")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if n, ok := value.(int64); ok && !dst.OverflowInt(n) {
			dst.SetInt(n)
			return
		}
		wrong("a whole number")
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if n, ok := value.(int64); ok && n >= 0 && !dst.OverflowUint(uint64(n)) {
			dst.SetUint(uint64(n))
			return
		}
		wrong("a whole number from 0")
	case reflect.Float32, reflect.Float64:
		switch n := value.(type) {
		case float64:
			dst.SetFloat(n)
		case int64:
			dst.SetFloat(float64(n))
		default:
			wrong("a number")
		}
	default:
		l.add(key, "cannot be configured: no rule for %s", dst.Type())
	}
}

// assignList replaces dst by the list: a list in a file adds nothing to the default.
func (l *loader) assignList(dst reflect.Value, list []any, key string) {
	made := reflect.MakeSlice(dst.Type(), len(list), len(list))
	for i, value := range list {
		l.assign(made.Index(i), value, fmt.Sprintf("%s[%d]", key, i))
	}
	dst.Set(made)
}

// textError words what an UnmarshalText found wrong. Our own types say what would be
// right; slog.Level does not.
func textError(dst reflect.Value, err error, value any) string {
	if dst.Type().PkgPath() == "log/slog" {
		return fmt.Sprintf("must be \"debug\", \"info\", \"warn\" or \"error\", got %s", show(value))
	}
	return err.Error()
}

// shown is show for the value of a key. What may be a secret is not repeated: that of a key which has one, and
// what stands in auth where a text, a list or a table belongs, as in auth.tokens = ["…"].
func shown(key string, dst reflect.Value, value any) string {
	name := key[strings.LastIndex(key, ".")+1:]
	structured := dst.Kind() == reflect.Struct || dst.Kind() == reflect.Slice || dst.Kind() == reflect.String
	if slices.Contains(guessable, name) || strings.HasPrefix(key, "auth.") && structured {
		return "something else, which is not repeated here"
	}
	return show(value)
}

// show writes a value of the wrong type as its user did. Tables and lists may be long
// or hold secrets: they are only named.
func show(value any) string {
	switch v := value.(type) {
	case string:
		return fmt.Sprintf("%q", v)
	case map[string]any:
		return "a table"
	case []any:
		return "a list"
	default:
		return fmt.Sprint(v)
	}
}

// suggest names the known key that name was probably meant to be.
func suggest(name string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		if d := distance(name, k); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return "; known here: " + strings.Join(known, ", ")
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// distance is Levenshtein's: how many letters to add, drop or change.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
