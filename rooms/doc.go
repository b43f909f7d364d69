// Package rooms is the heart of the gateway: it forwards each track of a publisher to its
// viewers, and knows neither HTTP nor WebRTC.
//
// A room holds publishers, a publisher at most one audio and one video track. A track's
// name is "publisher/kind". It outlives the session that feeds it: when a publisher comes
// back under its name within the grace, its viewers see a gap and nothing else.
//
//	Registry 1─* room 1─* publisher 1─* track 1─* Subscription
//	                          │           └ feed ─ media.Source      └ media.Sink
//	                          └ Publication (the session that feeds it now)
//
// In a room there are participants, too: people, with what they say of themselves. A room is
// open while it has a publisher or a participant.
//
// # The way of a packet
//
// A goroutine of Publication.Run reads bursts from a source and calls track.forward:
//
//	source ─▶ forward ─▶ ingest: numbering, picture ids, ring ─┬▶ Subscription.forward ─▶ sink
//	                                                           └▶ …
//	                      ring ─▶ Subscription.catchUp (a joiner, or a restart, until the live edge) ─▶ sink
//
// The numbering puts what successive sources bring into one line of 64-bit sequence
// numbers and 32-bit timestamps. The ring keeps the packets of the last group of pictures
// and of the last seconds: joiners start from it, and retransmissions come from it. A
// Subscription adds what is constant for its viewer.
//
// # Locks
//
// In this order: Registry.mu, track.turn, track.mu, Subscription.mu. Only track.turn is held
// while the track's reader calls a sink, or asks its source for a keyframe: it says whose turn
// it is to write to the track's subscriptions; neither call blocks, and no method that a sink
// may call takes it. No other lock is held while a sink, a source or a reader of events is
// called.
//
// # Goroutines
//
// The Registry has one that keeps the time for all rooms and one for each source that is
// read; Close waits for all of them. A source's reader ends with its source: a session
// whose Publication.Run has returned must be ended.
package rooms
