package metrics

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"sightline/internal/audio"
	"sightline/internal/audit"
	"sightline/internal/auth"
	"sightline/internal/bridge"
	"sightline/internal/certs"
	"sightline/internal/httpapi"
	"sightline/internal/media"
	"sightline/internal/rtc"
	"sightline/internal/signin"
	"sightline/rooms"
)

// gateway is what the metrics are made of in these tests, for them to change.
type gateway struct {
	rooms    rooms.Snapshot
	bridge   bridge.Snapshot
	audit    audit.Snapshot
	sessions rtc.Snapshot
	requests []httpapi.RequestCount
	refusals map[string]uint64

	listeners    []httpapi.Snapshot
	certificates certs.Snapshot
	signIn       signin.Snapshot
	cluster      Cluster
}

func (g *gateway) sources() Sources {
	return Sources{
		Rooms:    func() rooms.Snapshot { return g.rooms },
		Bridge:   func() bridge.Snapshot { return g.bridge },
		Audit:    func() audit.Snapshot { return g.audit },
		Sessions: func() rtc.Snapshot { return g.sessions },
		Requests: func() []httpapi.RequestCount { return g.requests },
		Refusals: func() map[string]uint64 { return g.refusals },

		Listeners:    func() []httpapi.Snapshot { return g.listeners },
		Certificates: func() certs.Snapshot { return g.certificates },
		SignIn:       func() signin.Snapshot { return g.signIn },
		Cluster:      func() Cluster { return g.cluster },
	}
}

var build = Build{Version: "1.2.3", Commit: "abc", Go: "go1.26"}

// video is a track of which everything is known. Each of its totals is another number.
func video(room, publisher string) rooms.TrackSnapshot {
	return rooms.TrackSnapshot{
		TrackInfo: rooms.TrackInfo{
			ID: publisher + "/video", Room: room, Publisher: publisher, Kind: media.Video,
			Codec: media.Codec{Name: "H264"}, Width: 1280, Height: 720, FrameRate: 30, Bitrate: 2_500_000,
			State: rooms.Live, PacketAge: 10 * time.Millisecond, KeyframeAge: 500 * time.Millisecond,
			KeyframeInterval: time.Second, Loss: 0.01, RTT: 20 * time.Millisecond, Viewers: 2,
			Session: "secret-session", Client: "secret-client", Path: "udp",
		},
		Source: media.SourceStats{
			Packets: 101, Bytes: 102, Lost: 103, Repaired: 104, Duplicates: 105, Requested: 106, Keyframes: 107,
			Discarded: 108, Jitter: 3 * time.Millisecond,
		},
		Sinks: media.SinkStats{
			Packets: 201, Bytes: 202, Resent: 203, NACKs: 204, Keyframes: 205, Dropped: 206, Lost: 207,
			Loss: 0.02, Jitter: 4 * time.Millisecond, RTT: 40 * time.Millisecond,
		},
		KeyframeRequests: 300,
	}
}

func sound(room, publisher string) rooms.TrackSnapshot {
	t := video(room, publisher)
	t.ID, t.Kind, t.Codec = publisher+"/audio", media.Audio, media.Codec{Name: "opus"}
	t.Muted = true
	t.Width, t.Height, t.FrameRate, t.KeyframeAge, t.KeyframeInterval = 0, 0, 0, -1, 0
	return t
}

// busy is a gateway of which every metric has something to tell.
func busy() *gateway {
	histogram := rooms.Histogram{Bounds: []float64{0.1, 1}, Counts: []uint64{3, 2, 1}, Sum: 4.5}
	return &gateway{
		rooms: rooms.Snapshot{
			Rooms: 1, Participants: 5, Viewers: 2, Takeovers: 3,
			Tracks:      []rooms.TrackSnapshot{sound("mri-1", "console"), video("mri-1", "console")},
			FirstPacket: histogram, FirstKeyframe: histogram, ForwardingDelay: histogram,
		},
		audit: audit.Snapshot{On: true, Failed: true, Seq: 501, Records: 502, Lost: 503, Waiting: 504},
		bridge: bridge.Snapshot{
			Rooms: 1, Listeners: 4, Mixes: 3, Ticks: 401, Overruns: 402, Skipped: 403, Busy: 404 * time.Millisecond,
			Past: audio.Stats{Packets: 1, Late: 2, Lost: 3, Bad: 4, FEC: 5, Frames: 6, Concealed: 7 * audio.FrameSamples},
			Speakers: []bridge.SpeakerSnapshot{{
				Room: "mri-1", Publisher: "console", Speaking: true, Level: 23, Unheard: true,
				Stats: audio.Stats{
					Packets: 500, Late: 510, Lost: 520, Bad: 530, FEC: 540, Frames: 550, Concealed: 560 * audio.FrameSamples,
					Delay: 30 * time.Millisecond, Target: 20 * time.Millisecond,
				},
			}},
			Starved: 2, Deaf: 5,
		},
		sessions: rtc.Snapshot{
			Sessions: []rtc.SessionCount{{Publish: true, Path: "udp", Count: 1}, {Path: "tcp", Count: 2}, {Count: 3}},
			Exempt:   1, Records: 18, Refused: 19, Discarded: 20,
			Ended:   map[string]uint64{string(rtc.PeerClosed): 5, "made up": 6},
			Limited: map[string]uint64{"ice.max_rtcp": 21},
			Socket:  rtc.SocketSnapshot{Received: 11, ReceivedBytes: 12, Sent: 13, SentBytes: 14, Unknown: 15, Overflow: 16, Full: 17},
		},
		refusals: map[string]uint64{"http.rate_limit": 18, "rooms.max_viewers": 19, "a.new_one": 20},
		requests: []httpapi.RequestCount{
			{Route: "/whip/:room/:publisher", Method: "POST", Class: "2xx", Count: 1},
			{Route: "/whip/:room/:publisher", Method: "POST", Class: "4xx", Count: 2},
		},
		listeners: []httpapi.Snapshot{{
			Listener: "http", Connections: httpapi.Connections{Open: 21, Evicted: 22, Refused: map[string]uint64{"total": 23, "address": 24}}, Plain: 25,
		}},
		certificates: certs.Snapshot{
			Certificates: []certs.Certificate{{Name: "media.example.org", NotAfter: time.Unix(2e9, 0)}, {Name: "spare.example.org"}},
			Failures:     26,
		},
		signIn: signin.Snapshot{Enabled: true, Ready: true, Sessions: 27, SignedIn: 28, Refused: 29, Failed: 30},
		cluster: Cluster{
			On: true, Connected: true, Routes: 601, Nodes: 602, Twins: 603, Owned: 604, Entries: 605, Age: 606 * time.Millisecond,
			Placements: 607, Takeovers: map[string]uint64{"died": 608, "drained": 609, "contested": 610, "new": 611}, LeasesEnded: 612, Alone: 613, Gaps: 614,
			Fetches: 615, BadRecords: 616, Messages: Ways{617, 618}, Bytes: Ways{619, 620}, Dropped: 621,
			Forwarded: map[string]uint64{"answered": 622, "unavailable": 623, "new": 624}, ForwardDelay: histogram, RefusedCalls: 625,
			Serving: 626, Reading: 627, LostStreams: 628, Relays: 629, RelayViewers: 630, Loans: 636, Rebuilds: 634, RelayLoss: 0.635, Compared: 631, CompareFails: 632, BadShares: 633,
		},
	}
}

// registryOf returns a registry with the collector alone.
func registryOf(t *testing.T, g *gateway, most int) *prometheus.Registry {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(newCollector(g.sources(), build, most)); err != nil {
		t.Fatal(err)
	}
	return r
}

// scrape returns all values, named as Prometheus does: name{label="value",…}.
func scrape(t *testing.T, r prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels string
			for _, l := range m.GetLabel() {
				labels += fmt.Sprintf(",%s=%q", l.GetName(), l.GetValue())
			}
			key := f.GetName() + "{" + labels[min(1, len(labels)):] + "}"
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				out[key] = m.GetCounter().GetValue()
			case dto.MetricType_GAUGE:
				out[key] = m.GetGauge().GetValue()
			case dto.MetricType_HISTOGRAM:
				out[key] = float64(m.GetHistogram().GetSampleCount())
				for _, b := range m.GetHistogram().GetBucket() {
					out[fmt.Sprintf("%s le=%g", key, b.GetUpperBound())] = float64(b.GetCumulativeCount())
				}
			}
		}
	}
	return out
}

// The tokens of the tests.
const (
	readAll   = "reads-everything"
	readMRI   = "reads-mri-rooms"
	readOne   = "reads-one-publisher"
	playsOnly = "plays"
)

func tokens() *auth.Auth {
	return auth.New(auth.Config{Tokens: []auth.Token{
		{Name: "all", SHA256: auth.HashToken(readAll), Scopes: []auth.Scope{auth.Read}, Rooms: []string{"*"}},
		{Name: "mri", SHA256: auth.HashToken(readMRI), Scopes: []auth.Scope{auth.Read}, Rooms: []string{"mri-*"}},
		{Name: "one", SHA256: auth.HashToken(readOne), Scopes: []auth.Scope{auth.Read}, Publishers: []string{"console"}},
		{Name: "player", SHA256: auth.HashToken(playsOnly), Scopes: []auth.Scope{auth.Play}},
	}})
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
