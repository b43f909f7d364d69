// Package bench loads a WHIP/WHEP server from outside and measures what it does: it
// publishes streams, plays each many times, and tells what arrived, when, and what it cost
// the server.
//
// It is a guest that knows nothing of the gateway: what it asks for is in the standards, so
// that other servers can be measured too. Its peers are lighter than a PeerConnection, so
// that the server is the bottleneck and not the generator:
//
//	Run ── join ──▶ peer (offer, ICE, DTLS) ──▶ viewer or publisher
//	server ══SRTP══▶ network (batches, kernel's time) ─▶ peer.receive ─▶ viewer.receive ─▶ inbound (cells, frames) ─▶ totals
//	publisher.run ─▶ packets with markers, sealed ─▶ network ══SRTP══▶ server
//
// Every packet of media carries a marker in its payload, a cell's number and the time it was
// sent. A viewer decrypts only as much of a packet as holds the marker.
//
// One lock, network.mu, guards all that datagrams change. It is taken once for a batch.
package bench
