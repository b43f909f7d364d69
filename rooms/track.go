package rooms

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sightline/internal/media"
)

// maxHeld bounds the packets that wait for the beginning of a new source's first keyframe:
// its first packet may come by retransmission, after the rest.
const maxHeld = 512

// parameterPatience is how long a new source's first keyframe waits for the parameter sets
// that may have been lost before it.
const parameterPatience = 200 * time.Millisecond

// A track is what viewers play: one line of packets, whatever sources feed it in turn.
type track struct {
	id        string // "publisher/kind"
	room      string
	publisher string
	kind      media.Kind
	config    *Config
	delay     *histogram // from arrival until written to all sinks
	fan       *fan

	// turn is held by the reader that forwards, while it writes to the subscriptions.
	turn sync.Mutex
	out  spread // of the reader whose turn it is

	waiting atomic.Int32 // how many of live wait for a keyframe

	mu    sync.Mutex // guards what follows
	feed  *feed      // nil while its publisher is away
	feeds []*feed    // those whose totals are not in totals yet
	codec media.Codec
	muted bool // what comes in is forwarded as silence; never of video
	num   numbering
	ring  ring
	ids   media.PictureIDs
	live  []*Subscription // those that the reader writes to; never changed, only replaced

	restarting int // subscriptions that restart now

	viewing map[*Subscription]media.Sink // all subscriptions; nil for those that don't run

	began  bool            // the feed's first packet has its place
	held   []*media.Packet // of a feed that has not begun
	intra  *media.Packet   // of held: begins a keyframe, but for parameter sets
	params bool            // this feed's keyframes begin with parameter sets
	group  uint64          // where the last group of pictures begins; 0: none that is of use
	keyTS  uint32          // its timestamp
	from   uint64          // where a keyframe begins whose first packet came late in this burst; 0: none

	asks     keyframeRequests
	readings readings
	mapping  mapping
	arrivals leastDelay // of frames against their timestamps
	totals   totals
}

func newTrack(room, publisher string, kind media.Kind, config *Config, delay *histogram, fan *fan, now time.Time) *track {
	return &track{
		id: publisher + "/" + string(kind), room: room, publisher: publisher, kind: kind,
		config: config, delay: delay, fan: fan,
		ring:     ring{maxBytes: config.CacheBytes, maxAge: config.CacheDuration.D()},
		asks:     keyframeRequests{interval: config.KeyframeInterval.D()},
		viewing:  make(map[*Subscription]media.Sink),
		readings: readings{state: Connecting, since: now},
	}
}

// A feed is a source that feeds a track, for as long as its publication does.
type feed struct {
	source media.Source
	codec  media.Codec
	seen   *media.Codec // the codec of its newest packet
}

// attach makes f the track's feed; the one before it forwards nothing more.
func (t *track) attach(f *feed, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.feed, t.codec = f, f.codec
	t.feeds = append(t.feeds, f)
	if t.num.rate != max(f.codec.ClockRate, 1) {
		n := newNumbering(f.codec.ClockRate, t.kind == media.Audio)
		if t.num.begun { // the line goes on, at another rate
			n.next, n.newest, n.at, n.begun = t.num.next, t.num.newest, t.num.at, true
		}
		t.num = n
	}
	t.restart()
	t.num.open = false
	t.asks.attached(now)
	t.readings.attached(now)
}

// restart forgets what held for the source, or for the encoding, that was read until now.
func (t *track) restart() {
	t.began, t.held, t.intra, t.params, t.group = false, nil, nil, false, 0
	t.ids.Switch()
	t.arrivals = leastDelay{}
	t.mapping.settled, t.mapping.since = false, time.Time{} // the old one is about right: the line goes on by the wall clock
	t.readings.profile = ""
}

// detach ends f's time as the track's feed.
func (t *track) detach(f *feed, now time.Time) {
	stats := f.source.Stats()
	t.mu.Lock()
	defer t.mu.Unlock()
	addSource(&t.totals.source, stats)
	t.feeds = slices.DeleteFunc(t.feeds, func(g *feed) bool { return g == f })
	if t.feed == f {
		t.abandonLocked(now)
	}
}

// abandon leaves the track without a feed.
func (t *track) abandon(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.abandonLocked(now)
}

func (t *track) abandonLocked(now time.Time) {
	t.feed = nil
	t.readings.detached(now)
	t.restart()
}

// current returns what feeds the track now, or nil.
func (t *track) current() *feed {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.feed
}

// read forwards what f's source brings until that ends, or f is the track's feed no longer.
func (t *track) read(f *feed) error {
	var burst []*media.Packet
	var err error
	for {
		if burst, err = f.source.ReadBurst(burst[:0]); len(burst) > 0 && !t.forward(f, burst) {
			return ErrReplaced
		}
		if err != nil {
			return err
		}
		clear(burst)
	}
}

// forward gives a burst its places in the track's line and writes it to all subscriptions.
// It returns false if f is the track's feed no longer.
func (t *track) forward(f *feed, burst []*media.Packet) bool {
	t.turn.Lock()
	defer t.turn.Unlock()
	now := time.Now()

	t.mu.Lock()
	if t.feed != f {
		t.mu.Unlock()
		return false
	}
	t.out.batch, t.out.replay = t.out.batch[:0], t.out.replay[:0]
	for _, p := range burst {
		t.ingest(p, now)
	}
	if t.from != 0 {
		t.again()
	}
	t.out.live, t.out.now = t.live, now
	ask := t.asks.due(now, t.needy())
	t.mu.Unlock()

	if ask {
		f.source.RequestKeyframe()
	}
	if len(t.out.batch) == 0 {
		return true
	}
	t.fan.forward(&t.out)
	t.delay.observe(time.Since(t.out.batch[0].Arrival))
	clear(t.out.batch)
	clear(t.out.replay)
	t.out.live = nil
	return true
}

// needy reports whether a keyframe is waited for.
func (t *track) needy() bool {
	return t.kind == media.Video && (t.waiting.Load() > 0 || !t.began)
}

// ingest appends to batch what p brings: nothing, or p, or what had to wait for it.
func (t *track) ingest(p *media.Packet, now time.Time) {
	if p.Arrival.IsZero() {
		q := *p
		q.Arrival, p = now, &q
	}
	if p.Codec == nil {
		q := *p
		q.Codec, p = &t.feed.codec, &q
	}
	if t.feed.seen != p.Codec {
		t.feed.seen, t.codec = p.Codec, *p.Codec
	}
	t.readings.packet(p)
	if p.Discontinuity {
		t.restart()
		t.begin(p, false)
		return
	}
	if !t.began {
		t.hold(p)
		return
	}
	t.place(p)
}

// hold waits for the beginning of a new source's first keyframe, and begins with it.
func (t *track) hold(p *media.Packet) {
	if len(p.Payload) == 0 {
		return
	}
	if t.kind == media.Audio {
		t.begin(p, false)
		return
	}
	first := t.intra
	switch start := media.StartOf(p.Codec, p.Payload); {
	case start == media.ParameterStart:
		first = p
	case first != nil && p.Arrival.Sub(first.Arrival) > parameterPatience:
	case first == nil && start == media.IntraStart:
		t.intra = p
		fallthrough
	default:
		if len(t.held) == maxHeld {
			t.held = t.held[:copy(t.held, t.held[1:])]
		}
		t.held = append(t.held, p)
		return
	}
	held := append(t.held, p)
	t.begin(first, false)
	for _, h := range held { // older ones find no place
		if int16(h.Sequence-first.Sequence) > 0 {
			t.place(h)
		}
	}
}

// begin starts a new stretch of the line with p.
func (t *track) begin(p *media.Packet, lost bool) {
	if t.num.begun && t.kind == media.Audio && !p.Marker {
		// The first packet after a pause is marked (RFC 7587, section 4.2).
		q := *p
		q.Marker, p = true, &q
	}
	t.began, t.held, t.intra = true, nil, nil
	t.num.begin(p, p.Arrival, lost)
	t.place(p)
}

// place gives p its place in the line and in the ring, and in the batch.
func (t *track) place(p *media.Packet) {
	seq, ts, v := t.num.place(p, p.Arrival)
	switch v {
	case drop:
		return
	case resync:
		first := t.num.suspect
		start := media.StartOf(first.Codec, first.Payload) != media.NoStart
		lost := !start && !t.num.continues(first)
		if start || lost {
			t.ids.Switch()
		}
		t.begin(first, lost)
		t.place(p)
		return
	}
	if t.kind == media.Video {
		if payload := t.ids.Rewrite(p.Codec, p.Payload); len(payload) > 0 && &payload[0] != &p.Payload[0] {
			q := *p
			q.Payload, p = payload, &q
		}
	} else if t.muted {
		p = silent(p)
	}
	n := numbered{Packet: p, seq: seq, ts: ts, late: v == late}
	t.keyframe(&n)
	if !t.ring.put(n, t.group) {
		return
	}
	if v == forward && len(p.Payload) > 0 && (ts == t.num.newest && t.readings.frame(ts, p.Arrival)) {
		t.arrivals.frame(ts, t.num.rate, p.Arrival)
	}
	t.out.batch = append(t.out.batch, n)
	if n.late && n.start {
		t.from = seq
	}
}

// silent returns a packet in whose time nothing is heard, in the place of p.
func silent(p *media.Packet) *media.Packet {
	q := *p
	q.Payload = media.Silence(p.Codec, p.Payload)
	if q.HasLevel {
		q.Level, q.Voice = 127, false // silence (RFC 6464, section 3)
	}
	return &q
}

// mute makes the packets that come in from now on silence, or leaves them as they are again.
// It does nothing to video.
func (t *track) mute(muted bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.muted = muted && t.kind == media.Audio
}

// keyframe notes whether n begins one.
func (t *track) keyframe(n *numbered) {
	if t.kind != media.Video {
		n.start = true
		return
	}
	start := media.StartOf(n.Codec, n.Payload)
	if start == media.NoStart {
		return
	}
	if start == media.ParameterStart {
		t.params = true
	} else if _, ok := t.ring.get(n.seq - 1); t.params && !ok {
		return // its parameter sets may be what is missing before it, and late
	}
	if n.late && n.seq < t.group && n.ts != t.keyTS {
		return // of an older group
	}
	if picture, ok := media.Describe(n.Codec, n.Payload); ok {
		t.readings.picture(picture)
	}
	if t.group != 0 && n.ts == t.keyTS { // further parts of the same keyframe
		if n.seq > t.group {
			return
		}
	} else {
		t.readings.keyframe(n.Arrival, t.asks.answered(n.Arrival))
	}
	n.start = true
	t.group, t.keyTS = n.seq, n.ts
}

// again collects the packets of a keyframe whose first came late, and what follows, for
// those that wait for a keyframe: they let these pass.
func (t *track) again() {
	for seq := t.from; seq < t.ring.next; seq++ {
		if n, ok := t.ring.get(seq); ok {
			n.late = false
			t.out.replay = append(t.out.replay, n)
		}
	}
	t.from = 0
}

// requestKeyframe asks the source for a keyframe, or remembers to do so when the last
// request is long enough ago.
func (t *track) requestKeyframe(now time.Time) {
	t.mu.Lock()
	t.totals.keyframeRequests++
	t.asks.pending = true
	t.mu.Unlock()
	t.askAgain(now)
}

// askAgain asks for a keyframe if that is due.
func (t *track) askAgain(now time.Time) {
	t.mu.Lock()
	f := t.feed
	ask := f != nil && t.kind == media.Video && t.asks.due(now, t.needy())
	t.mu.Unlock()
	if ask {
		f.source.RequestKeyframe()
	}
}
