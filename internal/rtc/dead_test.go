package rtc

import (
	"runtime"
	"testing"
	"time"

	"github.com/pion/rtp"

	"sightline/internal/media"
)

// A stage is a track that is written to some viewers as rooms does it.
type stage struct {
	t        *testing.T
	sinks    []*LocalTrack
	sequence uint16 // of the next packet, the same for all
	written  uint64 // packets, to each
}

const (
	stageBurst   = 40   // packets
	stagePayload = 1188 // bytes
)

// burst makes the n packets of a frame.
func (s *stage) burst(n int) []media.Outgoing {
	burst := make([]media.Outgoing, n)
	for i := range burst {
		payload := make([]byte, stagePayload)
		payload[0], payload[2], payload[3] = 0x10, byte(s.sequence>>8), byte(s.sequence)
		burst[i] = media.Outgoing{
			Packet:   &media.Packet{Codec: &vp8Codec, Payload: payload, Marker: i == n-1},
			Sequence: s.sequence, Timestamp: uint32(s.written),
		}
		s.sequence++
	}
	s.written += uint64(n)
	return burst
}

// write writes a burst to all sinks by way of one batch, and returns what each sink said. It
// fails the test if that doesn't return: nobody may hold the writer up.
func (s *stage) write(burst []media.Outgoing) []bool {
	s.t.Helper()
	ok := make([]bool, len(s.sinks))
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		batch := s.sinks[0].NewBatch()
		for i, sink := range s.sinks {
			ok[i] = sink.WriteTo(batch, burst)
		}
		batch.Flush()
	}()
	select {
	case <-returned:
		return ok
	case <-time.After(patience):
		s.t.Fatalf("a write of %d packets to %d viewers has not returned in %v", len(burst), len(s.sinks), patience)
		return nil
	}
}

// checkCame fails the test unless the viewer gets the burst.
func checkCame(t *testing.T, viewer *rawPeer, burst []media.Outgoing) {
	t.Helper()
	for i := range burst {
		checkPacket(t, viewer.nextRTP(t), &burst[i])
	}
}

func checkPacket(t *testing.T, got *rtp.Packet, want *media.Outgoing) {
	t.Helper()
	if got.SequenceNumber != want.Sequence || got.Timestamp != want.Timestamp || string(got.Payload) != string(want.Payload) {
		t.Fatalf("got packet %d, timestamp %d, %d bytes; want packet %d, timestamp %d, %d bytes",
			got.SequenceNumber, got.Timestamp, len(got.Payload), want.Sequence, want.Timestamp, len(want.Payload))
	}
}

// heap returns how much memory is in use.
func heap() int64 {
	var m runtime.MemStats
	for range 2 { // what a pool holds goes with the second
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A viewer whose client has hung, so that its socket's buffer is full and stays so, costs the
// others nothing. The gateway sends on: what such a client loses is the network's loss, and
// consent tells whether it is gone (RFC 7675).
func TestAViewerThatReadsNothingCostsTheOthersNothing(t *testing.T) {
	e := testEngine(t)
	viewers := []*rawPeer{newRawPeer(t, e, rawOptions{}), newRawPeer(t, e, rawOptions{}), newRawPeer(t, e, rawOptions{})}
	s := &stage{t: t, sequence: 1000}
	for _, v := range viewers {
		s.sinks = append(s.sinks, v.life.Sinks()[0])
	}
	alive, dead := []*rawPeer{viewers[0], viewers[2]}, viewers[1]
	burst := s.burst(stageBurst)
	s.write(burst)
	for _, v := range viewers {
		checkCame(t, v, burst)
	}

	if err := dead.conn.SetReadBuffer(1); err != nil { // the kernel makes it the least it knows
		t.Fatal(err)
	}
	if err := dead.conn.SetReadDeadline(time.Unix(1, 0)); err != nil { // ends its reader
		t.Fatal(err)
	}
	const bursts = 100
	before := heap()
	for n := range bursts {
		burst := s.burst(stageBurst)
		for i, ok := range s.write(burst) {
			if !ok {
				t.Fatalf("burst %d: viewer %d is called full", n, i)
			}
		}
		for _, v := range alive {
			checkCame(t, v, burst)
		}
	}
	if grown := heap() - before; grown > 1<<20 {
		t.Errorf("%d bytes more are in use after %d packets to a viewer that reads none", grown, bursts*stageBurst)
	}
	for i, sink := range s.sinks {
		if st := sink.Stats(); st.Packets != s.written || st.Dropped != 0 {
			t.Errorf("viewer %d: %d packets sent, %d dropped; want %d, 0", i, st.Packets, st.Dropped, s.written)
		}
	}
}
