package bench

import (
	"slices"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/srtp/v3"
)

// play sends frames and returns the packets, sealed for the viewer.
func play(p *publisher, sent *tape, frames int) [][]byte {
	sent.packets = nil
	for range frames {
		p.sendFrame(time.Now())
	}
	return slices.Clone(sent.packets)
}

func receiveAll(v *viewer, packets [][]byte) {
	for _, b := range packets {
		v.receive(b, false, time.Now().UnixNano())
	}
}

func TestViewerCountsWhatComesAndWhatDoesNot(t *testing.T) {
	for _, codec := range []string{"h264", "vp8"} {
		for _, profile := range []srtp.ProtectionProfile{gcm, cm} {
			c, k := Defaults(), testKeys(t, profile)
			c.Codec = codec
			p, sent := testPublisher(t, c, k)
			v := testViewer(t, c, k)
			packets := play(p, sent, 90)
			last := len(packets) - 1
			// One is lost, two change places, one comes twice.
			packets = slices.Delete(packets, last-20, last-19)
			packets[30], packets[31] = packets[31], packets[30]
			packets = slices.Insert(packets, 40, packets[40])
			receiveAll(v, packets)
			got := v.totals
			if want := p.cells() - 1; got.received != want || got.frames != 89 || got.reordered != 1 || got.duplicated != 1 || got.forged != 0 {
				t.Errorf("%s, %v: %d packets, %d frames, %d reordered, %d duplicated, %d forged, want %d, 89, 1, 1, 0",
					codec, profile, got.received, got.frames, got.reordered, got.duplicated, got.forged, want)
			}
			if got.verified == 0 || got.delay.n != got.received || got.frameDelay.n != got.frames {
				t.Errorf("%d verified, %d delays of packets, %d of frames", got.verified, got.delay.n, got.frameDelay.n)
			}
			if v.firstPacket == 0 || v.firstKeyframe < v.firstPacket {
				t.Errorf("first packet after %v, first keyframe after %v", v.firstPacket, v.firstKeyframe)
			}
		}
	}
}

func TestOnlyTheWindowCounts(t *testing.T) {
	c, k := Defaults(), testKeys(t, gcm)
	p, sent := testPublisher(t, c, k)
	v := testViewer(t, c, k)
	p.measuring.Store(false)
	receiveAll(v, play(p, sent, 10))
	if v.totals.received != 0 || v.totals.packets == 0 || p.cells() != 0 || v.firstKeyframe == 0 {
		t.Errorf("outside the window: %d counted, %d packets, first keyframe after %v", v.totals.received, v.totals.packets, v.firstKeyframe)
	}
	p.measuring.Store(true)
	v.totals.began = time.Now().Add(time.Minute).UnixNano()
	receiveAll(v, play(p, sent, 10))
	if v.totals.received != 0 {
		t.Errorf("%d packets of an earlier run are counted", v.totals.received)
	}
}

func TestPacketsBeforeTheKeysAreKept(t *testing.T) {
	c, k := Defaults(), testKeys(t, gcm)
	p, sent := testPublisher(t, c, k)
	v := &viewer{totals: &totals{}, began: time.Now().UnixNano()}
	v.peer = newPeer(v)
	for _, b := range play(p, sent, 3) {
		memory := slices.Clone(b)
		v.receive(memory, false, time.Now().UnixNano())
		clear(memory) // the network's again
	}
	if err := v.start(k, testAnswer(), c.Codec); err != nil {
		t.Fatal(err)
	}
	if v.totals.received != p.cells() || v.totals.frames != 3 || v.early != nil {
		t.Errorf("%d packets, %d frames, want %d, 3", v.totals.received, v.totals.frames, p.cells())
	}
	v = &viewer{totals: &totals{}}
	for range maxEarly + 10 {
		v.receive(sent.packets[0], false, 1)
	}
	if len(v.early) != maxEarly {
		t.Errorf("%d packets are kept, want %d at most", len(v.early), maxEarly)
	}
}

// Some servers take frames apart and pack them anew: cells then lie anywhere in packets, two
// in one, and the numbering is the server's.
func TestRepackedFramesAreCounted(t *testing.T) {
	c, k := Defaults(), testKeys(t, gcm)
	p, _ := testPublisher(t, c, k)
	v := testViewer(t, c, k)
	repacked, err := srtp.CreateContext(k.keys.RemoteMasterKey, k.keys.RemoteMasterSalt, k.profile)
	if err != nil {
		t.Fatal(err)
	}
	var sequence uint16
	var packer codecs.H264Payloader
	for n := range 5 {
		s := p.sizes
		m := marker{flags: flagMeasured, frame: uint64(n), count: uint16(s.cells(false)), sent: time.Now().UnixNano()}
		var unit []byte
		h264 := &codecs.H264Packet{}
		for i := range int(m.count) {
			m.index, m.cell = uint16(i), p.video.cell
			p.video.cell++
			part, err := h264.Unmarshal(h264Payload(nil, &m, s.cellSize(false, i)))
			if err != nil {
				t.Fatal(err)
			}
			unit = append(unit, part...)
		}
		for _, payload := range packer.Payload(3000, unit) {
			sequence++
			plain, err := (&rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: h264Type, SequenceNumber: sequence, SSRC: 9}, Payload: payload}).Marshal()
			if err != nil {
				t.Fatal(err)
			}
			sealed, err := repacked.EncryptRTP(nil, plain, nil)
			if err != nil {
				t.Fatal(err)
			}
			v.receive(sealed, false, time.Now().UnixNano())
		}
	}
	if v.totals.received != p.video.cell || v.totals.frames != 5 || v.totals.packets >= p.video.cell {
		t.Errorf("%d cells, %d frames in %d packets, want %d, 5 in less", v.totals.received, v.totals.frames, v.totals.packets, p.video.cell)
	}
}

func TestForgedPacketsAreNoticed(t *testing.T) {
	c, k := Defaults(), testKeys(t, cm)
	p, sent := testPublisher(t, c, k)
	v := testViewer(t, c, k)
	for _, b := range play(p, sent, 200) {
		b[len(b)-1] ^= 1
		v.receive(b, false, 1)
	}
	if v.totals.verified == 0 || v.totals.forged != v.totals.verified {
		t.Errorf("%d of %d wrong tags are noticed", v.totals.forged, v.totals.verified)
	}
}

func TestCellsOutOfReach(t *testing.T) {
	var s cellSet
	for _, c := range []struct {
		cell        uint64
		fresh, late bool
	}{
		{100, true, false}, {100, false, true}, {99, true, true}, {99, false, true}, {101, true, false},
		{9000, true, false}, {101, false, true}, {8999, true, true}, {9000 - 4095, true, true}, {9000 - 4096, false, true},
		{1 << 34, true, false}, {1<<34 - 1, true, true}, {9000, false, true},
	} {
		if fresh, late := s.add(c.cell); fresh != c.fresh || late != c.late {
			t.Errorf("cell %d: fresh %v, late %v, want %v, %v", c.cell, fresh, late, c.fresh, c.late)
		}
	}
}

func TestViewerReportsAndAsksForAKeyframe(t *testing.T) {
	c, k := Defaults(), testKeys(t, gcm)
	p, sent := testPublisher(t, c, k)
	v := testViewer(t, c, k)
	play(p, sent, 1)                         // the keyframe, which does not come
	receiveAll(v, play(p, sent, 3)[1:])      // nor does the first of what follows
	receiveAll(v, play(p, sent, 3)[1:])      // a hole
	v.report(v.began + int64(time.Second)/2) // too soon to ask
	v.report(v.began + int64(time.Second))
	v.report(v.began + int64(time.Second)*3/2)
	out := v.peer.end.(*tape)
	open, err := srtp.CreateContext(k.keys.LocalMasterKey, k.keys.LocalMasterSalt, k.profile)
	if err != nil {
		t.Fatal(err)
	}
	var asked []bool
	for i, b := range out.packets {
		plain, err := open.DecryptRTCP(nil, b, nil)
		if err != nil {
			t.Fatal(err)
		}
		packets, err := rtcp.Unmarshal(plain)
		if err != nil {
			t.Fatal(err)
		}
		r, ok := packets[0].(*rtcp.ReceiverReport)
		if !ok || len(r.Reports) != 1 || r.Reports[0].TotalLost != 1 || r.Reports[0].SSRC != p.video.ssrc {
			t.Errorf("report %d: %v", i, packets[0])
		} else if lost := r.Reports[0].FractionLost; (lost > 0) != (i == 0) {
			t.Errorf("report %d: fraction lost %d", i, lost)
		}
		_, pli := packets[len(packets)-1].(*rtcp.PictureLossIndication)
		asked = append(asked, pli)
	}
	if want := []bool{false, true, false}; !slices.Equal(asked, want) {
		t.Errorf("asked for a keyframe: %v, want %v", asked, want)
	}
}
