package metrics

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sightline/internal/cluster"
	"sightline/internal/cluster/share"
	"sightline/internal/fault"
	"sightline/rooms"
)

// Cluster is what a node knows of its cluster. The zero value is a gateway that is alone.
type Cluster struct {
	On bool

	Connected bool // the engine is reached
	Routes    int  // of an embedded engine to others, and leaf nodes

	Nodes   int           // that are there, this one among them
	Twins   int           // of them, with the name of another
	Owned   int           // rooms that live here
	Entries int           // rooms of all nodes, as this one knows
	Age     time.Duration // since the node was heard that was heard least lately; zero: there is no other

	Placements  uint64            // rooms that this node has found an owner for
	Takeovers   map[string]uint64 // rooms that came here from another node, by reason
	LeasesEnded uint64            // of other nodes
	Alone       uint64            // times that this node was without its engine for longer than a lease
	Gaps        uint64            // times that it has missed changes of the directory
	Fetches     uint64            // times that it has asked for them
	BadRecords  uint64            // of others, that were not taken

	Messages, Bytes Ways   // between nodes
	Dropped         uint64 // messages that could not be sent

	Forwarded    map[string]uint64 // requests for other nodes, by outcome: "answered", or the kind of the fault
	ForwardDelay rooms.Histogram   // seconds until their answer began
	RefusedCalls uint64            // of other nodes, for want of a place

	Serving, Reading int    // streams to and from other nodes
	LostStreams      uint64 // whose reader was too slow

	Relays       int // tracks of other nodes that are pulled
	RelayViewers int // who play them
	Loans        int // publishers here whose room is at another node
	Rebuilds     uint64
	RelayLoss    float64 // between nodes, of the pull that loses most, from 0 to 1

	Compared     uint64 // times that this node has asked another for revocations, invitations and sign-ins that it lacked
	CompareFails uint64 // of them, without success
	BadShares    uint64 // messages about these that were not taken, or not all of them
}

// ClusterOf is what a node says of itself and of what it shares. forward is the verb of the calls by
// which it passes requests on. What relays say is left to the caller.
func ClusterOf(n cluster.Snapshot, forward string, s share.Snapshot) Cluster {
	d, calls := n.Directory, n.Calls[forward]
	out := Cluster{
		On: true, Connected: n.Connected, Routes: n.Routes + n.Leafs,
		Nodes: d.Members, Twins: d.Twins, Owned: d.Owned, Entries: d.Entries, Age: d.Age,
		Placements: d.Placements, Takeovers: make(map[string]uint64), LeasesEnded: d.LeasesEnded, Alone: d.Alone,
		Gaps: d.Gaps, Fetches: d.Fetches, BadRecords: d.Refused,
		Messages: Ways{n.MessagesIn, n.MessagesOut}, Bytes: Ways{n.BytesIn, n.BytesOut}, Dropped: n.Dropped,
		Forwarded: make(map[string]uint64), ForwardDelay: rooms.Histogram(calls.Delay), RefusedCalls: n.Refused,
		Serving: n.Sending, Reading: n.Reading, LostStreams: n.Slow,
		Compared: s.Pulls, CompareFails: s.Failures, BadShares: s.Refused,
	}
	for why, count := range d.Takeovers {
		out.Takeovers[string(why)] = count
	}
	answered := calls.Count
	for kind, count := range calls.Errors {
		out.Forwarded[kind] = count
		answered -= count
	}
	out.Forwarded["answered"] = answered
	return out
}

// Ways are numbers of both directions.
type Ways struct{ In, Out uint64 }

// The labels' closed sets, all of which are there from the start.
var (
	takeoverReasons = []string{"died", "drained", "contested"}
	forwardOutcomes = []string{
		"answered", string(fault.Unavailable), string(fault.TooLarge), string(fault.BadRequest), "internal",
	}
)

// clusterMetrics are absent where there is no cluster.
var clusterMetrics = []metric[Cluster]{
	gaugeOf("cluster_engine_connected", "1 while the engine (NATS) is reached.",
		func(s *Cluster) float64 { return number(s.Connected) }),
	gaugeOf("cluster_engine_routes", "Connections of the embedded engine to others, routes and leaf nodes.",
		func(s *Cluster) float64 { return float64(s.Routes) }),
	gaugeOf("cluster_nodes", "Nodes that are there, as this one sees it, itself among them.",
		func(s *Cluster) float64 { return float64(s.Nodes) }),
	gaugeOf("cluster_twins", "Nodes that have the name of another.",
		func(s *Cluster) float64 { return float64(s.Twins) }),
	gaugeOf("cluster_owned_rooms", "Rooms that live on this node.",
		func(s *Cluster) float64 { return float64(s.Owned) }),
	gaugeOf("cluster_directory_rooms", "Rooms of all nodes, as this one knows.",
		func(s *Cluster) float64 { return float64(s.Entries) }),
	gaugeOf("cluster_directory_age_seconds", "Time since the node was heard that was heard least lately.",
		func(s *Cluster) float64 { return s.Age.Seconds() }),
	counterOf("cluster_placements_total", "Rooms that this node has found an owner for, as their arbiter.",
		func(s *Cluster) uint64 { return s.Placements }),
	{desc("cluster_takeovers_total", "Rooms that came to this node from another, by reason.", "reason"),
		func(w writer, d *prometheus.Desc, s *Cluster) { collectClosed(w, d, takeoverReasons, s.Takeovers) }},
	counterOf("cluster_leases_ended_total", "Other nodes that were not heard for the length of a lease.",
		func(s *Cluster) uint64 { return s.LeasesEnded }),
	counterOf("cluster_engine_losses_total", "Times that this node was without its engine for longer than a lease.",
		func(s *Cluster) uint64 { return s.Alone }),
	counterOf("cluster_directory_gaps_total", "Times that this node has missed changes of the directory.",
		func(s *Cluster) uint64 { return s.Gaps }),
	counterOf("cluster_directory_fetches_total", "Times that this node has asked for what it had missed of the directory.",
		func(s *Cluster) uint64 { return s.Fetches }),
	counterOf("cluster_directory_refused_total", "Records of other nodes that were not taken: too many, or too large.",
		func(s *Cluster) uint64 { return s.BadRecords }),
	{desc("cluster_messages_total", "Messages between nodes.", "direction"), func(w writer, d *prometheus.Desc, s *Cluster) {
		w.counter(d, float64(s.Messages.In), "in")
		w.counter(d, float64(s.Messages.Out), "out")
	}},
	{desc("cluster_bytes_total", "Bytes of messages between nodes.", "direction"), func(w writer, d *prometheus.Desc, s *Cluster) {
		w.counter(d, float64(s.Bytes.In), "in")
		w.counter(d, float64(s.Bytes.Out), "out")
	}},
	counterOf("cluster_dropped_messages_total", "Messages to other nodes that could not be sent.",
		func(s *Cluster) uint64 { return s.Dropped }),
	{desc("cluster_forwarded_requests_total", "Requests that this node has passed on to a room's owner, by outcome.", "outcome"),
		func(w writer, d *prometheus.Desc, s *Cluster) { collectClosed(w, d, forwardOutcomes, s.Forwarded) }},
	{desc("cluster_forwarded_request_seconds", "Time until the owner's answer began."),
		func(w writer, d *prometheus.Desc, s *Cluster) { w.histogram(d, s.ForwardDelay) }},
	counterOf("cluster_refused_calls_total", "Calls of other nodes that were refused, because too many ran at once.",
		func(s *Cluster) uint64 { return s.RefusedCalls }),
	{desc("cluster_streams", "Streams between nodes.", "direction"), func(w writer, d *prometheus.Desc, s *Cluster) {
		w.gauge(d, float64(s.Reading), "in")
		w.gauge(d, float64(s.Serving), "out")
	}},
	counterOf("cluster_lost_streams_total", "Streams to other nodes that were given up, because their reader was too slow.",
		func(s *Cluster) uint64 { return s.LostStreams }),
	gaugeOf("cluster_relays", "Tracks of other nodes that this one relays.",
		func(s *Cluster) float64 { return float64(s.Relays) }),
	gaugeOf("cluster_relay_viewers", "Viewers who play relayed tracks.",
		func(s *Cluster) float64 { return float64(s.RelayViewers) }),
	gaugeOf("cluster_loans", "Publishers whose session is here though their room is at another node.",
		func(s *Cluster) float64 { return float64(s.Loans) }),
	counterOf("cluster_relay_rebuilds_total", "Times that a relayed track's session with its owner was lost, and made anew.",
		func(s *Cluster) uint64 { return s.Rebuilds }),
	gaugeOf("cluster_relay_loss_ratio", "Packets lost on the way from the owner in the last seconds, before repair, of the relayed track that loses most.",
		func(s *Cluster) float64 { return s.RelayLoss }),
	counterOf("cluster_share_requests_total", "Times that this node has asked another for revocations, invitations and sign-ins that it lacked.",
		func(s *Cluster) uint64 { return s.Compared }),
	counterOf("cluster_share_failures_total", "Times that it got no answer, or not all of it.",
		func(s *Cluster) uint64 { return s.CompareFails }),
	counterOf("cluster_share_refused_total", "Messages about revocations, invitations and sign-ins that could not be taken, or not all of them.",
		func(s *Cluster) uint64 { return s.BadShares }),
}

// collectClosed counts by a label that has no values but the known ones, and "other".
func collectClosed(w writer, d *prometheus.Desc, known []string, counts map[string]uint64) {
	out := make(map[string]uint64, len(known)+1)
	for _, k := range known {
		out[k] = 0
	}
	for k, n := range counts {
		if !slices.Contains(known, k) {
			k = other
		}
		out[k] += n
	}
	for k, n := range out {
		w.counter(d, float64(n), k)
	}
}
