package bench

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/srtp/v3"
)

// feedback sends RTCP to a publisher as the server would.
func feedback(t *testing.T, p *publisher, server *srtp.Context, packets ...rtcp.Packet) {
	t.Helper()
	plain, err := rtcp.Marshal(packets)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := server.EncryptRTCP(nil, plain, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.receive(sealed, true, 0)
}

func TestPublisherSendsAgainWhatIsMissing(t *testing.T) {
	c, k := Defaults(), testKeys(t, gcm)
	p, sent := testPublisher(t, c, k)
	server, err := srtp.CreateContext(k.keys.LocalMasterKey, k.keys.LocalMasterSalt, k.profile)
	if err != nil {
		t.Fatal(err)
	}
	packets := play(p, sent, 300)
	sent.packets = nil
	newest := p.video.sequence - 1
	feedback(t, p, server, &rtcp.TransportLayerNack{MediaSSRC: p.video.ssrc, Nacks: []rtcp.NackPair{
		{PacketID: newest - 3, LostPackets: 1}, // and the next
		{PacketID: newest - 2*ringSize},        // forgotten
		{PacketID: newest + 5},                 // not sent yet
	}})
	n := len(packets)
	if len(sent.packets) != 2 || !bytes.Equal(sent.packets[0], packets[n-4]) || !bytes.Equal(sent.packets[1], packets[n-3]) {
		t.Errorf("%d packets are sent again, want the two that are left", len(sent.packets))
	}
	if p.nacks != 4 || p.resent != 2 {
		t.Errorf("%d asked for, %d sent again, want 4 and 2", p.nacks, p.resent)
	}
	p.receive([]byte("nonsense that is no SRTCP packet"), true, 0)
	if p.nacks != 4 {
		t.Error("nonsense is taken for a request")
	}
}

// keyframes returns when the frames of seconds were keyframes; ask is called before each.
func keyframes(t *testing.T, ask func(p *publisher, server *srtp.Context, at time.Duration)) (at []time.Duration) {
	t.Helper()
	c, k := Defaults(), testKeys(t, gcm)
	p, sent := testPublisher(t, c, k)
	server, err := srtp.CreateContext(k.keys.LocalMasterKey, k.keys.LocalMasterSalt, k.profile)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for time.Since(start) < 5*time.Second {
		ask(p, server, time.Since(start))
		before := len(sent.packets)
		p.sendFrame(time.Now())
		if n := len(sent.packets) - before; n == p.sizes.cells(true)+1 { // and the parameter sets
			at = append(at, time.Since(start).Round(10*time.Millisecond))
		}
		time.Sleep(time.Second / 30)
	}
	return at
}

func TestKeyframesComeRegularlyAndWhenAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := keyframes(t, func(*publisher, *srtp.Context, time.Duration) {})
		if len(got) != 3 || got[0] != 0 || got[1] != 2*time.Second || got[2] != 4*time.Second {
			t.Errorf("keyframes at %v, want every 2 s", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		got := keyframes(t, func(p *publisher, server *srtp.Context, at time.Duration) {
			if at > time.Second && at < 1500*time.Millisecond { // with every frame
				feedback(t, p, server, &rtcp.PictureLossIndication{MediaSSRC: p.video.ssrc})
			}
		})
		var gap time.Duration = time.Hour
		for i := 1; i < len(got); i++ {
			gap = min(gap, got[i]-got[i-1])
		}
		if len(got) != 5 || gap < keyframePause {
			t.Errorf("keyframes at %v, want five, none within %v of another", got, keyframePause)
		}
	})
}

// A publisher sends as many frames and packets as are due, and a report a second.
func TestPublisherKeepsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, k := Defaults(), testKeys(t, gcm)
		p, sent := testPublisher(t, c, k)
		ctx, cancel := context.WithTimeout(t.Context(), 9990*time.Millisecond)
		defer cancel()
		p.run(ctx)
		if p.video.next != 300 || p.audio.next != 500 {
			t.Errorf("%d frames and %d packets of audio in 10 s, want 300 and 500", p.video.next, p.audio.next)
		}
		if p.video.measuredFrames.Load() != 300 || p.lag.max != 0 {
			t.Errorf("%d frames measured, %v late", p.video.measuredFrames.Load(), p.lag.max)
		}
		server, err := srtp.CreateContext(k.keys.RemoteMasterKey, k.keys.RemoteMasterSalt, k.profile)
		if err != nil {
			t.Fatal(err)
		}
		reports := 0
		for _, b := range sent.packets {
			if b[1] < 192 || b[1] > 223 {
				continue
			}
			plain, err := server.DecryptRTCP(nil, b, nil)
			if err != nil {
				t.Fatal(err)
			}
			packets, err := rtcp.Unmarshal(plain)
			if err != nil {
				t.Fatal(err)
			}
			if r, ok := packets[0].(*rtcp.SenderReport); !ok || r.SSRC != p.video.ssrc || r.PacketCount == 0 {
				t.Errorf("report %v", packets[0])
			}
			reports++
		}
		if reports != 9 {
			t.Errorf("%d reports in 10 s, want 9", reports)
		}
	})
}
