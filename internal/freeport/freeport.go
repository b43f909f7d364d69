// Package freeport finds addresses for servers of tests.
package freeport

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// The ports below those that systems give out by themselves: Linux begins at 32768 (ip_local_port_range).
// One of those could be taken by a connection of somebody else before the server listens.
const (
	first = 10_000
	last  = 32_000
)

// Address returns host:port on loopback that nobody listened at a moment ago, by TCP or UDP, for a server
// that has to be told before it listens.
func Address(t testing.TB) string {
	t.Helper()
	for range 100 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(first+rand.IntN(last-first)))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		l.Close()
		u, err := net.ListenPacket("udp", addr)
		if err != nil {
			continue
		}
		u.Close()
		return addr
	}
	t.Fatal("no free port on loopback in a hundred tries")
	return ""
}
