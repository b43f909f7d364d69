package replica

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var began = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func at(d time.Duration) int64 { return began.Add(d).UnixMilli() }

func live(key string, version uint64) Record {
	return Record{Key: key, Version: version, Until: at(time.Hour), Body: json.RawMessage(fmt.Sprintf(`{"n":%d}`, version))}
}

func gone(key string) Record { return Record{Key: key, Gone: true, Until: at(time.Hour)} }

func put(t interface{ Fatal(...any) }, s *Set, r Record) {
	if err := s.Put(r); err != nil {
		t.Fatal(err)
	}
}

// learn lets a learn what b has, as nodes do: a digest goes, pages come.
func learn(t interface{ Fatal(...any) }, a, b *Set, now time.Time) {
	after, mine := "", a.Digest()
	for range 10_000 {
		message, next, err := b.Differing(mine, after)
		if err != nil {
			t.Fatal(err)
		}
		if len(message) > MaxMessage {
			t.Fatal("a page of ", len(message), " bytes")
		}
		if _, err := a.Merge(message, now); err != nil {
			t.Fatal(err)
		}
		if after = next; after == "" {
			return
		}
	}
	t.Fatal("the pages don't end")
}

// Whatever is put and removed where, told in which order, how often, or not at all, and whichever
// node loses its memory: once all have compared digests they hold the same, and what was removed is gone.
func TestNodesComeToTheSameSet(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limits := Limits{Live: 1000, Gone: 1000}
		nodes := make([]*Set, rapid.IntRange(2, 4).Draw(rt, "nodes"))
		for i := range nodes {
			nodes[i] = New(limits)
		}
		removed := make(map[string]bool)
		var messages [][]byte // that may come at any time, to anybody
		for range rapid.IntRange(0, 60).Draw(rt, "steps") {
			i := rapid.IntRange(0, len(nodes)-1).Draw(rt, "node")
			n := nodes[i]
			key := fmt.Sprint("k", rapid.IntRange(0, 5).Draw(rt, "key"))
			switch rapid.SampledFrom([]string{"put", "change", "remove", "tell", "tell", "compare", "restart"}).Draw(rt, "step") {
			case "put":
				r := live(key, uint64(rapid.IntRange(1, 3).Draw(rt, "version")))
				r.Body = json.RawMessage(rapid.SampledFrom([]string{`1`, `"<&>"`, `{"a": 1}`}).Draw(rt, "body"))
				put(rt, n, r)
				messages = append(messages, Encode([]Record{r})...)
			case "change":
				if r, known := n.Get(key); known && !r.Gone {
					r.Version++
					put(rt, n, r)
					messages = append(messages, Encode([]Record{r})...)
				}
			case "remove":
				if r, known := n.Get(key); known && !r.Gone {
					put(rt, n, gone(key))
					messages = append(messages, Encode([]Record{gone(key)})...)
					removed[key] = true
				}
			case "tell":
				if len(messages) > 0 {
					if _, err := n.Merge(rapid.SampledFrom(messages).Draw(rt, "message"), began); err != nil {
						rt.Fatal(err)
					}
				}
			case "compare":
				learn(rt, n, nodes[rapid.IntRange(0, len(nodes)-1).Draw(rt, "other")], began)
			case "restart": // with what its file had
				nodes[i] = New(limits)
				learn(rt, nodes[i], n, began)
			}
		}
		for range len(nodes) { // news needs so many rounds along a chain
			for i := range nodes {
				learn(rt, nodes[i], nodes[(i+1)%len(nodes)], began)
			}
		}
		for i, n := range nodes {
			if !bytes.Equal(n.Digest(), nodes[0].Digest()) {
				rt.Fatalf("node %d holds something else than node 0", i)
			}
			for key := range removed {
				if r, known := n.Get(key); !known || !r.Gone {
					rt.Fatalf("node %d: %s was removed, and is there: %+v", i, key, r)
				}
			}
			if n.live+n.gone != count(n) {
				rt.Fatalf("node %d counts %d and %d, and has %d", i, n.live, n.gone, count(n))
			}
		}
	})
}

func count(s *Set) (n int) {
	for i := range s.buckets {
		n += len(s.buckets[i].records)
	}
	return n
}

func TestLargeSetsComeInPages(t *testing.T) {
	limits := Limits{Live: 10_000, Gone: 10}
	a, b := New(limits), New(limits)
	for i := range 2000 {
		r := live(fmt.Sprint("k", i), 1)
		r.Body = json.RawMessage(`"` + strings.Repeat("x", 500) + `"`)
		put(t, b, r)
	}
	pages, after := 0, ""
	mine := a.Digest()
	for {
		message, next, err := b.Differing(mine, after)
		if err != nil || len(message) > page+1024 {
			t.Fatalf("%d bytes, %v", len(message), err)
		}
		if news, err := a.Merge(message, began); err != nil || len(news) == 0 {
			t.Fatalf("page %d: %d news, %v", pages, len(news), err)
		}
		pages++
		if after = next; after == "" {
			break
		}
	}
	if pages < 8 || !bytes.Equal(a.Digest(), b.Digest()) {
		t.Errorf("%d pages, same %t", pages, bytes.Equal(a.Digest(), b.Digest()))
	}
	if message, next, err := b.Differing(a.Digest(), ""); string(message) != "[]" || next != "" || err != nil {
		t.Errorf("of the same: %q, %q, %v", message, next, err)
	}
}

func TestRecordsAndTombstonesAreForgottenInTime(t *testing.T) {
	s := New(Limits{Live: 10, Gone: 10, Idle: time.Minute})
	put(t, s, live("a", 1))
	put(t, s, gone("b"))
	put(t, s, Record{Key: "ever", Body: json.RawMessage("1")})
	put(t, s, Record{Key: "idle", Seen: began.Unix(), Until: at(2 * time.Hour), Body: json.RawMessage("1")})
	s.Forget(began.Add(time.Minute))
	if _, known := s.Get("idle"); known || s.live != 2 {
		t.Errorf("what gave no sign of life is there still, or others are not: %d", s.live)
	}
	// Nor does it come back, from a node that has not forgotten it yet.
	if news, err := s.Merge(Encode([]Record{{Key: "idle", Seen: began.Unix(), Until: at(2 * time.Hour), Body: json.RawMessage("1")}})[0], began.Add(time.Minute)); len(news) != 0 || err != nil {
		t.Errorf("%v, %v", news, err)
	}
	s.Forget(began.Add(time.Hour))
	if s.live != 1 || s.gone != 0 || count(s) != 1 {
		t.Errorf("%d live, %d gone, want the one without an end", s.live, s.gone)
	}
	if news, _ := s.Merge(Encode([]Record{live("a", 1), gone("b")})[0], began.Add(time.Hour)); len(news) != 0 {
		t.Errorf("what is over is news: %v", news)
	}
}

func TestTombstonesAreBoundedAndAlikeEverywhere(t *testing.T) {
	limits := Limits{Live: 10, Gone: 10}
	a, b := New(limits), New(limits)
	for i := range 15 {
		r := gone(fmt.Sprint("k", i))
		r.Until += int64(i)
		if i%2 == 0 {
			put(t, a, r)
		} else {
			put(t, b, r)
		}
	}
	for range 2 {
		learn(t, a, b, began)
		learn(t, b, a, began)
		a.Forget(began)
		b.Forget(began)
	}
	if a.gone != 10 || !slices.EqualFunc(a.Tombstones(), b.Tombstones(), func(a, b Record) bool { return a.compare(b) == 0 && a.Key == b.Key }) {
		t.Errorf("%d and %d, want the latest 10", a.gone, b.gone)
	}
	if _, known := a.Get("k4"); known {
		t.Error("the tombstone that would be over first is there still")
	}
}

func TestWhatOthersSendIsBounded(t *testing.T) {
	s := New(Limits{Live: 2, Gone: 2})
	put(t, s, live("a", 1))
	long := `"` + strings.Repeat("x", maxRecord) + `"`
	for name, message := range map[string]string{
		"no JSON":                 `{`,
		"no list":                 `{"k":"b"}`,
		"no key":                  `[{"b":1}]`,
		"a long key":              `[{"k":"` + strings.Repeat("x", 65) + `","b":1}]`,
		"a key with a space":      `[{"k":"a b","b":1}]`,
		"a tombstone without end": `[{"k":"a","g":true}]`,
		"a negative time":         `[{"k":"b","u":-1,"b":1}]`,
		"a long body":             `[{"k":"b","b":` + long + `}]`,
		"a body that grows":       `[{"k":"b","b":"` + strings.Repeat("<", maxRecord/4) + `"}]`, // \u003c each, when it is passed on
		"too long":                `[` + strings.Repeat(" ", MaxMessage) + `]`,
	} {
		if news, err := s.Merge([]byte(message), began); err == nil || len(news) != 0 || s.live != 1 || s.gone != 0 {
			t.Errorf("%s: %v, %v", name, news, err)
		}
	}
	if err := s.Put(Record{Key: "b", Body: []byte(`"` + strings.Repeat("<", maxRecord/4) + `"`)}); err == nil {
		t.Error("what others would not take is here")
	}
	var many []Record
	for i := range 10 {
		many = append(many, live(fmt.Sprint("m", i), 1), gone(fmt.Sprint("g", i)))
	}
	if news, err := s.Merge(Encode(many)[0], began); err == nil || len(news) != 5 || s.live != 2 || s.gone != 4 {
		t.Errorf("beyond the limits: %d news, %v, %d live, %d gone", len(news), err, s.live, s.gone)
	}
	if news, err := s.Merge(Encode([]Record{live("a", 2)})[0], began); err != nil || len(news) != 1 {
		t.Errorf("at the limit a change of what is known is not taken: %v", err)
	}
	if _, _, err := s.Differing([]byte("short"), ""); err == nil {
		t.Error("what is no digest is taken for one")
	}
}

// Nothing that another node sends makes it panic, and what is taken can be passed on.
func FuzzMerge(f *testing.F) {
	f.Add(Encode([]Record{live("a", 1), gone("b")})[0])
	f.Add([]byte(`[{"k":"a","v":1,"s":5,"u":9,"b":{"x":"\u2028"}}]`))
	f.Fuzz(func(t *testing.T, message []byte) {
		limits := Limits{Live: 100, Gone: 100, Idle: time.Hour}
		a, b := New(limits), New(limits)
		if _, err := a.Merge(message, time.Unix(10, 0)); err != nil {
			return
		}
		learn(t, b, a, time.Unix(10, 0))
		if !bytes.Equal(a.Digest(), b.Digest()) {
			t.Errorf("%q is another elsewhere", message)
		}
	})
}
