package rtc

import (
	"net"
	"testing"

	"github.com/pion/ice/v4"
	"github.com/pion/webrtc/v4"

	"sightline/internal/media"
)

// newTCPPeer returns a client whose network blocks UDP. It is closed when the test ends.
func newTCPPeer(t *testing.T) *webrtc.PeerConnection {
	t.Helper()
	var se webrtc.SettingEngine
	se.SetIncludeLoopbackCandidate(true)
	se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeTCP4})
	se.SetIPFilter(func(ip net.IP) bool { return ip.IsLoopback() })
	se.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(se)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.GracefulClose() })
	return pc
}

// A viewer or publisher whose network blocks UDP comes over ICE-TCP (RFC 6544).
func TestMediaComesOverTCPWhereUDPIsBlocked(t *testing.T) {
	e := testEngine(t, func(c *Config) { c.TCPListen = "127.0.0.1:0" })
	pc := newTCPPeer(t)
	l, video, _, _ := publish(t, e, pc)
	for i := range 10 {
		if err := video.WriteRTP(vp8(uint16(i), uint32(i)*3000, true)); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, source(t, l.Session, media.Video), 10); len(got) != 10 {
		t.Errorf("%d packets came", len(got))
	}
	if l.Path() != "tcp" {
		t.Errorf("path %q, want tcp", l.Path())
	}
}
