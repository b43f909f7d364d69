package forward

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"sightline/internal/cluster"
	"sightline/internal/httpapi"
)

// gatherFor is how long the other nodes have to tell their rooms.
const gatherFor = 500 * time.Millisecond

// A list is the JSON of GET /api/rooms.
type list struct {
	Rooms   []json.RawMessage `json:"rooms"`
	Missing []string          `json:"missing,omitempty"` // nodes that have not answered in time
}

// gather answers GET /api/rooms with the rooms of all nodes.
func (f *Forwarder) gather(c *gin.Context) {
	c.Abort() // all is said here
	asked := c.Request.Clone(c.Request.Context())
	for _, name := range []string{"If-None-Match", "If-Modified-Since", "Accept-Encoding"} {
		asked.Header.Del(name) // parts have no tag of their own
	}
	data, err := pack(asked, nil, httpapi.ArrivalOf(c))
	if err != nil {
		httpapi.Fail(c, err)
		return
	}
	members := f.node.Members()
	parts := make([]list, len(members))
	fine := make([]bool, len(members))
	ctx, cancel := context.WithTimeout(c.Request.Context(), gatherFor)
	defer cancel()
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() { parts[i], fine[i] = f.roomsOf(ctx, m, data) })
	}
	wg.Wait()
	var out list
	by := make(map[string][]json.RawMessage) // of each node, by id
	for i, m := range members {
		if !fine[i] {
			out.Missing = append(out.Missing, m.Name)
			continue
		}
		by[m.ID] = parts[i].Rooms
	}
	out.Rooms = f.merge(by)
	body, err := json.Marshal(out)
	if err == nil {
		err = httpapi.Answer(c, "application/json", body)
	}
	if err != nil {
		httpapi.Fail(c, err)
	}
}

// roomsOf asks a node for its rooms.
func (f *Forwarder) roomsOf(ctx context.Context, m cluster.Member, data []byte) (l list, ok bool) {
	var answer []byte
	var err error
	if m.ID == f.node.Self().ID {
		answer, err = f.serve(ctx, cluster.Member{}, data)
	} else {
		answer, err = f.node.Call(ctx, m, Verb, data)
	}
	if err != nil {
		return l, false
	}
	res, body, err := readResponse(answer, m.Name)
	if err != nil || res.StatusCode != http.StatusOK || json.Unmarshal(body, &l) != nil {
		return list{}, false
	}
	return l, true
}

// merge returns the rooms of several nodes by name, each once: as its owner has it, if that has
// answered, where others show it too, for a moment after it has moved.
func (f *Forwarder) merge(by map[string][]json.RawMessage) []json.RawMessage {
	rooms := make(map[string]json.RawMessage)
	for id, list := range by {
		for _, room := range list {
			name := nameOf(room)
			to, owned := f.node.Owner(name)
			if _, answered := by[to.ID]; !owned || !answered || to.ID == id {
				rooms[name] = room
			}
		}
	}
	out := make([]json.RawMessage, 0, len(rooms))
	for _, name := range slices.Sorted(maps.Keys(rooms)) {
		out = append(out, rooms[name])
	}
	return out
}

// nameOf returns the name of a room of the API.
func nameOf(room json.RawMessage) string {
	var r struct{ Name string }
	_ = json.Unmarshal(room, &r) // a room without a name is one of "", and bounded so
	return r.Name
}
