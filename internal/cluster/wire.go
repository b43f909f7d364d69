package cluster

import (
	"cmp"
	"encoding/json"
	"hash/fnv"
	"time"
)

// All that nodes tell of the directory goes by one topic, so that it stays in order for each
// sender: a beat says what the changes before it must have come to. It is JSON; fields and
// verbs that a node does not know are passed over, so that versions can run side by side.
const topic = "directory"

// Verbs of calls.
const (
	verbPlace   = "directory.place"   // to an arbiter: where does this room go
	verbTake    = "directory.take"    // to the new owner: have it
	verbChanges = "directory.changes" // to a node: what has changed with your rooms since
	verbPing    = "directory.ping"
)

// What comes from other nodes is cut to these bounds, or not taken.
const (
	maxMembers  = 1000
	maxRooms    = 20_000    // of one node
	maxBytes    = 32 << 20  // of the records of one node, in memory
	maxAllBytes = 256 << 20 // of those of all nodes
	maxName     = 128       // bytes of a room's, track's, publisher's or node's name
	maxNames    = 256       // in a list of a record
	maxURL      = 1024
	maxEpoch    = 1 << 62   // so that one more is always more
	maxMessage  = 256 << 10 // bytes of a message that we make, but for the last record in it
)

// A message is what is told by the topic: one of its members.
type message struct {
	Beat    *beat    `json:"b,omitempty"`
	Changes *changes `json:"c,omitempty"`
	Bye     bool     `json:"x,omitempty"`
}

// A beat says that its sender is there, and what who has missed nothing knows of it.
type beat struct {
	Seq      uint64 `json:"q"` // grows with each
	Name     string `json:"a"`
	URL      string `json:"u,omitempty"`
	Version  string `json:"v,omitempty"`
	Since    int64  `json:"t"` // Unix time, ms
	Load     Load   `json:"l"`
	Draining bool   `json:"d,omitempty"`
	Full     bool   `json:"f,omitempty"`
	Busy     bool   `json:"y,omitempty"`
	Young    bool   `json:"j,omitempty"` // is no arbiter as long as there are others

	Number uint64 `json:"n"` // of its last change
	Rooms  int    `json:"r"`
	Digest uint64 `json:"h"`
}

// Changes are a node's own rooms that are not as they were: all those with a number above
// After and up to Upto, in order. They are told as they happen, and answer a call.
type changes struct {
	After uint64   `json:"a"`
	Upto  uint64   `json:"u"`
	Full  bool     `json:"f,omitempty"` // an answer that begins anew: what is not in it and its successors is no more
	More  bool     `json:"m,omitempty"` // ask again, after Upto
	Began uint64   `json:"b,omitempty"` // of Full: the node's last change when it began
	Rooms []record `json:"r"`
}

// A record is what a node says of a room of its own.
type record struct {
	Room       string   `json:"r"`
	Number     uint64   `json:"n"` // of the change
	Epoch      uint64   `json:"e"`
	Since      int64    `json:"t"` // Unix time of the claim, ms; for people
	Publishers int      `json:"p,omitempty"`
	Deaf       int      `json:"d,omitempty"`
	Sessions   int      `json:"s,omitempty"`
	Tracks     []string `json:"k,omitempty"`
	Muted      []string `json:"m,omitempty"`
	From       string   `json:"f,omitempty"` // the node that gave it away
	Weight     *weight  `json:"w,omitempty"` // frozen, as long as another claims the room
	Gone       bool     `json:"g,omitempty"` // the node has it no more
}

func (r *record) state() RoomState {
	return RoomState{Room: r.Room, Publishers: r.Publishers, Deaf: r.Deaf, Sessions: r.Sessions, Tracks: r.Tracks, Muted: r.Muted}
}

// size is about what the record takes in memory, in bytes.
func (r *record) size() int {
	n := 200 + len(r.Room)
	for _, list := range [][]string{r.Tracks, r.Muted} {
		for _, s := range list {
			n += 16 + len(s)
		}
	}
	return n
}

// bound cuts what another node says to what may be, and reports whether that makes a record.
func (r *record) bound() bool {
	r.Publishers, r.Deaf, r.Sessions = max(r.Publishers, 0), max(r.Deaf, 0), max(r.Sessions, 0)
	r.Tracks, r.Muted = boundNames(r.Tracks), boundNames(r.Muted)
	r.Epoch = min(r.Epoch, maxEpoch)
	r.From = cut(r.From, maxName)
	return r.Room != "" && len(r.Room) <= maxName
}

// boundNames leaves out what is too much. It never changes the list that it is given.
func boundNames(list []string) []string {
	if len(list) > maxNames {
		list = list[:maxNames]
	}
	for i, s := range list {
		if len(s) > maxName {
			out := append([]string(nil), list[:i]...)
			for _, s := range list[i:] {
				if len(s) <= maxName {
					out = append(out, s)
				}
			}
			return out
		}
	}
	return list
}

func cut(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// A weight is how much a room's claim is worth, frozen when another node claims it too.
type weight struct {
	Deaf       int           `json:"d,omitempty"` // publishers that would not come back for long
	Publishers int           `json:"p"`
	Sessions   int           `json:"s"`
	Age        time.Duration `json:"a"` // of the claim, by the clock of the node that has it
}

// compareWeights is a total order of claims. The last words are the names and ids of the
// nodes, of which the smaller one wins.
func compareWeights(a weight, aName, aID string, b weight, bName, bID string) int {
	return cmp.Or(
		cmp.Compare(a.Deaf, b.Deaf),
		cmp.Compare(a.Publishers, b.Publishers),
		cmp.Compare(a.Sessions, b.Sessions),
		cmp.Compare(a.Age, b.Age),
		cmp.Compare(bName, aName),
		cmp.Compare(bID, aID),
	)
}

// heavier reports whether a weighs more than b, of whatever nodes.
func (a weight) heavier(b weight) bool { return compareWeights(a, "", "", b, "", "") > 0 }

type placeRequest struct {
	Room  string   `json:"r"`
	Epoch uint64   `json:"e"` // the last that the entry knows
	Muted []string `json:"m,omitempty"`
}

type takeRequest struct {
	Room  string   `json:"r"`
	Epoch uint64   `json:"e"` // the new one, at least
	Muted []string `json:"m,omitempty"`
	From  string   `json:"f,omitempty"` // the node that gives the room away
	Died  bool     `json:"d,omitempty"` // its last owner has

	Weight *weight `json:"w,omitempty"` // of the room, that From has told
}

// size is about what the room will take in memory, in bytes.
func (t *takeRequest) size() int { return (&record{Room: t.Room, Muted: t.Muted}).size() }

// An ownerAnswer answers a placeRequest and a takeRequest.
type ownerAnswer struct {
	Owner  string `json:"o,omitempty"`
	Epoch  uint64 `json:"e,omitempty"`
	Refuse string `json:"x,omitempty"` // why there is no owner
}

type changesRequest struct {
	After uint64 `json:"a"`
	Began uint64 `json:"b,omitempty"` // of the answer that this asks to go on with, if that was Full
}

// mark is what a record adds to its node's digest, which is the sum of all: a number is used
// once, so it stands for what the record says.
func mark(room string, number uint64) uint64 { return mix(hash(room) + number*0x9e3779b97f4a7c15) }

// rank orders the nodes for a room, each room otherwise (rendezvous hash).
func rank(room, id string) uint64 { return mix(hash(room) ^ mix(hash(id))) }

func hash(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	return h.Sum64()
}

// mix is the finalizer of SplitMix64: FNV alone leaves similar names close together.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic("cluster: a message that is no JSON: " + err.Error()) // only of our own types: share keeps NaN out of a Load
	}
	return data
}

// pack cuts records, in order of their numbers, into changes that are small enough to send.
func pack(after uint64, records []record) []changes {
	var out []changes
	for len(records) > 0 {
		n, size := 0, 0
		for n < len(records) && size < maxMessage {
			size += records[n].encodedSize()
			n++
		}
		upto := records[n-1].Number
		out = append(out, changes{After: after, Upto: upto, Rooms: records[:n:n]})
		after, records = upto, records[n:]
	}
	return out
}

// encodedSize is at least the length of the record in a message, unless names need escapes;
// those make it six times longer at worst.
func (r *record) encodedSize() int {
	n := 200 + len(r.Room) + len(r.From)
	for _, list := range [][]string{r.Tracks, r.Muted} {
		for _, s := range list {
			n += 3 + len(s)
		}
	}
	return n
}
