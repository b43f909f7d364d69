package metrics

import (
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

	socketIn       = desc("udp_received_datagrams_total", "Datagrams that came to the media socket.")
	socketInBytes  = desc("udp_received_bytes_total", "Bytes of the datagrams that came to the media socket.")
	socketOut      = desc("udp_sent_datagrams_total", "Datagrams that the media socket sent.")
	socketOutBytes = desc("udp_sent_bytes_total", "Bytes of the datagrams that the media socket sent.")
	socketUnknown  = desc("udp_unknown_datagrams_total", "Datagrams that belonged to no session.")
	socketOverflow = desc("udp_overflowed_datagrams_total", "Datagrams that were dropped because their session's queue was full.")
	forgedRecords  = desc("dtls_dropped_records_total", "DTLS records of sessions that were dropped unread: unprotected ones that nobody has to send, or none at all.")
	uselessSRTP    = desc("srtp_discarded_packets_total", "SRTP and SRTCP packets that were dropped: before DTLS, wrong tag, replayed, of an SSRC or payload type that nobody has.")
	refusedTCP     = desc("ice_tcp_refused_connections_total", "ICE-TCP connections that were closed: without a session's check, or one too many of a session.")
	socketFull     = desc("udp_unsent_datagrams_total", "Datagrams that were dropped because the socket's send buffer was full.")

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

func descs() []*prometheus.Desc {
	all := []*prometheus.Desc{
		buildInfo,
		roomsNow, participantsNow, viewersNow, takeovers, tracksNow, unlabelled, whipNow, whepNow, withoutSTUN, ended,
		firstPacket, firstKeyframe, forwarding,
		socketIn, socketInBytes, socketOut, socketOutBytes, socketUnknown, socketOverflow, socketFull, forgedRecords, uselessSRTP, refusedTCP,
		requests, refusals,
		connections, connectionsEvicted, connectionsRefused, plainRefused, certificateEnd, certificateFailed,
		signedInNow, signInReady, signIns,
		trackState,
	}
	for _, m := range trackMetrics {
		all = append(all, m.desc)
	}
	all = append(all, auditDescs()...)
	all = append(all, clusterDescs()...)
	return append(all, bridgeDescs()...)
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
	collectAudit(w, c.from.Audit())
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
		collectCluster(w, c.from.Cluster())
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
	up := 0.0
	if s.Ready {
		up = 1
	}
	w.gauge(signInReady, up)
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
	w.counter(socketIn, float64(s.Socket.Received))
	w.counter(socketInBytes, float64(s.Socket.ReceivedBytes))
	w.counter(socketOut, float64(s.Socket.Sent))
	w.counter(socketOutBytes, float64(s.Socket.SentBytes))
	w.counter(socketUnknown, float64(s.Socket.Unknown))
	w.counter(socketOverflow, float64(s.Socket.Overflow))
	w.counter(socketFull, float64(s.Socket.Full))
	w.counter(forgedRecords, float64(s.Records))
	w.counter(uselessSRTP, float64(s.Discarded))
	w.counter(refusedTCP, float64(s.Refused))
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
