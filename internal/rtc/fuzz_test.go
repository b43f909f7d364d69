package rtc

import (
	"testing"

	"github.com/pion/stun/v4"
)

// What comes to the socket is read before anything about it is known.
func FuzzPeekSTUN(f *testing.F) {
	m, err := buildCheck("abc:def", "secret", 1)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.Raw)
	f.Add(m.Raw[:24])
	f.Add([]byte{0, 1, 0, 4, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		request, _, ok := peekSTUN(b)
		ufrag, named := peekUfrag(b)
		if !ok {
			return
		}
		// What pion reads as a Binding request must be one here, and under the same name.
		d := &stun.Message{Raw: append([]byte(nil), b...)}
		if d.Decode() != nil {
			return
		}
		if request != (d.Type == stun.BindingRequest) {
			t.Errorf("request is %v, pion says %v", request, d.Type)
		}
		var u stun.Username
		if named && u.GetFrom(d) == nil && len(u) < len(ufrag) {
			t.Errorf("ufrag %q is longer than the username %q", ufrag, u)
		}
	})
}

func TestPeekUfrag(t *testing.T) {
	m, err := buildCheck("local:remote", "secret", 1)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := peekUfrag(m.Raw); got != "local" || !ok {
		t.Errorf("got %q, %v; want \"local\"", got, ok)
	}
}
