//go:build e2e

package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	lossPercent = 5
	lossFor     = 15 * time.Second
)

// A twentieth of what is sent to the viewer is lost: it asks again, and its picture doesn't stop. That it was resent what
// it asked for, and that all of it was sealed by an AEAD, is the browser's own account.
func TestLossOnTheViewersPath(t *testing.T) {
	s := serve(t)
	ffmpeg(t, s.whip("console"), camera{Size: "640x360", Keyframe: 30})
	s.awaitTrack("console/video", 10*time.Second, nil)
	b := launch(t, "chromium")
	b.play("viewer", s.whep("console"), "audio video", "")
	b.firstFrame("viewer", 5*time.Second)

	before := s.metric(metricResent)
	dropped := playWithLoss(t, b, clientSide)
	resent := s.metric(metricResent) - before
	t.Logf("the server resent %.0f packets", resent)
	// Sound, reports and resent packets are dropped, too; video is nine tenths of what is sent.
	if resent < float64(dropped)/2 {
		t.Errorf("the server resent %.0f packets, want half of the %d that were dropped at least", resent, dropped)
	}
	after := b.stats("viewer")
	if after.Video.NackCount == 0 || after.Video.RetransmittedPacketsReceived == 0 {
		t.Errorf("Chromium asked %d times and was resent %d packets, want some of both", after.Video.NackCount, after.Video.RetransmittedPacketsReceived)
	}
	tr := after.Transport
	t.Logf("Chromium's transport: DTLS %s with %s, SRTP with %s", tr.DTLSState, tr.DTLSCipher, tr.SRTPCipher)
	if tr.DTLSState != "connected" {
		t.Errorf("Chromium calls DTLS %q, want connected", tr.DTLSState)
	}
	if aead := []string{"AEAD_AES_128_GCM", "AEAD_AES_256_GCM"}; !slices.Contains(aead, strings.TrimPrefix(tr.SRTPCipher, "SRTP_")) { // as the registry of RFC 7714 has it since Chromium 156.0.8078
		t.Errorf("Chromium has negotiated %q for SRTP, want one of %q (RFC 7714)", tr.SRTPCipher, aead)
	}
	b.stop("viewer")
	s.awaitViewers("console/video", 0, 5*time.Second)
}

// A twentieth of what the publisher sends is lost: the server asks again, at most three times for a packet, and the
// viewer's picture doesn't stop.
func TestLossOnThePublishersPath(t *testing.T) {
	s := serve(t)
	ffmpeg(t, s.whip("console"), camera{Size: "640x360", Keyframe: 30})
	s.awaitTrack("console/video", 10*time.Second, nil)
	b := launch(t, "chromium")
	b.play("viewer", s.whep("console"), "audio video", "")
	b.firstFrame("viewer", 5*time.Second)

	readings := func() (never, repaired, asked float64) {
		return s.metric(metricLost, `kind="video"`), s.metric(metricRepaired, `kind="video"`), s.metric(metricAsked, `kind="video"`)
	}
	never0, repaired0, asked0 := readings()
	dropped := playWithLoss(t, b, serverSide)
	time.Sleep(time.Second) // the last of them come, or are given up
	never, repaired, asked := readings()
	never, repaired, asked = never-never0, repaired-repaired0, asked-asked0
	lost := never + repaired
	t.Logf("the server missed %.0f packets of video, asked %.0f times, %.2f for each, and got %.0f of them in the end", lost, asked, asked/lost, repaired)
	if lost < float64(dropped)/2 {
		t.Errorf("the server missed %.0f packets of video, want half of the %d that were dropped at least", lost, dropped)
	}
	if asked > 3*lost {
		t.Errorf("the server asked %.0f times for %.0f lost packets, want three times each at most", asked, lost)
	}
	if repaired < 0.95*lost {
		t.Errorf("%.0f of %.0f lost packets came in the end, want 95 of 100", repaired, lost)
	}
	b.stop("viewer")
	s.awaitViewers("console/video", 0, 5*time.Second)
}

// playWithLoss loses packets that arrive at a side while a viewer plays, and checks that its picture doesn't stop. It
// returns how many were dropped.
func playWithLoss(t *testing.T, b *browser, at side) int {
	t.Helper()
	before := b.stats("viewer")
	b.frames("viewer")
	stop := lose(t, at, lossPercent)
	time.Sleep(lossFor)
	came, dropped := stop()
	after := b.stats("viewer")
	frames := b.frames("viewer")
	b.picture("loss-" + string(at))

	gap := longestGap(frames)
	t.Logf("%d of %d packets dropped; in %v Chromium decoded %d frames, longest time without one %v, %d freezes (%.2f s), "+
		"asked %d times, was resent %d packets, misses %d of video and %d of audio; %.1f %% of the sound concealed",
		dropped, came, lossFor, after.Video.FramesDecoded-before.Video.FramesDecoded, gap.Round(time.Millisecond),
		after.Video.FreezeCount-before.Video.FreezeCount, after.Video.TotalFreezesDuration-before.Video.TotalFreezesDuration,
		after.Video.NackCount-before.Video.NackCount, after.Video.RetransmittedPacketsReceived-before.Video.RetransmittedPacketsReceived,
		after.Video.PacketsLost-before.Video.PacketsLost, after.Audio.PacketsLost-before.Audio.PacketsLost,
		100*(after.Audio.ConcealedSamples-before.Audio.ConcealedSamples)/(after.Audio.TotalSamplesReceived-before.Audio.TotalSamplesReceived))
	if dropped == 0 {
		t.Errorf("no packet was dropped")
	}
	// One packet in eight thousand is lost and resent in vain three times. The picture then stops until the next keyframe,
	// a second at most: ffmpeg makes none on demand.
	if limit := 1500 * time.Millisecond; gap > limit {
		t.Errorf("the picture stopped for %v, want %v at most", gap, limit)
	}
	if want := int(lossFor/time.Second) * 25; len(frames) < want {
		t.Errorf("%d frames shown in %v, want %d", len(frames), lossFor, want)
	}
	return dropped
}

// Metrics that these tests read.
const (
	metricResent   = "sightline_track_retransmitted_packets_total"
	metricLost     = "sightline_track_lost_packets_total"
	metricRepaired = "sightline_track_repaired_packets_total"
	metricAsked    = "sightline_track_sent_nacks_total"
)
