package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"sightline/internal/bridge"
	"sightline/internal/cluster"
	"sightline/internal/httpapi"
	"sightline/internal/rtc"
	"sightline/rooms"
)

// A local is this gateway as its node of the cluster sees it: a cluster.Local.
type local struct {
	registry *rooms.Registry
	mixer    *bridge.Bridge
	peers    *rtc.Engine
	sessions *httpapi.Resources
	limits   limits
	log      *slog.Logger

	mu        sync.Mutex // guards what follows
	processor rate       // seconds of it
	egress    rate       // bits
	states    []rooms.RoomState
	lost      map[string]int // sessions of the rooms that were given away, as this gateway leaves
}

// limits are what a load is a share of; 0: not known.
type limits struct {
	processors int
	egress     float64 // bit/s
	sessions   int     // of all kinds
	viewers    int
	rooms      int
}

// limitsOf returns the limits of a gateway that is about to begin. The bridge lends Go more
// processors than there are, so they are counted before.
func limitsOf(c cluster.Config, r rooms.Config) limits {
	return limits{
		processors: runtime.GOMAXPROCS(0), egress: float64(c.MaxEgress) * 1e6,
		sessions: c.MaxSessions, viewers: r.MaxViewers, rooms: r.MaxRooms,
	}
}

func newLocal(registry *rooms.Registry, mixer *bridge.Bridge, peers *rtc.Engine, sessions *httpapi.Resources, l limits, log *slog.Logger) *local {
	return &local{registry: registry, mixer: mixer, peers: peers, sessions: sessions, limits: l, log: log, lost: make(map[string]int)}
}

// Load tells processor and egress as means of the last seconds, and of all that is counted by
// sessions and rooms the greatest share: at whichever limit the next room would be refused.
func (l *local) Load() cluster.Load {
	open, viewers := l.registry.Count()
	now, used, sent := time.Now(), processorTime(), l.peers.SentBytes()
	l.mu.Lock()
	defer l.mu.Unlock()
	return cluster.Load{
		Processor: portion(l.processor.take(used.Seconds(), now), float64(l.limits.processors)),
		Egress:    portion(l.egress.take(8*float64(sent), now), l.limits.egress),
		Sessions: max(
			portion(float64(l.sessions.Len()), float64(l.limits.sessions)),
			portion(float64(viewers), float64(l.limits.viewers)),
			portion(float64(open), float64(l.limits.rooms)),
		),
		Rooms: open,
	}
}

// portion returns 0 where the limit is not known.
func portion(used, limit float64) float64 {
	if limit <= 0 {
		return 0
	}
	return used / limit
}

// smoothed is over how long a rate is a mean: long enough that a keyframe to hundreds of viewers is
// no load, and short enough that rooms which begin at the same time do not all come to one node.
const smoothed = 3 * time.Second

// A rate is the growth of a total in a second, as an exponential mean.
type rate struct {
	at    time.Time // when total was read; zero: never
	total float64
	mean  float64
}

func (r *rate) take(total float64, now time.Time) float64 {
	passed := now.Sub(r.at).Seconds()
	if !r.at.IsZero() && passed > 0 {
		weight := 1 - math.Exp(-passed/smoothed.Seconds())
		r.mean += weight * ((total-r.total)/passed - r.mean)
	}
	if r.at.IsZero() || passed > 0 {
		r.at, r.total = now, total
	}
	return r.mean
}

// Rooms adds to what the registry knows who listens to a mix: somebody may do so in a room in which
// nothing else is.
func (l *local) Rooms() []cluster.RoomState {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.states = l.registry.RoomStates(l.states[:0])
	out := make([]cluster.RoomState, len(l.states))
	for i, s := range l.states {
		out[i] = cluster.RoomState(s)
	}
	clear(l.states) // it keeps nothing of rooms that are gone
	audiences := make(map[string]int)
	l.mixer.Audiences(func(room string, listeners int) { audiences[room] = listeners })
	if len(audiences) == 0 {
		return out
	}
	for i := range out {
		out[i].Sessions += audiences[out[i].Room]
		delete(audiences, out[i].Room)
	}
	for _, room := range slices.Sorted(maps.Keys(audiences)) {
		out = append(out, cluster.RoomState{Room: room, Sessions: audiences[room]})
	}
	return out
}

// Lost ends the sessions of the room.
func (l *local) Lost(room string, to cluster.Member, why cluster.Why) {
	sessions := l.mixer.Move(room)
	sessions += l.registry.Move(room, string(why))
	l.log.Info("room is on another node now", "room", room, "node", to.Name, "reason", string(why), "sessions", sessions)
	if why == cluster.Drained && sessions > 0 {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.lost[room] = sessions
	}
}

// Taken lets the registry await who was in the room, and keep the mutes.
func (l *local) Taken(room string, keep cluster.Keep) { l.registry.Keep(room, keep.Muted) }

// departed returns the rooms that were given away, with their sessions then.
func (l *local) departed() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.lost)
}

// A leaver is what leaving needs of a cluster.Node.
type leaver interface {
	Members() []cluster.Member
	Drain(ctx context.Context) error
	Directory() []cluster.Entry
}

// A departure is how this gateway leaves its cluster.
type departure struct {
	node   leaver
	local  *local
	recall func() // of publishers that were lent to who has their rooms now
}

const (
	// patience is for how long after somebody has come back others are waited for. Pages are back within a
	// second. Who is not by then may never be: FFmpeg is not told of a move, and goes when the process does.
	patience = 1500 * time.Millisecond
	// look is between two looks at who is back, as often as nodes tell the numbers of a room.
	look = 100 * time.Millisecond
)

// leave gives all rooms to other nodes, and waits until who was in them has come to those, by this
// gateway if need be: it still answers, and forwards. It returns when nobody comes any more, when ctx is
// done at the latest, and at once if there is no other node. Who would not have come is in his room until then.
func (d departure) leave(ctx context.Context, log *slog.Logger) {
	defer d.recall()
	if len(d.node.Members()) < 2 {
		log.Info("there is no other node to give the rooms to")
		return
	}
	if err := d.node.Drain(ctx); err != nil {
		log.Warn("not all rooms could be given away", "err", err)
	}
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	fewest, came := math.MaxInt, time.Now()
	for {
		rooms, sessions := d.missing()
		if sessions < fewest {
			fewest, came = sessions, time.Now()
		}
		cause := error(nil)
		switch {
		case sessions == 0:
			log.Info("who was in the rooms that were given away is at other nodes")
			return
		case time.Since(came) >= patience:
			cause = errNobodyComes
		case ctx.Err() != nil:
			cause = context.Cause(ctx)
		}
		if cause != nil {
			log.Warn("not everybody has come back at another node", "rooms", shorten(rooms), "sessions", sessions, "cause", cause)
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}

var errNobodyComes = fmt.Errorf("nobody has come for %v", patience)

// missing returns the rooms that have fewer sessions where they are now than they had here, and how many
// fewer all of them have.
func (d departure) missing() (rooms []string, sessions int) {
	missing := d.local.departed()
	for _, e := range d.node.Directory() {
		if missing[e.Room] -= e.Sessions; missing[e.Room] <= 0 {
			delete(missing, e.Room)
		}
	}
	for _, n := range missing {
		sessions += n
	}
	return slices.Sorted(maps.Keys(missing)), sessions
}

// shorten names some of what may be many.
func shorten(names []string) string {
	const most = 5
	if len(names) > most {
		return strings.Join(names[:most], " ") + " …"
	}
	return strings.Join(names, " ")
}
