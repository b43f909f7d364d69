// Package freeport finds addresses for servers of tests.
package freeport

import (
	"net"
	"testing"
)

// Address returns host:port on loopback that nobody listened at a moment ago, for a server that has to
// be told before it listens.
func Address(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
