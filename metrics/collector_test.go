package metrics

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"sightline/internal/audio"
	"sightline/internal/bridge"
	"sightline/internal/media"
	"sightline/rooms"
)

func TestNamesPassPrometheusLinter(t *testing.T) {
	problems, err := testutil.GatherAndLint(registryOf(t, busy(), 10))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestGatewayThatIsAloneTellsNothingOfACluster(t *testing.T) {
	g := busy()
	g.cluster = Cluster{}
	without := g.sources()
	without.Cluster = nil
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(newCollector(without, build, 10)); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]prometheus.Gatherer{"off": registryOf(t, g, 10), "no source": registry} {
		for key := range scrape(t, r) {
			if strings.HasPrefix(key, "sightline_cluster_") {
				t.Errorf("%s: it has %s", name, key)
			}
		}
	}
}

func TestScrapeTellsWhatThePartsSay(t *testing.T) {
	got := scrape(t, registryOf(t, busy(), 10))
	const v = `{kind="video",publisher="console",room="mri-1"}`
	const a = `{kind="audio",publisher="console",room="mri-1"}`
	const s = `{publisher="console",room="mri-1"}`
	for key, want := range map[string]float64{
		`sightline_build_info{commit="abc",go_version="go1.26",version="1.2.3"}`: 1,
		`sightline_rooms{}`:           1,
		`sightline_participants{}`:    5,
		`sightline_viewers{}`:         2,
		`sightline_takeovers_total{}`: 3,

		`sightline_tracks{codec="h264",kind="video",state="live"}`:    1,
		`sightline_tracks{codec="opus",kind="audio",state="live"}`:    1,
		`sightline_tracks{codec="h264",kind="video",state="stalled"}`: 0,
		`sightline_tracks{codec="av1",kind="video",state="live"}`:     0,
		`sightline_unlabelled_publishers{}`:                           0,

		`sightline_whip_sessions{transport="udp"}`:                1,
		`sightline_whip_sessions{transport="relay"}`:              0,
		`sightline_whep_sessions{transport="tcp"}`:                2,
		`sightline_whep_sessions{transport="none"}`:               3,
		`sightline_consent_exempt_sessions{}`:                     1,
		`sightline_sessions_ended_total{cause="peer-closed"}`:     5,
		`sightline_sessions_ended_total{cause="consent-expired"}`: 0,

		`sightline_viewer_first_packet_seconds{}`:          6,
		`sightline_viewer_first_packet_seconds{} le=0.1`:   3,
		`sightline_viewer_first_packet_seconds{} le=1`:     5,
		`sightline_viewer_first_keyframe_seconds{} le=0.1`: 3,
		`sightline_forwarding_delay_seconds{} le=1`:        5,

		`sightline_udp_received_datagrams_total{}`:      11,
		`sightline_udp_received_bytes_total{}`:          12,
		`sightline_udp_sent_datagrams_total{}`:          13,
		`sightline_udp_sent_bytes_total{}`:              14,
		`sightline_udp_unknown_datagrams_total{}`:       15,
		`sightline_dtls_dropped_records_total{}`:        18,
		`sightline_srtp_discarded_packets_total{}`:      20,
		`sightline_ice_tcp_refused_connections_total{}`: 19,
		`sightline_udp_overflowed_datagrams_total{}`:    16,
		`sightline_udp_unsent_datagrams_total{}`:        17,

		`sightline_limit_refusals_total{limit="http.rate_limit"}`:   18,
		`sightline_limit_refusals_total{limit="rooms.max_viewers"}`: 19,
		`sightline_limit_refusals_total{limit="other"}`:             20,
		`sightline_limit_refusals_total{limit="ice.max_rtcp"}`:      21,
		`sightline_limit_refusals_total{limit="api.max_streams"}`:   0,

		`sightline_http_requests_total{code="4xx",method="POST",route="/whip/:room/:publisher"}`: 2,

		"sightline_track_received_packets_total" + v:         101,
		"sightline_track_received_bytes_total" + v:           102,
		"sightline_track_lost_packets_total" + v:             103,
		"sightline_track_repaired_packets_total" + v:         104,
		"sightline_track_duplicate_packets_total" + v:        105,
		"sightline_track_sent_nacks_total" + v:               106,
		"sightline_track_sent_keyframe_requests_total" + v:   107,
		"sightline_track_discarded_packets_total" + v:        108,
		"sightline_track_sent_packets_total" + v:             201,
		"sightline_track_sent_bytes_total" + v:               202,
		"sightline_track_retransmitted_packets_total" + v:    203,
		"sightline_track_viewer_nacks_total" + v:             204,
		"sightline_track_viewer_keyframe_requests_total" + v: 205,
		"sightline_track_dropped_packets_total" + v:          206,
		"sightline_track_viewer_lost_packets_total" + v:      207,
		"sightline_track_wanted_keyframes_total" + v:         300,
		"sightline_track_viewers" + v:                        2,
		"sightline_track_bitrate" + v:                        2_500_000,
		"sightline_track_frames_per_second" + v:              30,
		"sightline_track_width_pixels" + v:                   1280,
		"sightline_track_height_pixels" + v:                  720,
		"sightline_track_packet_age_seconds" + v:             0.01,
		"sightline_track_keyframe_age_seconds" + v:           0.5,
		"sightline_track_keyframe_interval_seconds" + v:      1,
		"sightline_track_publisher_rtt_seconds" + v:          0.02,
		"sightline_track_publisher_jitter_seconds" + v:       0.003,
		"sightline_track_publisher_loss_ratio" + v:           0.01,
		"sightline_track_viewer_rtt_seconds" + v:             0.04,
		"sightline_track_viewer_jitter_seconds" + v:          0.004,
		"sightline_track_viewer_loss_ratio" + v:              0.02,

		`sightline_cluster_engine_connected{}`:                              1,
		`sightline_cluster_engine_routes{}`:                                 601,
		`sightline_cluster_nodes{}`:                                         602,
		`sightline_cluster_twins{}`:                                         603,
		`sightline_cluster_owned_rooms{}`:                                   604,
		`sightline_cluster_directory_rooms{}`:                               605,
		`sightline_cluster_directory_age_seconds{}`:                         0.606,
		`sightline_cluster_placements_total{}`:                              607,
		`sightline_cluster_takeovers_total{reason="died"}`:                  608,
		`sightline_cluster_takeovers_total{reason="drained"}`:               609,
		`sightline_cluster_takeovers_total{reason="contested"}`:             610,
		`sightline_cluster_takeovers_total{reason="other"}`:                 611,
		`sightline_cluster_leases_ended_total{}`:                            612,
		`sightline_cluster_engine_losses_total{}`:                           613,
		`sightline_cluster_directory_gaps_total{}`:                          614,
		`sightline_cluster_directory_fetches_total{}`:                       615,
		`sightline_cluster_directory_refused_total{}`:                       616,
		`sightline_cluster_messages_total{direction="in"}`:                  617,
		`sightline_cluster_messages_total{direction="out"}`:                 618,
		`sightline_cluster_bytes_total{direction="in"}`:                     619,
		`sightline_cluster_bytes_total{direction="out"}`:                    620,
		`sightline_cluster_dropped_messages_total{}`:                        621,
		`sightline_cluster_forwarded_requests_total{outcome="answered"}`:    622,
		`sightline_cluster_forwarded_requests_total{outcome="unavailable"}`: 623,
		`sightline_cluster_forwarded_requests_total{outcome="internal"}`:    0,
		`sightline_cluster_forwarded_requests_total{outcome="other"}`:       624,
		`sightline_cluster_forwarded_request_seconds{} le=1`:                5,
		`sightline_cluster_refused_calls_total{}`:                           625,
		`sightline_cluster_streams{direction="out"}`:                        626,
		`sightline_cluster_streams{direction="in"}`:                         627,
		`sightline_cluster_lost_streams_total{}`:                            628,
		`sightline_cluster_relays{}`:                                        629,
		`sightline_cluster_relay_viewers{}`:                                 630,
		`sightline_cluster_loans{}`:                                         636,
		`sightline_cluster_relay_rebuilds_total{}`:                          634,
		`sightline_cluster_relay_loss_ratio{}`:                              0.635,
		`sightline_cluster_share_requests_total{}`:                          631,
		`sightline_cluster_share_failures_total{}`:                          632,
		`sightline_cluster_share_refused_total{}`:                           633,

		`sightline_http_connections{listener="http"}`:                                21,
		`sightline_http_connections_evicted_total{listener="http"}`:                  22,
		`sightline_http_connections_refused_total{listener="http",reason="total"}`:   23,
		`sightline_http_connections_refused_total{listener="http",reason="address"}`: 24,
		`sightline_http_plain_refused_total{listener="http"}`:                        25,
		`sightline_tls_certificate_failures_total{}`:                                 26,
		`sightline_tls_certificate_not_after_seconds{name="media.example.org"}`:      2e9,
		`sightline_tls_certificate_not_after_seconds{name="spare.example.org"}`:      0,

		`sightline_track_state{kind="video",publisher="console",room="mri-1",state="live"}`:    1,
		`sightline_track_state{kind="video",publisher="console",room="mri-1",state="stalled"}`: 0,

		`sightline_bridge_rooms{}`:                     1,
		`sightline_bridge_listeners{}`:                 4,
		`sightline_bridge_speakers{}`:                  1,
		`sightline_bridge_mixes{}`:                     3,
		`sightline_bridge_ticks_total{}`:               401,
		`sightline_bridge_tick_overruns_total{}`:       402,
		`sightline_bridge_skipped_frames_total{}`:      403,
		`sightline_bridge_busy_seconds_total{}`:        0.404,
		`sightline_bridge_packets_total{}`:             501,
		`sightline_bridge_late_packets_total{}`:        512,
		`sightline_bridge_lost_packets_total{}`:        523,
		`sightline_bridge_bad_packets_total{}`:         534,
		`sightline_bridge_recovered_packets_total{}`:   545,
		`sightline_bridge_frames_total{}`:              556,
		`sightline_bridge_concealed_frames_total{}`:    567,
		`sightline_bridge_one_way{reason="unheard"}`:   1,
		`sightline_bridge_one_way{reason="concealed"}`: 2,
		`sightline_bridge_one_way{reason="lost"}`:      5,
		"sightline_speaker_level_dbov" + s:             -23,
		"sightline_speaker_speaking" + s:               1,
		"sightline_speaker_unheard" + s:                1,
		"sightline_speaker_delay_seconds" + s:          0.03,
		"sightline_speaker_target_delay_seconds" + s:   0.02,

		"sightline_track_received_packets_total" + a: 101,
		"sightline_track_muted" + a:                  1,
	} {
		if v, ok := got[key]; !ok || v != want {
			t.Errorf("%s: got %v (there: %t), want %v", key, v, ok, want)
		}
	}
	for key := range got {
		if strings.Contains(key, "secret") || strings.Contains(key, "made up") {
			t.Errorf("%s: a label that is not bounded", key)
		}
	}
}

func TestWhatIsNotKnownIsNotTold(t *testing.T) {
	g := busy()
	fresh := rooms.TrackSnapshot{TrackInfo: rooms.TrackInfo{
		Room: "mri-1", Publisher: "console", Kind: media.Video, State: rooms.Connecting, PacketAge: -1, KeyframeAge: -1,
	}}
	g.rooms.Tracks = []rooms.TrackSnapshot{fresh, sound("mri-1", "console")}
	got := scrape(t, registryOf(t, g, 10))
	for _, name := range []string{
		"packet_age_seconds", "keyframe_age_seconds", "keyframe_interval_seconds", "width_pixels", "height_pixels",
		"muted", "publisher_rtt_seconds", "publisher_jitter_seconds", "publisher_loss_ratio", "viewer_rtt_seconds", "viewer_loss_ratio",
	} {
		if v, ok := got["sightline_track_"+name+`{kind="video",publisher="console",room="mri-1"}`]; ok {
			t.Errorf("%s of a track without a packet: got %v, want nothing", name, v)
		}
	}
	for _, name := range []string{"frames_per_second", "keyframe_age_seconds", "width_pixels"} {
		if v, ok := got["sightline_track_"+name+`{kind="audio",publisher="console",room="mri-1"}`]; ok {
			t.Errorf("%s of an audio track: got %v, want nothing", name, v)
		}
	}
}

func TestEmptyGatewayCanBeScraped(t *testing.T) {
	got := scrape(t, registryOf(t, &gateway{}, 10))
	if v, ok := got["sightline_rooms{}"]; !ok || v != 0 {
		t.Errorf("sightline_rooms: got %v (there: %t), want 0", v, ok)
	}
	if v, ok := got[`sightline_tracks{codec="vp8",kind="video",state="stalled"}`]; !ok || v != 0 {
		t.Errorf("stalled tracks: got %v (there: %t), want 0", v, ok)
	}
}

// publishers returns the publishers of the labels of a metric, with its values.
func publishers(t *testing.T, r prometheus.Gatherer, metric string) map[string]float64 {
	t.Helper()
	out := make(map[string]float64)
	for key, v := range scrape(t, r) {
		labels, ok := strings.CutPrefix(key, metric+`{kind="video",publisher="`)
		if ok {
			publisher, _, _ := strings.Cut(labels, `"`)
			out[publisher] = v
		}
	}
	return out
}

func TestLabelsAreCapped(t *testing.T) {
	g := &gateway{}
	r := registryOf(t, g, 2)
	g.rooms.Tracks = []rooms.TrackSnapshot{video("r", "a"), video("r", "b"), video("r", "c"), video("r", "d")}
	g.rooms.Tracks[2].Bitrate, g.rooms.Tracks[3].Bitrate = 100, 200
	g.rooms.Tracks[2].FrameRate, g.rooms.Tracks[3].FrameRate = 5, 25
	g.rooms.Tracks[2].Loss, g.rooms.Tracks[3].Loss = 0.1, 0.3
	g.rooms.Tracks[2].State = rooms.Stalled
	for _, tt := range []struct {
		metric string
		want   float64
	}{
		{"sightline_track_received_packets_total", 202}, // summed
		{"sightline_track_viewers", 4},                  // summed
		{"sightline_track_bitrate", 300},                // summed
		{"sightline_track_frames_per_second", 5},        // the worst
		{"sightline_track_publisher_loss_ratio", 0.3},   // the worst
	} {
		got := publishers(t, r, tt.metric)
		if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, []string{"a", "b", other}) {
			t.Errorf("%s: publishers %v, want a, b and other", tt.metric, names)
		}
		if got[other] != tt.want {
			t.Errorf("%s of the others: got %v, want %v", tt.metric, got[other], tt.want)
		}
	}
	got := scrape(t, r)
	if n := got["sightline_unlabelled_publishers{}"]; n != 2 {
		t.Errorf("unlabelled publishers: got %v, want 2", n)
	}
	for state, want := range map[string]float64{"live": 1, "stalled": 1, "connecting": 0} {
		key := `sightline_track_state{kind="video",publisher="other",room="other",state="` + state + `"}`
		if got[key] != want {
			t.Errorf("%s: got %v, want %v", key, got[key], want)
		}
	}
}

func TestCountersNeverFallWhileTracksComeAndGo(t *testing.T) {
	g := &gateway{}
	r := registryOf(t, g, 1)
	const metric = "sightline_track_received_packets_total"
	at := func(publisher string, packets uint64) rooms.TrackSnapshot {
		s := video("r", publisher)
		s.Source.Packets = packets
		return s
	}
	for _, step := range []struct {
		name   string
		tracks []rooms.TrackSnapshot
		want   map[string]float64
	}{
		{"one has labels of its own", []rooms.TrackSnapshot{at("a", 10), at("b", 100), at("c", 1000)},
			map[string]float64{"a": 10, other: 1100}},
		{"all go on", []rooms.TrackSnapshot{at("a", 11), at("b", 101), at("c", 1001)},
			map[string]float64{"a": 11, other: 1102}},
		{"one of the others leaves", []rooms.TrackSnapshot{at("a", 12), at("b", 102)},
			map[string]float64{"a": 12, other: 1103}},
		{"it comes back, counting anew", []rooms.TrackSnapshot{at("a", 13), at("b", 102), at("c", 5)},
			map[string]float64{"a": 13, other: 1108}},
		{"another track under the same name", []rooms.TrackSnapshot{at("a", 13), at("b", 3), at("c", 5)},
			map[string]float64{"a": 13, other: 1111}},
		{"the one leaves; those in other stay there", []rooms.TrackSnapshot{at("b", 3), at("c", 6)},
			map[string]float64{other: 1112}},
		{"a new one takes the place", []rooms.TrackSnapshot{at("aa", 7), at("b", 3), at("c", 6)},
			map[string]float64{"aa": 7, other: 1112}},
		{"nobody is left", nil,
			map[string]float64{other: 1112}},
	} {
		g.rooms.Tracks = step.tracks
		if got := publishers(t, r, metric); !maps.Equal(got, step.want) {
			t.Errorf("%s: got %v, want %v", step.name, got, step.want)
		}
	}
}

func TestMemoryOfTheLabelsIsThatOfTheTracksOfNow(t *testing.T) {
	l := newLabels(3)
	for i := range 1000 {
		tracks := []rooms.TrackSnapshot{}
		for j := range 5 {
			tracks = append(tracks, video("r", string(rune('a'+j))+strings.Repeat("x", i%50)))
		}
		l.assign(tracks)
		for k := range tracks {
			if !l.own[name{"r", tracks[k].Publisher}] {
				l.addUp(&tracks[k])
			}
		}
	}
	if len(l.own) != 5 || l.count != 3 || len(l.last) != 2 || len(l.sum) != 1 {
		t.Errorf("remembers %d publishers (%d with labels), %d tracks, %d sums; want 5 (3), 2, 1",
			len(l.own), l.count, len(l.last), len(l.sum))
	}
}

func TestPublisherNamedOtherCanBeScraped(t *testing.T) {
	g := &gateway{}
	g.rooms.Tracks = []rooms.TrackSnapshot{video("other", "other"), video("r", "a"), video("r", "b")}
	got := publishers(t, registryOf(t, g, 1), "sightline_track_received_packets_total")
	if want := map[string]float64{"a": 101, other: 202}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestConcurrentScrapesAgree(t *testing.T) {
	g := busy()
	r := registryOf(t, g, 1)
	done := make(chan error)
	for range 4 {
		go func() {
			_, err := r.Gather()
			done <- err
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestSpeakersWithoutLabelsAreTogether(t *testing.T) {
	g := busy()
	g.rooms.Tracks = nil
	g.bridge.Speakers = []bridge.SpeakerSnapshot{
		{Room: "a", Publisher: "x", Speaking: true, Level: 40, Stats: audio.Stats{Delay: time.Second}},
		{Room: "a", Publisher: "y", Speaking: true, Level: 20},
	}
	got := scrape(t, registryOf(t, g, 10))
	const s = `{publisher="other",room="other"}`
	for key, want := range map[string]float64{
		"sightline_speaker_level_dbov" + s: -20, "sightline_speaker_speaking" + s: 2, "sightline_speaker_delay_seconds" + s: 1,
	} {
		if v, ok := got[key]; !ok || v != want {
			t.Errorf("%s: got %v (there: %t), want %v", key, v, ok, want)
		}
	}
	for key := range got {
		if strings.Contains(key, `publisher="x"`) || strings.Contains(key, `publisher="y"`) {
			t.Errorf("%s: a publisher that has no labels of its own", key)
		}
	}
}
