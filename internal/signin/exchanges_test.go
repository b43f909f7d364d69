package signin

import (
	"net/netip"
	"testing"

	"sightline/internal/fault"
)

// Who comes back with made-up codes takes the places of his own address, and no others.
func TestNoAddressHasThePlacesOfAllOthers(t *testing.T) {
	e := exchanges{from: make(map[netip.Addr]int)}
	addresses := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")}
	var releases []func()
	for _, address := range addresses[:2] {
		for i := range maxExchangesPerAddress {
			release, err := e.take(address)
			if err != nil {
				t.Fatalf("place %d of %s: %v", i, address, err)
			}
			releases = append(releases, release)
		}
		if _, err := e.take(address); fault.KindOf(err) != fault.TooMany {
			t.Errorf("one too many of %s: got %v, want %s", address, err, fault.TooMany)
		}
	}
	if _, err := e.take(addresses[2]); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("where all places are taken: got %v, want %s", err, fault.Unavailable)
	}
	releases[0]()
	release, err := e.take(addresses[2])
	if err != nil {
		t.Fatalf("after one was given back: %v", err)
	}
	for _, release := range append(releases[1:], release) {
		release()
	}
	if e.all != 0 || len(e.from) != 0 {
		t.Errorf("%d places are taken by %d addresses after all were given back", e.all, len(e.from))
	}
}
