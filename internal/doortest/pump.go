package doortest

import (
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// pump sends one packet, a frame of its own, every 20 ms until the test ends.
func pump(t testing.TB, track *webrtc.TrackLocalStaticRTP, clockRate uint32, payload []byte) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		p := rtp.Packet{Header: rtp.Header{Version: 2, Marker: true}, Payload: payload}
		for {
			select {
			case <-tick.C:
				_ = track.WriteRTP(&p)
				p.SequenceNumber++
				p.Timestamp += clockRate / 50
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-done })
}

// Deltaframe returns a payload that is a whole frame, but no keyframe.
func Deltaframe(mime string) []byte {
	if mime == webrtc.MimeTypeH264 {
		return []byte{0x61, 0x9a, 0x00, 0x10}
	}
	return []byte{0x10, 0x11, 0x02, 0x00}
}

// Keyframe returns a payload that is a whole keyframe: of VP8 (RFC 7741, section 4.3; 64
// by 48 pixels) or H.264 (an IDR slice with its parameter sets). For audio it is a frame
// of Opus silence.
func Keyframe(mime string) []byte {
	switch mime {
	case webrtc.MimeTypeVP8:
		return []byte{0x10, 0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 64, 0, 48, 0, 1, 2, 3, 4}
	case webrtc.MimeTypeH264:
		sps := []byte{0x67, 0x42, 0xc0, 0x1f, 0xda, 0x02, 0x80, 0xbf, 0xe5, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00, 0x00, 0x03, 0x00, 0xf0, 0x3c, 0x60, 0xca, 0x80}
		pps := []byte{0x68, 0xce, 0x0f, 0xc8}
		idr := []byte{0x65, 0x88, 0x84, 0x00, 0x10}
		out := []byte{0x78} // STAP-A (RFC 6184, section 5.7.1)
		for _, nal := range [][]byte{sps, pps, idr} {
			out = append(out, 0, byte(len(nal)))
			out = append(out, nal...)
		}
		return out
	default:
		return []byte{0xf8, 0xff, 0xfe}
	}
}
