package metrics

import (
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"sightline/internal/media"
	"sightline/rooms"
)

// A trackMetric is one number of each track.
type trackMetric struct {
	desc *prometheus.Desc

	// value returns false while there is nothing to tell.
	value func(*rooms.TrackSnapshot) (float64, bool)

	// merge makes one gauge of those of the tracks that have no label values of their
	// own; nil for a counter.
	merge func(a, b float64) float64
}

func perTrack(name, help string) *prometheus.Desc {
	return desc("track_"+name, help, "room", "publisher", "kind")
}

func counter(name, help string, value func(*rooms.TrackSnapshot) uint64) trackMetric {
	return trackMetric{desc: perTrack(name, help), value: func(t *rooms.TrackSnapshot) (float64, bool) {
		return float64(value(t)), true
	}}
}

func gauge(name, help string, merge func(a, b float64) float64, value func(*rooms.TrackSnapshot) (float64, bool)) trackMetric {
	return trackMetric{perTrack(name, help), value, merge}
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

func add(a, b float64) float64   { return a + b }
func worst(a, b float64) float64 { return max(a, b) }
func least(a, b float64) float64 { return min(a, b) }

var trackState = desc("track_state", "1 for the state that the track is in, 0 for the others.", "room", "publisher", "kind", "state")

// trackMetrics are all that there is of each track but its state. Those of the source are
// the publisher's leg, those of the sinks the viewers'.
var trackMetrics = []trackMetric{
	counter("received_packets_total", "RTP packets that came from the publisher, without duplicates.",
		func(t *rooms.TrackSnapshot) uint64 { return t.Source.Packets }),
	counter("received_bytes_total", "RTP payload bytes that came from the publisher.",
		func(t *rooms.TrackSnapshot) uint64 { return t.Source.Bytes }),
	counter("lost_packets_total", "RTP packets of the publisher that never came, not even after retransmission.",
		func(t *rooms.TrackSnapshot) uint64 { return t.Source.Lost }),
	counter("repaired_packets_total", "RTP packets of the publisher that came by retransmission.",
		func(t *rooms.TrackSnapshot) uint64 { return t.Source.Repaired }),
	counter("duplicate_packets_total", "RTP packets of the publisher that came more than once.",
		func(t *rooms.TrackSnapshot) uint64 { return t.Source.Duplicates }),
	counter("discarded_packets_total", "RTP packets of the publisher that were dropped: the reader's queue was full, or they came too late.",
		func(t *rooms.TrackSnapshot) uint64 { return t.Source.Discarded }),
	counter("sent_nacks_total", "Sequence numbers that were asked of the publisher again, with repetitions.",
		func(t *rooms.TrackSnapshot) uint64 { return t.Source.Requested }),
	counter("sent_keyframe_requests_total", "Keyframe requests (PLI or FIR) that went to the publisher.",
		func(t *rooms.TrackSnapshot) uint64 { return t.Source.Keyframes }),
	counter("wanted_keyframes_total", "Keyframes that viewers wanted, before their wishes were coalesced.",
		func(t *rooms.TrackSnapshot) uint64 { return t.KeyframeRequests }),

	counter("sent_packets_total", "RTP packets that went to viewers, without retransmissions.",
		func(t *rooms.TrackSnapshot) uint64 { return t.Sinks.Packets }),
	counter("sent_bytes_total", "RTP payload bytes that went to viewers, without retransmissions.",
		func(t *rooms.TrackSnapshot) uint64 { return t.Sinks.Bytes }),
	counter("dropped_packets_total", "RTP packets that were not sent to a viewer because the path was full.",
		func(t *rooms.TrackSnapshot) uint64 { return t.Sinks.Dropped }),
	counter("retransmitted_packets_total", "RTP packets that were sent to viewers again.",
		func(t *rooms.TrackSnapshot) uint64 { return t.Sinks.Resent }),
	counter("viewer_lost_packets_total", "RTP packets that viewers have reported as lost.",
		func(t *rooms.TrackSnapshot) uint64 { return t.Sinks.Lost }),
	counter("viewer_nacks_total", "Sequence numbers that viewers asked for again.",
		func(t *rooms.TrackSnapshot) uint64 { return t.Sinks.NACKs }),
	counter("viewer_keyframe_requests_total", "Keyframe requests (PLI or FIR) that came from viewers.",
		func(t *rooms.TrackSnapshot) uint64 { return t.Sinks.Keyframes }),

	gauge("viewers", "Viewers of the track.", add,
		func(t *rooms.TrackSnapshot) (float64, bool) { return float64(t.Viewers), true }),
	gauge("bitrate", "Bits per second of RTP payload from the publisher, over the last seconds.", add,
		func(t *rooms.TrackSnapshot) (float64, bool) { return float64(t.Bitrate), true }),
	gauge("muted", "1 while the track is forwarded as silence, because its publisher is muted.", worst,
		func(t *rooms.TrackSnapshot) (float64, bool) { return number(t.Muted), t.Kind == media.Audio }),
	gauge("frames_per_second", "Frames per second from the publisher, over the last seconds.", least,
		func(t *rooms.TrackSnapshot) (float64, bool) { return t.FrameRate, t.Kind == media.Video }),
	gauge("width_pixels", "Width of the picture.", least,
		func(t *rooms.TrackSnapshot) (float64, bool) { return float64(t.Width), t.Width > 0 }),
	gauge("height_pixels", "Height of the picture.", least,
		func(t *rooms.TrackSnapshot) (float64, bool) { return float64(t.Height), t.Height > 0 }),
	gauge("packet_age_seconds", "Time since the last packet from the publisher.", worst,
		func(t *rooms.TrackSnapshot) (float64, bool) { return t.PacketAge.Seconds(), t.PacketAge >= 0 }),
	gauge("keyframe_age_seconds", "Time since the last keyframe from the publisher.", worst,
		func(t *rooms.TrackSnapshot) (float64, bool) {
			return t.KeyframeAge.Seconds(), t.KeyframeAge >= 0 && t.Kind == media.Video
		}),
	gauge("keyframe_interval_seconds", "Time between the last two keyframes that nobody asked for.", worst,
		func(t *rooms.TrackSnapshot) (float64, bool) {
			return t.KeyframeInterval.Seconds(), t.KeyframeInterval > 0 && t.Kind == media.Video
		}),
	gauge("publisher_rtt_seconds", "Round trip to the publisher.", worst,
		func(t *rooms.TrackSnapshot) (float64, bool) { return t.RTT.Seconds(), t.RTT > 0 }),
	gauge("publisher_jitter_seconds", "Interarrival jitter of the publisher's packets (RFC 3550).", worst,
		func(t *rooms.TrackSnapshot) (float64, bool) { return t.Source.Jitter.Seconds(), t.PacketAge >= 0 }),
	gauge("publisher_loss_ratio", "Fraction of the publisher's packets that was lost over the last seconds, before repair.", worst,
		func(t *rooms.TrackSnapshot) (float64, bool) { return t.Loss, t.PacketAge >= 0 }),
	gauge("viewer_rtt_seconds", "Round trip to the viewers, mean.", worst,
		func(t *rooms.TrackSnapshot) (float64, bool) {
			return t.Sinks.RTT.Seconds(), t.Viewers > 0 && t.Sinks.RTT > 0
		}),
	gauge("viewer_jitter_seconds", "Interarrival jitter that viewers have last reported, mean.", worst,
		func(t *rooms.TrackSnapshot) (float64, bool) { return t.Sinks.Jitter.Seconds(), t.Viewers > 0 }),
	gauge("viewer_loss_ratio", "Fraction of packets that viewers have last reported as lost, mean.", worst,
		func(t *rooms.TrackSnapshot) (float64, bool) { return t.Sinks.Loss, t.Viewers > 0 }),
}

// labels decides which publishers have label values of their own.
//
// A publisher keeps what it was given for as long as it is there: one that changed over
// would make its counters jump. The counters of those in "other" are added up here from
// scrape to scrape, because a sum over them would fall when one of them leaves, which
// Prometheus takes for a restart.
type labels struct {
	max int

	own   map[name]bool            // publishers of now; false: in "other"
	count int                      // of those with values of their own
	last  map[trackName][]float64  // counters at the last scrape, of the tracks in "other"
	sum   map[media.Kind][]float64 // counters of "other"; both in the order of trackMetrics
}

// A name is a publisher's.
type name struct{ room, publisher string }

type trackName struct {
	name
	kind media.Kind
}

func newLabels(most int) labels {
	return labels{
		max:  most,
		own:  make(map[name]bool),
		last: make(map[trackName][]float64),
		sum:  make(map[media.Kind][]float64),
	}
}

// assign gives every publisher of now its place, and forgets those that have left.
func (l *labels) assign(tracks []rooms.TrackSnapshot) {
	now := make(map[name]bool, len(tracks))
	for i := range tracks {
		now[name{tracks[i].Room, tracks[i].Publisher}] = true
	}
	for n, own := range l.own {
		if !now[n] {
			delete(l.own, n)
			if own {
				l.count--
			}
		}
	}
	maps.DeleteFunc(l.last, func(t trackName, _ []float64) bool { return !now[t.name] })
	for i := range tracks { // in their order, so that it is the same each time
		n := name{tracks[i].Room, tracks[i].Publisher}
		if _, known := l.own[n]; known {
			continue
		}
		// A publisher of the very name of the rest can't be told from it.
		l.own[n] = l.count < l.max && n != name{other, other}
		if l.own[n] {
			l.count++
		}
	}
}

// addUp adds what a track in "other" has counted since the last scrape to the sum of its
// kind.
func (l *labels) addUp(t *rooms.TrackSnapshot) {
	id := trackName{name{t.Room, t.Publisher}, t.Kind}
	sum := l.sum[t.Kind]
	if sum == nil {
		sum = make([]float64, len(trackMetrics))
		l.sum[t.Kind] = sum
	}
	now := make([]float64, len(trackMetrics))
	last := l.last[id]
	for i, m := range trackMetrics {
		if m.merge != nil {
			continue
		}
		now[i], _ = m.value(t)
		grown := now[i]
		if last != nil && now[i] >= last[i] { // else it is another track of that name
			grown -= last[i]
		}
		sum[i] += grown
	}
	l.last[id] = now
}

// collectTracks writes the metrics of each track, and of all those in "other" together.
func (c *collector) collectTracks(w writer, tracks []rooms.TrackSnapshot) {
	c.labels.assign(tracks)
	rest := make(map[media.Kind][]*rooms.TrackSnapshot)
	for i := range tracks {
		t := &tracks[i]
		if !c.labels.own[name{t.Room, t.Publisher}] {
			rest[t.Kind] = append(rest[t.Kind], t)
			c.labels.addUp(t)
			continue
		}
		values := []string{t.Room, t.Publisher, kindLabel(t.Kind)}
		for _, m := range trackMetrics {
			v, ok := m.value(t)
			switch {
			case m.merge == nil:
				w.counter(m.desc, v, values...)
			case ok:
				w.gauge(m.desc, v, values...)
			}
		}
		w.states(values, t)
	}
	for _, kind := range slices.Sorted(maps.Keys(c.labels.sum)) {
		values := []string{other, other, kindLabel(kind)}
		for i, m := range trackMetrics {
			if m.merge == nil {
				w.counter(m.desc, c.labels.sum[kind][i], values...)
			} else if v, ok := m.merged(rest[kind]); ok {
				w.gauge(m.desc, v, values...)
			}
		}
		w.states(values, rest[kind]...)
	}
	w.gauge(unlabelled, float64(len(c.labels.own)-c.labels.count))
}

// merged makes one gauge of those of several tracks.
func (m *trackMetric) merged(tracks []*rooms.TrackSnapshot) (float64, bool) {
	var out float64
	var any bool
	for _, t := range tracks {
		v, ok := m.value(t)
		switch {
		case !ok:
		case !any:
			out, any = v, true
		default:
			out = m.merge(out, v)
		}
	}
	return out, any
}

// states writes how many of the tracks are in each state.
func (w writer) states(values []string, tracks ...*rooms.TrackSnapshot) {
	for _, state := range states {
		var n int
		for _, t := range tracks {
			if t.State == state {
				n++
			}
		}
		w.gauge(trackState, float64(n), append(slices.Clip(values), string(state))...)
	}
}
