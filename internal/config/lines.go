package config

import (
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// lineIndex returns the line, from 1, at which each key of a valid TOML document is
// set and each table opened. An element of an array has the key of the array with
// its number: auth.tokens[0].name.
func lineIndex(document []byte) map[string]int {
	x := index{lines: make(map[string]int), length: make(map[string]int)}
	x.parser.Reset(document)
	table := ""
	for x.parser.NextExpression() {
		node := x.parser.Expression()
		switch node.Kind {
		case unstable.Table:
			table = x.key("", node.Key())
		case unstable.ArrayTable:
			key := x.key("", node.Key())
			table = fmt.Sprintf("%s[%d]", key, x.length[key])
			x.length[key]++
			x.lines[table] = x.lines[key]
		case unstable.KeyValue:
			x.keyValue(table, node)
		}
	}
	return x.lines
}

type index struct {
	parser unstable.Parser
	lines  map[string]int
	length map[string]int // elements seen of each array of tables
}

// key returns the full key of the parts in table, and remembers their lines.
func (x *index) key(table string, parts unstable.Iterator) string {
	key := table
	for parts.Next() {
		// [a.b] after [[a]] is in the last element of a.
		if n := x.length[key]; n > 0 && !strings.HasSuffix(key, "]") {
			key = fmt.Sprintf("%s[%d]", key, n-1)
		}
		part := parts.Node()
		key = join(key, string(part.Data))
		x.lines[key] = x.parser.Shape(part.Raw).Start.Line
	}
	return key
}

func (x *index) keyValue(table string, node *unstable.Node) {
	key := x.key(table, node.Key())
	x.value(key, x.lines[key], node.Value())
}

func (x *index) value(key string, line int, value *unstable.Node) {
	switch value.Kind {
	case unstable.InlineTable:
		for it := value.Children(); it.Next(); {
			x.keyValue(key, it.Node())
		}
	case unstable.Array:
		i := 0
		for it := value.Children(); it.Next(); {
			element := it.Node()
			if element.Kind == unstable.Comment {
				continue
			}
			at := fmt.Sprintf("%s[%d]", key, i)
			x.lines[at] = line
			if element.Raw.Length > 0 {
				x.lines[at] = x.parser.Shape(element.Raw).Start.Line
			}
			x.value(at, x.lines[at], element)
			i++
		}
	}
}

func join(table, name string) string {
	if table == "" {
		return name
	}
	return table + "." + name
}
