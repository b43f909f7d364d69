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
	Routes    int  // of an embedded engine to others

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
		On: true, Connected: n.Connected, Routes: n.Routes,
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

// The metrics of the cluster, which are absent where there is none.
var (
	engineConnected = desc("cluster_engine_connected", "1 while the engine (NATS) is reached.")
	engineRoutes    = desc("cluster_engine_routes", "Routes of the embedded engine to others.")
	nodesSeen       = desc("cluster_nodes", "Nodes that are there, as this one sees it, itself among them.")
	nodesTwins      = desc("cluster_twins", "Nodes that have the name of another.")
	roomsOwned      = desc("cluster_owned_rooms", "Rooms that live on this node.")
	roomsKnown      = desc("cluster_directory_rooms", "Rooms of all nodes, as this one knows.")
	directoryAge    = desc("cluster_directory_age_seconds", "Time since the node was heard that was heard least lately.")

	placements   = desc("cluster_placements_total", "Rooms that this node has found an owner for, as their arbiter.")
	roomsTaken   = desc("cluster_takeovers_total", "Rooms that came to this node from another, by reason.", "reason")
	leasesEnded  = desc("cluster_leases_ended_total", "Other nodes that were not heard for the length of a lease.")
	timesAlone   = desc("cluster_engine_losses_total", "Times that this node was without its engine for longer than a lease.")
	gaps         = desc("cluster_directory_gaps_total", "Times that this node has missed changes of the directory.")
	fetches      = desc("cluster_directory_fetches_total", "Times that this node has asked for what it had missed of the directory.")
	badRecords   = desc("cluster_directory_refused_total", "Records of other nodes that were not taken: too many, or too large.")
	nodeMessages = desc("cluster_messages_total", "Messages between nodes.", "direction")
	nodeBytes    = desc("cluster_bytes_total", "Bytes of messages between nodes.", "direction")
	nodeDropped  = desc("cluster_dropped_messages_total", "Messages to other nodes that could not be sent.")

	forwarded    = desc("cluster_forwarded_requests_total", "Requests that this node has passed on to a room's owner, by outcome.", "outcome")
	forwardDelay = desc("cluster_forwarded_request_seconds", "Time until the owner's answer began.")
	refusedCalls = desc("cluster_refused_calls_total", "Calls of other nodes that were refused, because too many ran at once.")

	nodeStreams = desc("cluster_streams", "Streams between nodes.", "direction")
	lostStreams = desc("cluster_lost_streams_total", "Streams to other nodes that were given up, because their reader was too slow.")

	relays       = desc("cluster_relays", "Tracks of other nodes that this one relays.")
	relayViewers = desc("cluster_relay_viewers", "Viewers who play relayed tracks.")
	rebuilds     = desc("cluster_relay_rebuilds_total", "Times that a relayed track's session with its owner was lost, and made anew.")
	relayLoss    = desc("cluster_relay_loss_ratio", "Packets lost on the way from the owner in the last seconds, before repair, of the relayed track that loses most.")

	compared     = desc("cluster_share_requests_total", "Times that this node has asked another for revocations, invitations and sign-ins that it lacked.")
	compareFails = desc("cluster_share_failures_total", "Times that it got no answer, or not all of it.")
	badShares    = desc("cluster_share_refused_total", "Messages about revocations, invitations and sign-ins that could not be taken, or not all of them.")
)

func clusterDescs() []*prometheus.Desc {
	return []*prometheus.Desc{
		engineConnected, engineRoutes, nodesSeen, nodesTwins, roomsOwned, roomsKnown, directoryAge,
		placements, roomsTaken, leasesEnded, timesAlone, gaps, fetches, badRecords, nodeMessages, nodeBytes, nodeDropped,
		forwarded, forwardDelay, refusedCalls, nodeStreams, lostStreams, relays, relayViewers, rebuilds, relayLoss, compared, compareFails, badShares,
	}
}

// The labels' closed sets, all of which are there from the start.
var (
	takeoverReasons = []string{"died", "drained", "contested"}
	forwardOutcomes = []string{
		"answered", string(fault.Unavailable), string(fault.TooLarge), string(fault.BadRequest), "internal",
	}
)

// collectCluster tells nothing of a gateway that is alone.
func collectCluster(w writer, s Cluster) {
	if !s.On {
		return
	}
	w.gauge(engineConnected, number(s.Connected))
	w.gauge(engineRoutes, float64(s.Routes))
	w.gauge(nodesSeen, float64(s.Nodes))
	w.gauge(nodesTwins, float64(s.Twins))
	w.gauge(roomsOwned, float64(s.Owned))
	w.gauge(roomsKnown, float64(s.Entries))
	w.gauge(directoryAge, s.Age.Seconds())

	w.counter(placements, float64(s.Placements))
	collectClosed(w, roomsTaken, takeoverReasons, s.Takeovers)
	w.counter(leasesEnded, float64(s.LeasesEnded))
	w.counter(timesAlone, float64(s.Alone))
	w.counter(gaps, float64(s.Gaps))
	w.counter(fetches, float64(s.Fetches))
	w.counter(badRecords, float64(s.BadRecords))
	w.counter(nodeMessages, float64(s.Messages.In), "in")
	w.counter(nodeMessages, float64(s.Messages.Out), "out")
	w.counter(nodeBytes, float64(s.Bytes.In), "in")
	w.counter(nodeBytes, float64(s.Bytes.Out), "out")
	w.counter(nodeDropped, float64(s.Dropped))

	collectClosed(w, forwarded, forwardOutcomes, s.Forwarded)
	w.histogram(forwardDelay, s.ForwardDelay)
	w.counter(refusedCalls, float64(s.RefusedCalls))
	w.gauge(nodeStreams, float64(s.Reading), "in")
	w.gauge(nodeStreams, float64(s.Serving), "out")
	w.counter(lostStreams, float64(s.LostStreams))
	w.gauge(relays, float64(s.Relays))
	w.gauge(relayViewers, float64(s.RelayViewers))
	w.counter(rebuilds, float64(s.Rebuilds))
	w.gauge(relayLoss, s.RelayLoss)
	w.counter(compared, float64(s.Compared))
	w.counter(compareFails, float64(s.CompareFails))
	w.counter(badShares, float64(s.BadShares))
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
