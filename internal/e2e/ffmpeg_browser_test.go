//go:build e2e

package e2e

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"
)

// Ten seconds of 720p at 30 frames/s with a keyframe each second: every endpoint plays all of it.
func TestChromiumPlaysFFmpeg(t *testing.T) {
	s := serve(t)
	p := ffmpeg(t, s.whip("console"), camera{Size: "1280x720", Keyframe: 30})
	s.awaitTrack("console/audio", 10*time.Second, nil)
	s.awaitTrack("console/video", 5*time.Second, func(tr track) error {
		if tr.Codec != "H264" || tr.Path != "udp" || tr.Width != 1280 || tr.Height != 720 {
			return fmt.Errorf("the room API says %+v, want H264, 1280x720, over udp", tr)
		}
		return nil
	})
	b := launch(t, "chromium")

	for _, tt := range []struct{ name, track, kinds, counts string }{
		{"pair", "console", "audio video", "console/video"},
		{"video", "console/video", "video", "console/video"},
		{"audio", "console/audio", "audio", "console/audio"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b.t = t
			b.play("viewer", s.whep(tt.track), tt.kinds, "")
			if tt.kinds != "audio" {
				t.Logf("first frame after %v", b.firstFrame("viewer", 5*time.Second).Round(time.Millisecond))
			} else {
				s.awaitViewers("console/audio", 1, 5*time.Second)
			}
			before := b.stats("viewer")
			time.Sleep(10 * time.Second)
			after := b.stats("viewer")
			b.picture("ffmpeg-" + tt.name)
			if tt.kinds != "audio" {
				decoded := after.Video.FramesDecoded - before.Video.FramesDecoded
				t.Logf("decoded %d frames in 10 s, longest time without one %v", decoded, longestGap(b.frames("viewer")))
				if decoded < 280 {
					t.Errorf("decoded %d frames in 10 s, want 280", decoded)
				}
				if after.Video.FreezeCount != 0 {
					t.Errorf("%d freezes, want none", after.Video.FreezeCount)
				}
			}
			if tt.kinds != "video" {
				wantSound(t, before.Audio, after.Audio, 10*time.Second)
			}
			b.stop("viewer")
			s.awaitViewers(tt.counts, 0, 5*time.Second)
		})
	}
	b.t = t

	t.Run("first frame", func(t *testing.T) {
		b.t = t
		var waits []time.Duration
		for i := range 10 {
			name := fmt.Sprint("joiner", i)
			b.play(name, s.whep("console"), "audio video", "")
			waits = append(waits, b.firstFrame(name, 5*time.Second).Round(time.Millisecond))
			b.stop(name)
		}
		median := medianOf(waits)
		t.Logf("first frame after %v, median %v", waits, median)
		if median > time.Second {
			t.Errorf("first frame after %v, want 1 s at most", median)
		}
	})
	b.t = t
	wantEndOfFFmpeg(t, s, p, "console")
}

// With ten seconds from keyframe to keyframe a joiner is shown the cached group of pictures, and is not left behind by it.
func TestJoinerOfALongGroupOfPicturesCatchesUp(t *testing.T) {
	s := serve(t)
	ffmpeg(t, s.whip("console"), camera{Size: "1280x720", Keyframe: 300})
	s.awaitTrack("console/video", 10*time.Second, nil)
	b := launch(t, "chromium")

	keyframe := func() time.Duration {
		tr, _ := s.track("console/video")
		if tr.KeyframeAge == nil {
			return 0
		}
		return time.Duration(*tr.KeyframeAge) * time.Millisecond
	}
	// One joins at a keyframe, the other when it is seven seconds old.
	eventually(t, 12*time.Second, func() error {
		if age := keyframe(); age > 300*time.Millisecond {
			return fmt.Errorf("the last keyframe is %v old", age)
		}
		return nil
	})
	b.play("early", s.whep("console"), "audio video", "")
	early := b.firstFrame("early", 5*time.Second)
	eventually(t, 12*time.Second, func() error {
		if age := keyframe(); age < 7*time.Second {
			return fmt.Errorf("the last keyframe is %v old", age)
		}
		return nil
	})
	b.play("late", s.whep("console"), "audio video", "")
	late := b.firstFrame("late", 5*time.Second)
	t.Logf("first frame after %v at a keyframe, %v in the middle of the group", early.Round(time.Millisecond), late.Round(time.Millisecond))
	if late > 1500*time.Millisecond {
		t.Errorf("first frame after %v in the middle of the group, want 1.5 s at most", late)
	}

	// Three seconds after it joined, how far is each behind the camera's numbering?
	time.Sleep(3*time.Second - late)
	b.frames("early")
	b.frames("late")
	time.Sleep(time.Second)
	behindEarly, behindLate := behind(t, b.frames("early")), behind(t, b.frames("late"))
	difference := behindLate - behindEarly
	b.picture("ffmpeg-joiner-of-a-long-group")
	t.Logf("3 s after joining the late viewer is %v behind the early one", difference.Round(time.Millisecond))
	if difference.Abs() > 200*time.Millisecond {
		t.Errorf("the late viewer is %v behind the early one, want 200 ms at most", difference)
	}
}

// behind returns the median of the time at which frames were shown less the time that their numbers say, for a camera
// of 30 frames/s. Only the difference of two viewers' readings means something.
func behind(t *testing.T, frames []frame) time.Duration {
	t.Helper()
	var all []float64
	for _, f := range frames {
		if f.Mark >= 0 {
			all = append(all, f.At-float64(f.Mark&0xffff)*1000/30)
		}
	}
	if len(all) < 15 {
		t.Fatalf("%d numbered frames of %d in a second, want 15", len(all), len(frames))
	}
	slices.Sort(all)
	// Milliseconds since 1970 fit a Duration.
	return time.Duration(math.Round(all[len(all)/2] * float64(time.Millisecond)))
}

// wantSound fails the test if what was heard between two readings was not nearly all of it, or silent.
func wantSound(t *testing.T, before, after rtpStats, in time.Duration) {
	t.Helper()
	energy := after.TotalAudioEnergy - before.TotalAudioEnergy
	samples := after.TotalSamplesReceived - before.TotalSamplesReceived
	concealed := after.ConcealedSamples - before.ConcealedSamples
	packets := after.PacketsReceived - before.PacketsReceived
	t.Logf("sound: %d packets, energy %.3f, %.1f %% of it concealed", packets, energy, 100*concealed/max(samples, 1))
	if want := int(in/(20*time.Millisecond)) * 95 / 100; packets < want {
		t.Errorf("received %d packets of sound in %v, want %d", packets, in, want)
	}
	if energy <= 0 {
		t.Errorf("the sound is silent")
	}
}

func medianOf(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}
