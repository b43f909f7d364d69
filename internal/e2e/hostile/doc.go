// Package hostile attacks the real server on loopback while a live stream is watched and
// others join: half-open sessions, datagrams of nobody's, bodies that never end, and guessed
// tokens. It tells what the viewer lost, and what joining took.
//
// The server, and the attacker, are processes of their own; they share the processors of this
// machine with who measures. A short attack is among the ordinary tests; the figures of
// docs/SECURITY.md are from
//
//	make bench-hostile
package hostile
