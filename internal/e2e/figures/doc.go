// Package figures measures the audio bridge: the delay through it, how speech sounds behind
// it, and what it costs. docs/BRIDGE.md has the figures. It takes a few minutes of a machine
// that has nothing else to do, and says what else there was.
//
//	make bench-bridge
package figures
