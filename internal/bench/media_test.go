package bench

import (
	"bytes"
	"testing"

	"github.com/pion/rtp/codecs"

	"sightline/internal/media"
)

func TestParameterSetsTellThePicture(t *testing.T) {
	codec := &media.Codec{Name: "H264"}
	got, ok := media.Describe(codec, h264Parameters)
	if want := (media.Picture{Width: 1280, Height: 720, Profile: "Constrained Baseline 3.1"}); !ok || got != want {
		t.Errorf("got %+v, %v, want %+v", got, ok, want)
	}
	if got := media.StartOf(codec, h264Parameters); got != media.ParameterStart {
		t.Errorf("a keyframe does not begin with the parameter sets: %v", got)
	}
	if bytes.Contains(h264Parameters, []byte{0, 0}) {
		t.Error("the parameter sets want emulation prevention")
	}
}

// Frames of both codecs, cut into packets, come out of pion's depacketisers as they were
// made, with a marker for each cell.
func TestFramesCanBeDepacketised(t *testing.T) {
	for _, codec := range []string{"h264", "vp8"} {
		for _, rate := range []Bitrate{20_000, 2_500_000, 50_000_000} {
			c := Defaults()
			c.Codec, c.Bitrate = codec, rate
			s := c.sizes()
			for _, key := range []bool{true, false} {
				var frame []byte
				m := marker{count: uint16(s.cells(key))}
				if key {
					m.flags = flagKeyframe
				}
				h264, vp8 := &codecs.H264Packet{}, &codecs.VP8Packet{}
				for i := range int(m.count) {
					m.index = uint16(i)
					var payload, part []byte
					var err error
					if codec == "h264" {
						payload = h264Payload(nil, &m, s.cellSize(key, i))
						part, err = h264.Unmarshal(payload)
					} else {
						payload = vp8Payload(nil, &m, s.cellSize(key, i), s.frame(key))
						part, err = vp8.Unmarshal(payload)
					}
					if err != nil {
						t.Fatal(err)
					}
					if len(payload) > maxPacket-12 {
						t.Fatalf("%s: payload of %d bytes", codec, len(payload))
					}
					if got, _, found := findMarker(payload[:min(headSize, len(payload))]); !found || got != m {
						t.Fatalf("%s: the head of cell %d of %d has no marker", codec, i, m.count)
					}
					frame = append(frame, part...)
				}
				if n := len(frame); n < s.frame(key) || n > s.frame(key)+minCell+5 {
					t.Errorf("%s at %v: frame of %d bytes, want about %d", codec, rate, n, s.frame(key))
				}
				checkFrame(t, codec, key, frame)
			}
		}
	}
}

func checkFrame(t *testing.T, codec string, key bool, frame []byte) {
	t.Helper()
	if codec == "vp8" {
		start := media.StartOf(&media.Codec{Name: "VP8"}, append([]byte{0x10}, frame...))
		if (start != media.NoStart) != key {
			t.Errorf("vp8: key %v, but begins as %v", key, start)
		}
		if got, ok := media.Describe(&media.Codec{Name: "VP8"}, append([]byte{0x10}, frame...)); key && (!ok || got.Width != width || got.Height != height) {
			t.Errorf("vp8: picture %+v, %v", got, ok)
		}
		return
	}
	want := byte(1)
	if key {
		want = 5
	}
	if !bytes.HasPrefix(frame, []byte{0, 0, 0, 1}) || frame[4]&0x1f != want || bytes.Contains(frame[4:], []byte{0, 0}) {
		t.Errorf("h264: % x…, want one NAL unit of type %d", frame[:8], want)
	}
}

func TestFramesAreTheBitRateOnAverage(t *testing.T) {
	for _, rate := range []Bitrate{500_000, 2_500_000, 20_000_000} {
		c := Defaults()
		c.Bitrate = rate
		s := c.sizes()
		group := s.key + (s.interval-1)*s.other
		got := float64(group) * 8 / c.KeyframeInterval.Seconds()
		if got < float64(rate)*0.99 || got > float64(rate)*1.01 {
			t.Errorf("%v: a group of pictures has %.0f bit/s", rate, got)
		}
	}
}
