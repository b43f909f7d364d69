package metrics

import (
	"testing"
	"time"

	"sightline/internal/cluster"
	"sightline/internal/cluster/share"
)

func TestNodeTellsWhatBecameOfForwardedRequests(t *testing.T) {
	n := cluster.Snapshot{
		Connected: true, Routes: 1, Leafs: 22, MessagesIn: 2, MessagesOut: 3, BytesIn: 4, BytesOut: 5, Sending: 6, Reading: 7, Slow: 8, Refused: 9, Dropped: 10,
		Calls: map[string]cluster.Calls{
			"http":  {Count: 20, Errors: map[string]uint64{"unavailable": 3, "conflict": 2}, Delay: cluster.Histogram{Bounds: []float64{1}, Counts: []uint64{19, 1}, Sum: 30}},
			"other": {Count: 100},
		},
		Directory: cluster.DirectorySnapshot{Members: 11, Owned: 12, Entries: 13, Age: 14 * time.Second, Twins: 15, Takeovers: map[cluster.Why]uint64{cluster.Drained: 16}, LeasesEnded: 17},
	}
	g := &gateway{cluster: ClusterOf(n, "http", share.Snapshot{Pulls: 18, Failures: 19, Refused: 21})}
	got := scrape(t, registryOf(t, g, 10))
	for key, want := range map[string]float64{
		`sightline_cluster_forwarded_requests_total{outcome="answered"}`:    15,
		`sightline_cluster_forwarded_requests_total{outcome="unavailable"}`: 3,
		`sightline_cluster_forwarded_requests_total{outcome="other"}`:       2,
		`sightline_cluster_forwarded_request_seconds{} le=1`:                19,
		`sightline_cluster_engine_connected{}`:                              1,
		`sightline_cluster_engine_routes{}`:                                 23,
		`sightline_cluster_nodes{}`:                                         11,
		`sightline_cluster_directory_age_seconds{}`:                         14,
		`sightline_cluster_takeovers_total{reason="drained"}`:               16,
		`sightline_cluster_takeovers_total{reason="died"}`:                  0,
		`sightline_cluster_messages_total{direction="out"}`:                 3,
		`sightline_cluster_bytes_total{direction="in"}`:                     4,
		`sightline_cluster_streams{direction="out"}`:                        6,
		`sightline_cluster_share_requests_total{}`:                          18,
		`sightline_cluster_share_failures_total{}`:                          19,
		`sightline_cluster_share_refused_total{}`:                           21,
	} {
		if got[key] != want {
			t.Errorf("%s is %g, want %g", key, got[key], want)
		}
	}
}
