package metrics

import (
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"sightline/internal/certs"
	"sightline/internal/httpapi"
	"sightline/internal/media"
	"sightline/internal/rtc"
	"sightline/internal/signin"
	"sightline/rooms"
)

// other is the label value of what has none of its own.
const other = "other"

// A collector makes metrics of what the gateway's parts say when it is scraped.
type collector struct {
	from  Sources
	build Build

	mu     sync.Mutex // one scrape at a time: totals of an older one must not follow a newer
	labels labels
}

func newCollector(from Sources, build Build, maxPublishers int) *collector {
	return &collector{from: from, build: build, labels: newLabels(maxPublishers)}
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("sightline_"+name, help, labels, nil)
}

// The metrics but those of each track.
var (
	buildInfo = desc("build_info", "Always 1; the program is in the labels.", "version", "commit", "go_version")

	roomsNow        = desc("rooms", "Rooms with a publisher or a participant.")
	participantsNow = desc("participants", "People in rooms, by the room API.")
	viewersNow      = desc("viewers", "WHEP sessions that play something.")
	takeovers       = desc("takeovers_total", "Publishers that took over from their former session.")
	tracksNow       = desc("tracks", "Tracks by what they are and how they do.", "kind", "codec", "state")
	unlabelled      = desc("unlabelled_publishers", "Publishers that are counted as \"other\" because metrics.max_label_values is reached.")
	whipNow         = desc("whip_sessions", "WHIP sessions by the ICE path in use.", "transport")
	whepNow         = desc("whep_sessions", "WHEP sessions by the ICE path in use.", "transport")
	withoutSTUN     = desc("consent_exempt_sessions", "Sessions that live on SRTP alone, because their client answers no consent checks.")
	ended           = desc("sessions_ended_total", "Sessions that have ended, by cause.", "cause")

	firstPacket   = desc("viewer_first_packet_seconds", "Time from a viewer's connection to its first packet.")
	firstKeyframe = desc("viewer_first_keyframe_seconds", "Time from a viewer's connection to its first keyframe.")
	forwarding    = desc("forwarding_delay_seconds", "Time from a packet's arrival until it was written to all viewers.")

	refusals = desc("limit_refusals_total", "What was refused because of a limit, by the limit's key in the configuration.", "limit")

	requests = desc("http_requests_total", "HTTP requests by route, method and class of status.", "route", "method", "code")

	connections        = desc("http_connections", "Open connections, by listener.", "listener")
	connectionsEvicted = desc("http_connections_evicted_total", "Idle connections that were closed to make room for others.", "listener")
	connectionsRefused = desc("http_connections_refused_total", "Connections refused at a limit: of all, or of one address.", "listener", "reason")
	plainRefused       = desc("http_plain_refused_total", "Requests refused because they came in the clear.", "listener")
	certificateEnd     = desc("tls_certificate_not_after_seconds", "When the certificate ends, in Unix time; 0 while there is none.", "name")
	signedInNow        = desc("signin_sessions", "People who are signed in.")
	signInReady        = desc("signin_provider_up", "1 once the OpenID provider has been found, else 0.")
	signIns            = desc("signin_total", "Attempts to sign in that came back from the provider.", "result")
	certificateFailed  = desc("tls_certificate_failures_total", "Attempts to read or to obtain a certificate that failed.")
)

// socketMetrics are of what came to the media ports, and left by them.
var socketMetrics = []metric[rtc.Snapshot]{
	counterOf("udp_received_datagrams_total", "Datagrams that came to the media socket.",
		func(s *rtc.Snapshot) uint64 { return s.Socket.Received }),
	counterOf("udp_received_bytes_total", "Bytes of the datagrams that came to the media socket.",
		func(s *rtc.Snapshot) uint64 { return s.Socket.ReceivedBytes }),
	counterOf("udp_sent_datagrams_total", "Datagrams that the media socket sent.",
		func(s *rtc.Snapshot) uint64 { return s.Socket.Sent }),
	counterOf("udp_sent_bytes_total", "Bytes of the datagrams that the media socket sent.",
		func(s *rtc.Snapshot) uint64 { return s.Socket.SentBytes }),
	counterOf("udp_unknown_datagrams_total", "Datagrams that belonged to no session.",
		func(s *rtc.Snapshot) uint64 { return s.Socket.Unknown }),
	counterOf("udp_overflowed_datagrams_total", "Datagrams that were dropped because their session's queue was full.",
		func(s *rtc.Snapshot) uint64 { return s.Socket.Overflow }),
	counterOf("dtls_dropped_records_total", "DTLS records of sessions that were dropped unread: unprotected ones that nobody has to send, or none at all.",
		func(s *rtc.Snapshot) uint64 { return s.Records }),
	counterOf("srtp_discarded_packets_total", "SRTP and SRTCP packets that were dropped: before DTLS, wrong tag, replayed, of an SSRC or payload type that nobody has.",
		func(s *rtc.Snapshot) uint64 { return s.Discarded }),
	counterOf("ice_tcp_refused_connections_total", "ICE-TCP connections that were closed: without a session's check, or one too many of a session.",
		func(s *rtc.Snapshot) uint64 { return s.Refused }),
	counterOf("udp_unsent_datagrams_total", "Datagrams that were dropped because the socket's send buffer was full.",
		func(s *rtc.Snapshot) uint64 { return s.Socket.Full }),
}

func descs() []*prometheus.Desc {
	all := []*prometheus.Desc{
		buildInfo,
		roomsNow, participantsNow, viewersNow, takeovers, tracksNow, unlabelled, whipNow, whepNow, withoutSTUN, ended,
		firstPacket, firstKeyframe, forwarding,
		requests, refusals,
		connections, connectionsEvicted, connectionsRefused, plainRefused, certificateEnd, certificateFailed,
		signedInNow, signInReady, signIns,
		trackState,
	}
	for _, m := range trackMetrics {
		all = append(all, m.desc)
	}
	for _, m := range speakerMetrics {
		all = append(all, m.desc)
	}
	return slices.Concat(all, descsOf(socketMetrics), descsOf(auditMetrics), descsOf(clusterMetrics), descsOf(bridgeMetrics), descsOf(bridgeTotals))
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range descs() {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := writer{out}
	w.gauge(buildInfo, 1, c.build.Version, c.build.Commit, c.build.Go)
	c.collectRooms(w, c.from.Rooms())
	c.collectBridge(w, c.from.Bridge())
	log := c.from.Audit()
	collect(w, auditMetrics, &log)
	sessions := c.from.Sessions()
	collectSessions(w, sessions)
	collectRefusals(w, c.from.Refusals(), sessions.Limited)
	for _, r := range c.from.Requests() {
		w.counter(requests, float64(r.Count), r.Route, r.Method, r.Class)
	}
	collectListeners(w, c.from.Listeners())
	collectCertificates(w, c.from.Certificates())
	collectSignIn(w, c.from.SignIn())
	if c.from.Cluster != nil {
		if s := c.from.Cluster(); s.On {
			collect(w, clusterMetrics, &s)
		}
	}
}

func collectListeners(w writer, listeners []httpapi.Snapshot) {
	for _, l := range listeners {
		w.gauge(connections, float64(l.Open), l.Listener)
		w.counter(connectionsEvicted, float64(l.Evicted), l.Listener)
		for reason, n := range l.Refused {
			w.counter(connectionsRefused, float64(n), l.Listener, reason)
		}
		w.counter(plainRefused, float64(l.Plain), l.Listener)
	}
}

// collectCertificates tells nothing of a gateway that speaks plain HTTP.
func collectCertificates(w writer, s certs.Snapshot) {
	if len(s.Certificates) == 0 {
		return
	}
	for _, c := range s.Certificates {
		end := 0.0
		if !c.NotAfter.IsZero() {
			end = float64(c.NotAfter.Unix())
		}
		w.gauge(certificateEnd, end, c.Name)
	}
	w.counter(certificateFailed, float64(s.Failures))
}

// collectSignIn tells nothing of a gateway where nobody can sign in.
func collectSignIn(w writer, s signin.Snapshot) {
	if !s.Enabled {
		return
	}
	w.gauge(signInReady, number(s.Ready))
	w.gauge(signedInNow, float64(s.Sessions))
	w.counter(signIns, float64(s.SignedIn), "signed-in")
	w.counter(signIns, float64(s.Refused), "refused")
	w.counter(signIns, float64(s.Failed), "failed")
}

func (c *collector) collectRooms(w writer, s rooms.Snapshot) {
	w.gauge(roomsNow, float64(s.Rooms))
	w.gauge(participantsNow, float64(s.Participants))
	w.gauge(viewersNow, float64(s.Viewers))
	w.counter(takeovers, float64(s.Takeovers))
	w.histogram(firstPacket, s.FirstPacket)
	w.histogram(firstKeyframe, s.FirstKeyframe)
	w.histogram(forwarding, s.ForwardingDelay)
	countTracks(w, s.Tracks)
	c.collectTracks(w, s.Tracks)
}

// states are those that a track in a snapshot has: one that is gone is in none.
var states = []rooms.State{rooms.Connecting, rooms.Live, rooms.Stalled}

// countTracks counts the tracks by kind, codec and state. All that there can be are there
// from the start, so that the first stalled track is a step from 0 to 1.
func countTracks(w writer, tracks []rooms.TrackSnapshot) {
	type key struct{ kind, codec, state string }
	counts := make(map[key]int)
	for kind, codecs := range codecNames {
		for _, codec := range codecs {
			for _, state := range states {
				counts[key{string(kind), codec, string(state)}] = 0
			}
		}
	}
	for i := range tracks {
		t := &tracks[i]
		counts[key{kindLabel(t.Kind), codecLabel(t.Codec), stateLabel(t.State)}]++
	}
	for k, n := range counts {
		w.gauge(tracksNow, float64(n), k.kind, k.codec, k.state)
	}
}

func collectSessions(w writer, s rtc.Snapshot) {
	whip := map[string]int{"none": 0, "udp": 0, "tcp": 0, "relay": 0}
	whep := map[string]int{"none": 0, "udp": 0, "tcp": 0, "relay": 0}
	for _, n := range s.Sessions {
		if n.Publish {
			whip[transportLabel(n.Path)] += n.Count
		} else {
			whep[transportLabel(n.Path)] += n.Count
		}
	}
	for transport, n := range whip {
		w.gauge(whipNow, float64(n), transport)
	}
	for transport, n := range whep {
		w.gauge(whepNow, float64(n), transport)
	}
	w.gauge(withoutSTUN, float64(s.Exempt))
	for _, cause := range rtc.Ends() { // a closed set
		w.counter(ended, float64(s.Ended[string(cause)]), string(cause))
	}
	collect(w, socketMetrics, &s)
}

// codecNames are those that the gateway forwards, as labels write them.
var codecNames = map[media.Kind][]string{
	media.Audio: {"opus"},
	media.Video: {"h264", "h265", "vp8", "vp9", "av1"},
}

func codecLabel(c media.Codec) string {
	name := strings.ToLower(c.Name)
	for _, known := range codecNames {
		for _, k := range known {
			if k == name {
				return k
			}
		}
	}
	return other
}

func kindLabel(k media.Kind) string {
	switch k {
	case media.Audio, media.Video:
		return string(k)
	}
	return other
}

func stateLabel(s rooms.State) string {
	switch s {
	case rooms.Connecting, rooms.Live, rooms.Stalled, rooms.Gone:
		return string(s)
	}
	return other
}

// transportLabel names an ICE path; "none" while there is none.
func transportLabel(path string) string {
	switch path {
	case "":
		return "none"
	case "udp", "tcp", "relay":
		return path
	}
	return other
}

// A metric is one of a part of the gateway whose snapshot is an S.
type metric[S any] struct {
	desc *prometheus.Desc
	tell func(writer, *prometheus.Desc, *S)
}

func gaugeOf[S any](name, help string, value func(*S) float64) metric[S] {
	return metric[S]{desc(name, help), func(w writer, d *prometheus.Desc, s *S) { w.gauge(d, value(s)) }}
}

func counterOf[S any](name, help string, value func(*S) uint64) metric[S] {
	return metric[S]{desc(name, help), func(w writer, d *prometheus.Desc, s *S) { w.counter(d, float64(value(s))) }}
}

func collect[S any](w writer, all []metric[S], s *S) {
	for _, m := range all {
		m.tell(w, m.desc, s)
	}
}

func descsOf[S any](all []metric[S]) (out []*prometheus.Desc) {
	for _, m := range all {
		out = append(out, m.desc)
	}
	return out
}

// A writer makes metrics of numbers.
type writer struct{ out chan<- prometheus.Metric }

func (w writer) gauge(d *prometheus.Desc, v float64, labels ...string) {
	w.out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (w writer) counter(d *prometheus.Desc, v float64, labels ...string) {
	w.out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

// histogram adds the buckets up, as Prometheus wants them.
func (w writer) histogram(d *prometheus.Desc, h rooms.Histogram) {
	buckets := make(map[float64]uint64, len(h.Bounds))
	var total uint64
	for i, n := range h.Counts {
		total += n
		if i < len(h.Bounds) {
			buckets[h.Bounds[i]] = total
		}
	}
	w.out <- prometheus.MustNewConstHistogram(d, total, h.Sum, buckets)
}
