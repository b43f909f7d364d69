package sdp

import (
	"slices"
	"strings"
	"testing"
)

// TestSimulcast: item 49, row 69, RFC 8851 and RFC 8853.
func TestSimulcast(t *testing.T) {
	const three = "a=rid:0 send\na=rid:1 send\na=rid:2 send\n"
	for _, tt := range []struct {
		name, lines string
		rids        []string
		answer      []string // a=rid and a=simulcast lines, without a=
	}{
		{"all layers, in the offer's order (OBS)", three + "a=simulcast:send 0;1;2\n", []string{"0", "1", "2"},
			[]string{"rid:0 recv", "rid:1 recv", "rid:2 recv", "simulcast:recv 0;1;2"}},
		{"another order", three + "a=simulcast:send 2;0\n", []string{"2", "0"}, []string{"rid:2 recv", "rid:0 recv", "simulcast:recv 2;0"}},
		{"row 69: a paused layer", three + "a=simulcast:send 0;~1\n", []string{"0", "1"}, []string{"rid:0 recv", "rid:1 recv", "simulcast:recv 0;1"}},
		{"alternatives: the first", three + "a=simulcast:send 0,1;2\n", []string{"0", "2"}, []string{"rid:0 recv", "rid:2 recv", "simulcast:recv 0;2"}},
		{"what the offerer would receive", three + "a=rid:9 recv\na=simulcast:recv 9 send 0;1\n", []string{"0", "1"}, []string{"rid:0 recv", "rid:1 recv", "simulcast:recv 0;1"}},
		{"two a=simulcast lines", three + "a=simulcast:send 0;1\na=simulcast:send 1;2\n", nil, nil},
		{"rids without a=simulcast", three, nil, nil},
		{"a=simulcast without rids", "a=simulcast:send 0;1\n", nil, nil},
		{"one layer without a rid", "a=rid:0 send\na=simulcast:send 0;1\n", []string{"0"}, []string{"rid:0 recv", "simulcast:recv 0"}},
		{"a layer twice", three + "a=simulcast:send 0;0;1\n", []string{"0", "1"}, []string{"rid:0 recv", "rid:1 recv", "simulcast:recv 0;1"}},
		{"a rid twice is discarded", "a=rid:0 send\na=rid:0 send\na=rid:1 send\na=simulcast:send 0;1\n", []string{"1"}, []string{"rid:1 recv", "simulcast:recv 1"}},
		{"a rid of the other direction", "a=rid:0 recv\na=rid:1 send\na=simulcast:send 0;1\n", []string{"1"}, []string{"rid:1 recv", "simulcast:recv 1"}},
		{"row 82: a rid of 255 bytes", "a=rid:" + strings.Repeat("x", 255) + " send\na=rid:1 send\na=simulcast:send " + strings.Repeat("x", 255) + ";1\n",
			[]string{"1"}, []string{"rid:1 recv", "simulcast:recv 1"}},
		{"a rid that is none", "a=rid:0.5 send\na=simulcast:send 0.5\n", nil, nil},
		{"restrictions are repeated", "a=rid:0 send max-width=1280;max-height=720;max-fps=30\na=simulcast:send 0\n", []string{"0"},
			[]string{"rid:0 recv max-width=1280;max-height=720;max-fps=30", "simulcast:recv 0"}},
		{"pt= is repeated as far as it was accepted", "a=rid:0 send pt=96,98;max-br=1000\na=simulcast:send 0\n", []string{"0"},
			[]string{"rid:0 recv pt=96;max-br=1000", "simulcast:recv 0"}},
		{"pt= of nothing accepted", "a=rid:0 send pt=98\na=rid:1 send\na=simulcast:send 0;1\n", []string{"1"}, []string{"rid:1 recv", "simulcast:recv 1"}},
		{"an unknown restriction", "a=rid:0 send depend=1\na=rid:1 send\na=simulcast:send 0;1\n", []string{"1"}, []string{"rid:1 recv", "simulcast:recv 1"}},
		{"a restriction out of range", "a=rid:0 send max-width=-1\na=simulcast:send 0\n", nil, nil},
		{"garbage", three + "a=simulcast:send\n", nil, nil},
		{"more garbage", three + "a=simulcast:;;;,,,\n", nil, nil},
		{"too many layers", sequence("a=rid:%d send\n", 0, 20) + "a=simulcast:send " + strings.TrimSuffix(sequence("%d;", 0, 20), ";") + "\n",
			[]string{"0", "1", "2", "3", "4", "5", "6", "7"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, a := mustAnswer(t, edit(t, "a=rtpmap:96", tt.lines+"a=rtpmap:96"), publish())
			if got := a.Sections[1].RIDs; !slices.Equal(got, tt.rids) {
				t.Errorf("got rids %q, want %q", got, tt.rids)
			}
			if tt.answer == nil && tt.rids != nil {
				return
			}
			var got []string
			for _, l := range linesOf(a.SDP, "a=") {
				if strings.HasPrefix(l, "rid:") || strings.HasPrefix(l, "simulcast:") {
					got = append(got, l)
				}
			}
			if !slices.Equal(got, tt.answer) {
				t.Errorf("got %q, want %q", got, tt.answer)
			}
		})
	}
}

// TestSimulcastNeedsItsHeaderExtension: without it the layers can't be told apart.
func TestSimulcastNeedsItsHeaderExtension(t *testing.T) {
	_, a := mustAnswer(t, edit(t, "a=extmap:5 "+ExtensionRID+"\n", "a=rid:0 send\na=rid:1 send\na=simulcast:send 0;1\n"), publish())
	if s := a.Sections[1]; len(s.RIDs) != 0 || strings.Contains(string(a.SDP), "simulcast") {
		t.Errorf("got rids %q", s.RIDs)
	}
}

// TestOBSFindsAsManyLayersAsItOffered: it counts the semicolons of the first a=simulcast
// line, which must end in CRLF, and gives up if there are fewer.
func TestOBSFindsAsManyLayersAsItOffered(t *testing.T) {
	_, a := mustAnswer(t, realOffer(t, "obs-32.2.2-whip-simulcast"), publish())
	_, rest, ok := strings.Cut(string(a.SDP), "a=simulcast:")
	line, _, end := strings.Cut(rest, "\r\n")
	if !ok || !end || strings.Count(line, ";") != 2 {
		t.Errorf("got %q, want three layers", line)
	}
}
