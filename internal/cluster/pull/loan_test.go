package pull_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"sightline/internal/audit"
	"sightline/internal/cluster"
	"sightline/internal/doortest"
	"sightline/internal/fault"
	"sightline/internal/media"
	"sightline/internal/rtc"
	"sightline/rooms"
)

// stay connects a publisher at a node whose client does not come back by itself: it is none of our pages.
func (n *node) stay(t *testing.T, publisher string) *doortest.Peer {
	t.Helper()
	p := doortest.NewPeer(t)
	p.Send(t, speech, webrtc.MimeTypeVP8, webrtc.MimeTypeOpus)
	p.Connect(t, n.Gateway, "/whip/mri/"+publisher)
	n.has(t, publisher)
	return p
}

// speech is no silence, which a doortest.Keyframe of Opus is.
func speech(mime string) []byte {
	if mime == webrtc.MimeTypeOpus {
		return []byte{0xf8, 1, 2, 3, 4, 5}
	}
	return doortest.Keyframe(mime)
}

// lose takes the room from a node, which it is told afterwards, as by a cluster.Node.
func (m *mesh) lose(room string, from, to *node, why cluster.Why) {
	m.own(room, to)
	from.Rooms.Move(room, string(why))
	to.Rooms.Keep(room, nil)
}

// has waits until the room has that publisher at a node, live, and returns it.
func (n *node) has(t *testing.T, publisher string) (out rooms.PublisherInfo) {
	t.Helper()
	doortest.Eventually(t, func() string {
		m, err := n.Rooms.Room("mri")
		if err != nil {
			return err.Error()
		}
		for _, p := range m.Publishers {
			if p.Name == publisher && len(p.Tracks) == 2 && p.Tracks[0].State == rooms.Live && p.Tracks[1].State == rooms.Live {
				out = p
				return ""
			}
		}
		return fmt.Sprintf("the room has no live publisher %q at node %s: %+v", publisher, n.member.Name, m.Publishers)
	})
	return out
}

// lends waits until the node lends so many.
func (n *node) lends(t *testing.T, want int) {
	t.Helper()
	doortest.Eventually(t, func() string {
		if got := n.puller.Snapshot().Loans; got != want {
			return fmt.Sprintf("node %s lends %d publishers, want %d", n.member.Name, got, want)
		}
		return ""
	})
}

// published waits until the sessions of publishers at a node have ended by these.
func (n *node) published(t *testing.T, by ...rtc.End) {
	t.Helper()
	doortest.Eventually(t, func() string {
		var causes []rtc.End
		for _, e := range n.Audit.Events("published") {
			if e.Phase == audit.Ended {
				causes = append(causes, rtc.End(e.Cause))
			}
		}
		if !slices.Equal(causes, by) {
			return fmt.Sprintf("publishers' sessions have ended by %q, want %q", causes, by)
		}
		return ""
	})
}

// Whoever would not come back stays where he is, and is in his room all the same, wherever that goes.
func TestAPublisherThatWouldNotComeBackIsLent(t *testing.T) {
	m := newMesh()
	a, b, c := m.join(t, "a"), m.join(t, "b"), m.join(t, "c")
	m.own("mri", a)
	p := a.stay(t, "console")
	before := a.has(t, "console")
	v := a.watch(t, "mri/console", video, audio)
	v.more(t, video, 5)

	for _, to := range []*node{b, c} {
		from := m.node(m.owners["mri"])
		m.lose("mri", from, to, cluster.Contested)
		v.WaitClosed(t)
		v = to.watch(t, "mri/console", video, audio) // as early as he likes
		v.more(t, video, 20)
		v.more(t, audio, 20)
		t.Logf("at node %s the first 20 packets have come %v after it has the room", to.member.Name, time.Since(v.began).Round(time.Millisecond))
		if got := to.has(t, "console"); got.Session != before.Session || got.Client != before.Client {
			t.Errorf("at node %s he is %+v, before he was %+v", to.member.Name, got, before)
		}
		a.lends(t, 1)
	}
	if n := b.Rooms.RoomStates(nil); len(n) != 0 {
		t.Errorf("the node between has %+v, want nothing", n)
	}

	m.lose("mri", c, a, cluster.Drained)
	v.WaitClosed(t)
	v = a.watch(t, "mri/console", video, audio)
	v.more(t, video, 20)
	a.lends(t, 0)
	a.shows(t, "mri", "console/video", 1, 1)
	if got := a.has(t, "console"); got.Session != before.Session {
		t.Errorf("back again he is %+v, before he was %+v", got, before)
	}
	select {
	case <-p.Closed():
		t.Error("his session has ended")
	default:
	}
	m.lose("mri", a, b, cluster.Contested)
	b.has(t, "console")
	for _, n := range []*node{a, b, c} {
		if got := n.Peers.Snapshot().Ended; got[string(rtc.Failed)] != 0 {
			t.Errorf("at node %s sessions have ended by %v, want none by a failure", n.member.Name, got)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	a.lends(t, 0)
	a.published(t, rtc.PeerClosed)
	doortest.Eventually(t, func() string { // he is away there, as who has lost his connection
		if tracks, err := b.Rooms.Tracks("mri"); err != nil || tracks[0].Session != "" {
			return fmt.Sprintf("%+v, %v", tracks, err)
		}
		return ""
	})
}

// What is done to him in his room ends his session where that is.
func TestALoanEndsAsTheRoomSays(t *testing.T) {
	for _, tt := range []struct {
		name string
		by   rtc.End
		end  func(t *testing.T, a, b *node)
	}{
		{"he is taken out", rtc.Removed, func(t *testing.T, _, b *node) {
			if err := b.Rooms.Remove("mri", "console"); err != nil {
				t.Fatal(err)
			}
		}},
		{"he has come again", rtc.Replaced, func(t *testing.T, _, b *node) { b.stay(t, "console") }},
		{"his gateway shuts down", rtc.Draining, func(_ *testing.T, a, _ *node) { a.Sessions.Close() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMesh()
			a, b := m.join(t, "a"), m.join(t, "b")
			m.own("mri", a)
			p := a.stay(t, "console")
			m.lose("mri", a, b, cluster.Contested)
			b.has(t, "console")
			tt.end(t, a, b)
			p.WaitClosed(t)
			a.published(t, tt.by)
			a.lends(t, 0)
		})
	}
}

// Who has the name already, in a room that others have joined meanwhile, keeps it.
func TestWhoIsThereKeepsTheNameOfALoan(t *testing.T) {
	m := newMesh()
	a, b := m.join(t, "a"), m.join(t, "b")
	m.own("mri", a)
	p := a.stay(t, "console")
	m.own("mri", b)
	q := b.stay(t, "console")
	a.Rooms.Move("mri", "contested")
	p.WaitClosed(t)
	a.published(t, rtc.Replaced)
	b.has(t, "console")
	select {
	case <-q.Closed():
		t.Error("the one who was there has lost his session")
	default:
	}
}

// A node that goes takes with it whom it lends.
func TestALoanGoesWithItsNode(t *testing.T) {
	m := newMesh()
	a, b := m.join(t, "a"), m.join(t, "b")
	m.own("mri", a)
	a.stay(t, "console")
	m.lose("mri", a, b, cluster.Drained)
	b.has(t, "console")
	m.forget(a)
	doortest.Eventually(t, func() string {
		if tracks, err := b.Rooms.Tracks("mri"); err != nil || tracks[0].Session != "" {
			return fmt.Sprintf("%+v, %v", tracks, err)
		}
		return ""
	})
}

// An owner that dies leaves the publisher with the next one, be it the one that lends him.
func TestALoanOutlivesTheOwnerOfItsRoom(t *testing.T) {
	m := newMesh()
	a, b, c := m.join(t, "a"), m.join(t, "b"), m.join(t, "c")
	m.own("mri", a)
	a.stay(t, "console")
	m.lose("mri", a, b, cluster.Contested)
	b.has(t, "console")
	m.forget(b)
	m.own("mri", c)
	c.has(t, "console")
	m.forget(c)
	m.own("mri", a) // and nobody says so to the registry
	a.has(t, "console")
	a.lends(t, 0)
}

// He may be muted wherever the room is, and is so from the first packet on that is played there.
func TestALoanIsMutedInItsRoom(t *testing.T) {
	m := newMesh()
	a, b, c := m.join(t, "a"), m.join(t, "b"), m.join(t, "c")
	m.own("mri", a)
	a.stay(t, "console")
	if err := a.Rooms.Mute("mri", "console", true); err != nil {
		t.Fatal(err)
	}
	m.lose("mri", a, b, cluster.Contested)
	if !b.has(t, "console").Muted {
		t.Error("he was muted, and is not where he is lent")
	}
	if err := b.Rooms.Mute("mri", "console", false); err != nil {
		t.Fatal(err)
	}
	tap, err := b.Rooms.Tap("mri", "console")
	if err != nil {
		t.Fatal(err)
	}
	defer tap.Close()
	hear(t, tap)
	b.watch(t, "mri/console", audio).more(t, audio, 100) // for two seconds: all know of it
	m.lose("mri", b, c, cluster.Contested)
	if c.has(t, "console").Muted {
		t.Error("he was muted no more, and is again")
	}

	// The owner that muted him dies, and the next one is not told.
	if err := c.Rooms.Mute("mri", "console", true); err != nil {
		t.Fatal(err)
	}
	m.forget(c)
	m.own("mri", b)
	if !b.has(t, "console").Muted {
		t.Error("he was muted at an owner that died, and is not at the next one")
	}
}

// hear waits until something is heard.
func hear(t *testing.T, tap *rooms.Subscription) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	heard := &ear{wanted: speech(webrtc.MimeTypeOpus), enough: cancel}
	_ = tap.Run(ctx, heard)
	if !heard.any {
		t.Error("nothing is heard of him")
	}
}

// An ear is a sink that waits for a packet.
type ear struct {
	wanted []byte
	enough func()
	any    bool
}

func (*ear) SetCodec(media.Codec) bool { return true }
func (*ear) Stats() media.SinkStats    { return media.SinkStats{} }
func (e *ear) Write(packets []media.Outgoing) bool {
	for _, p := range packets {
		if slices.Equal(p.Payload, e.wanted) {
			e.any = true
			e.enough()
		}
	}
	return true
}

// A node of before loans knows nothing of them: the session ends as moved, as it did.
func TestANodeThatTakesNoLoans(t *testing.T) {
	m := newMesh()
	a, b := m.join(t, "a"), m.join(t, "b")
	b.handlers["loan"] = func(context.Context, cluster.Member, []byte) ([]byte, error) {
		return nil, fault.New(fault.NotFound, "no such verb")
	}
	m.own("mri", a)
	p := a.stay(t, "console")
	m.lose("mri", a, b, cluster.Contested)
	p.WaitClosed(t)
	a.published(t, rtc.Moved)
	a.lends(t, 0)
}

// The lender may lose what the owner has: it lends him again, and the owner's old session says nothing against that.
func TestALoanIsMadeAgain(t *testing.T) {
	m := newMesh()
	a, b := m.join(t, "a"), m.join(t, "b")
	borrow := b.handlers["loan"]
	var tries atomic.Int32
	b.handlers["loan"] = func(ctx context.Context, from cluster.Member, data []byte) ([]byte, error) {
		reply, err := borrow(ctx, from, data)
		if err == nil && tries.Add(1) <= 5 {
			time.Sleep(100 * time.Millisecond) // it is live there
			err = fault.New(fault.Unavailable, "the answer is lost")
		}
		return reply, err
	}
	m.own("mri", a)
	p := a.stay(t, "console")
	m.lose("mri", a, b, cluster.Contested)
	doortest.Eventually(t, func() string {
		if n := tries.Load(); n < 6 {
			return fmt.Sprintf("he was lent %d times, want 6", n)
		}
		return ""
	})
	b.watch(t, "mri/console", video).more(t, video, 20)
	select {
	case <-p.Closed():
		t.Error("his session has ended")
	default:
	}
	a.lends(t, 1)
}

// Who says that he is a browser is told, and comes back.
func TestWhoComesBackIsNotLent(t *testing.T) {
	m := newMesh()
	a, b := m.join(t, "a"), m.join(t, "b")
	m.own("mri", a)
	p := doortest.NewPeer(t)
	p.Send(t, doortest.Keyframe, webrtc.MimeTypeVP8, webrtc.MimeTypeOpus)
	p.Connect(t, a.Gateway, "/whip/mri/console", "User-Agent", "Mozilla/5.0 (OBS-Studio/32.2.2; Linux x86_64; en-US)")
	a.has(t, "console")
	m.lose("mri", a, b, cluster.Contested)
	p.WaitClosed(t)
	a.published(t, rtc.Moved)
	a.lends(t, 0)
}

// A node that is about to end holds nobody: an FFmpeg would not notice otherwise.
func TestLoansAreRecalled(t *testing.T) {
	m := newMesh()
	a, b := m.join(t, "a"), m.join(t, "b")
	m.own("mri", a)
	p := a.stay(t, "console")
	m.lose("mri", a, b, cluster.Drained)
	b.has(t, "console")
	a.puller.Recall()
	p.WaitClosed(t)
	a.lends(t, 0)
	m.own("mri", a)
	q := a.stay(t, "door")
	m.lose("mri", a, b, cluster.Drained)
	q.WaitClosed(t)
	a.published(t, rtc.Moved, rtc.Moved)
}
