package pull_test

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"

	"sightline/internal/bridge"
	"sightline/internal/cluster"
	"sightline/internal/cluster/pull"
	"sightline/internal/doortest"
	"sightline/internal/fault"
	"sightline/internal/media"
	"sightline/internal/rtc"
	"sightline/rooms"
)

const audio, video = webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo

func TestAViewerIsServedByAnotherNode(t *testing.T) {
	for _, codec := range []media.Codec{doortest.VP8, doortest.H264} {
		t.Run(codec.Name, func(t *testing.T) {
			a, b := pair(t)
			doortest.Publish(t, a.Gateway, "mri", "console", codec, doortest.Opus)
			first := b.watch(t, "mri/console", video, audio)
			joined := time.Since(first.began)
			first.more(t, video, 20)
			first.more(t, audio, 20)
			t.Logf("connected after %v", joined.Round(time.Millisecond))
			second := b.watch(t, "mri/console/video", video)
			second.more(t, video, 20)
			if n := a.posts.Load(); n != 2 {
				t.Errorf("the owner was asked for %d tracks, want one of each kind", n)
			}
			if first.holes(video)+first.holes(audio)+second.holes(video) != 0 {
				t.Error("packets are missing")
			}
			a.shows(t, "mri", "console/video", 2, 2)
			a.shows(t, "mri", "console/audio", 2, 1)
			if got := a.Audit.Events("watched"); len(got) != 0 {
				t.Errorf("the owner's log has %d events of viewers, want them in that of the node they are at", len(got))
			}
			if got := b.Audit.Events("watched"); len(got) != 2 {
				t.Errorf("the relay's log has %d events of viewers, want 2", len(got))
			}
			s := b.puller.Snapshot()
			if s.Pulls[pull.Live] != 2 || s.Viewers != 2 || s.Rebuilds != 0 || s.Loss != 0 {
				t.Errorf("got %+v, want 2 live pulls for 2 viewers", s)
			}
			if list := b.Rooms.Rooms(); len(list) != 0 {
				t.Errorf("the relay shows rooms of its own: %+v", list)
			}
		})
	}
}

// The track outlives its last viewer by a moment, for the next.
func TestAPullEndsAfterItsLastViewer(t *testing.T) {
	a, b := pair(t)
	doortest.Publish(t, a.Gateway, "mri", "console", doortest.VP8)
	e := b.watch(t, "mri/console", video)
	e.more(t, video, 5)
	a.sessions(t, 1)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	b.sessions(t, 0)
	a.shows(t, "mri", "console/video", 0, 0)
	left := time.Now()
	time.Sleep(2 * time.Second) // of the five in which the track is kept
	again := b.watch(t, "mri/console", video)
	again.more(t, video, 5)
	if n := a.posts.Load(); n != 1 {
		t.Errorf("the owner was asked %d times, want the track to be kept for a moment", n)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	b.pulls(t, 0)
	a.sessions(t, 0)
	if d := time.Since(left); d < 6*time.Second {
		t.Errorf("the pull has ended %v after the first viewer left, want 5 s after the second", d)
	}
}

func TestManyViewersAtOnceSharePulls(t *testing.T) {
	a, b := pair(t)
	doortest.Publish(t, a.Gateway, "mri", "console", doortest.VP8, doortest.Opus)
	owner, _ := b.Owner("mri")
	var group sync.WaitGroup
	all := make(chan []*pull.Subscription, 20)
	for range cap(all) {
		group.Go(func() {
			subscriptions, err := b.puller.Play(t.Context(), owner, rooms.PlayRequest{Room: "mri", Publisher: "console"})
			if err != nil {
				t.Error(err)
			}
			all <- subscriptions
		})
	}
	group.Wait()
	close(all)
	if n := a.posts.Load(); n != 2 {
		t.Errorf("the owner was asked for %d tracks, want 2", n)
	}
	a.shows(t, "mri", "console/video", cap(all), cap(all))
	for subscriptions := range all {
		if len(subscriptions) != 2 || subscriptions[0].Kind() != media.Audio || !subscriptions[1].Codec().Is("VP8") {
			t.Errorf("got %d subscriptions, want audio and video", len(subscriptions))
		}
		for _, s := range subscriptions {
			s.Close()
			s.Close()
		}
	}
	a.shows(t, "mri", "console/video", 0, 0)
}

func TestOwnersAndRelaysViewersAreCountedTogether(t *testing.T) {
	a, b := pair(t)
	doortest.Publish(t, a.Gateway, "mri", "console", doortest.VP8, doortest.Opus)
	_, anna, err := a.Rooms.Enter(rooms.EnterRequest{Room: "mri", ParticipantChange: rooms.ParticipantChange{Name: new("Anna")}})
	if err != nil {
		t.Fatal(err)
	}
	here := a.watch(t, "mri/console", video, audio)
	a.shows(t, "mri", "console/video", 1, 1)
	there := b.watch(t, "mri/console?participant="+anna.ID, video, audio)
	there.more(t, video, 5)
	a.shows(t, "mri", "console/video", 2, 2, anna.ID)
	a.shows(t, "mri", "console/audio", 2, 2, anna.ID)
	if err := here.Close(); err != nil {
		t.Fatal(err)
	}
	a.shows(t, "mri", "console/video", 1, 1, anna.ID)
	// Who plays a pair and takes no sound of it counts with the picture.
	deaf := b.watch(t, "mri/console", video)
	a.shows(t, "mri", "console/video", 2, 2, anna.ID)
	a.shows(t, "mri", "console/audio", 2, 1, anna.ID)
	for _, e := range []*eye{there, deaf} {
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	a.shows(t, "mri", "console/video", 0, 0)
	if n := b.puller.Snapshot().Viewers; n != 0 {
		t.Errorf("the relay still counts %d viewers", n)
	}
}

func TestKeyframesAreAskedForUpstream(t *testing.T) {
	a, b := pair(t)
	feed := doortest.Publish(t, a.Gateway, "mri", "console", doortest.VP8)
	first, second := b.watch(t, "mri/console", video), b.watch(t, "mri/console", video)
	first.more(t, video, 5)
	second.more(t, video, 5)
	before := feed.Keyframes.Load()
	for range 5 {
		for _, e := range []*eye{first, second} {
			for _, r := range e.GetReceivers() {
				if err := e.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: uint32(r.Track().SSRC())}}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	doortest.Eventually(t, func() string {
		if feed.Keyframes.Load() == before {
			return "no keyframe was asked for"
		}
		return ""
	})
	first.more(t, video, 60) // more than a second, in which two requests may pass
	if n := feed.Keyframes.Load() - before; n > 3 {
		t.Errorf("the camera was asked %d times for 10 requests within a moment", n)
	}
}

func TestLossBetweenNodesIsRepaired(t *testing.T) {
	a, b := pair(t)
	w := newWire(t)
	a.wire.Store(w)
	doortest.Publish(t, a.Gateway, "mri", "console", doortest.H264)
	e := b.watch(t, "mri/console", video)
	e.more(t, video, 5)
	w.every.Store(10)
	e.more(t, video, 200)
	doortest.Eventually(t, func() string {
		if loss := b.puller.Snapshot().Loss; loss < 0.03 || loss > 0.3 {
			return fmt.Sprintf("the loss is said to be %.2f, want about 0.1", loss)
		}
		return ""
	})
	w.every.Store(0)
	e.more(t, video, 20)
	if w.lost.Load() < 15 {
		t.Fatalf("%d packets were lost between the nodes, want a tenth", w.lost.Load())
	}
	doortest.Eventually(t, func() string {
		if n := e.holes(video); n != 0 {
			return fmt.Sprintf("%d packets are missing of %d that were lost between the nodes", n, w.lost.Load())
		}
		return ""
	})
}

// The owner goes down properly, and another node has the room with its publisher again.
func TestViewersStayWhenTheOwnerChanges(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(m *mesh, a *node)
	}{
		{"it closes its sessions", func(m *mesh, a *node) {
			a.refuses.Store(true)
			a.Sessions.Close()
			m.forget(a)
		}},
		{"it is heard no more", func(m *mesh, a *node) { m.forget(a) }},
		{"it gives the room away", func(*mesh, *node) {}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMesh()
			a, b, c := m.join(t, "a"), m.join(t, "b"), m.join(t, "c")
			m.own("mri", a)
			doortest.Publish(t, a.Gateway, "mri", "console", doortest.VP8)
			e := b.watch(t, "mri/console", video)
			e.more(t, video, 20)
			tt.end(m, a)
			m.own("mri", c)
			doortest.Eventually(t, func() string { // and again: it has no such track yet
				if n := c.posts.Load(); n < 2 {
					return fmt.Sprintf("the new owner was asked %d times, want twice at least", n)
				}
				return ""
			})
			doortest.Publish(t, c.Gateway, "mri", "console", doortest.VP8)
			published := time.Now()
			e.more(t, video, 20)
			t.Logf("the first 20 packets came within %v", time.Since(published).Round(time.Millisecond))
			if n := e.holes(video); n != 0 {
				t.Errorf("%d packets are missing: the viewer has to notice nothing", n)
			}
			select {
			case <-e.Closed():
				t.Error("the viewer's session has ended")
			default:
			}
			if s := b.puller.Snapshot(); s.Rebuilds != 1 || s.Pulls[pull.Live] != 1 {
				t.Errorf("got %+v, want 1 rebuild", s)
			}
			c.shows(t, "mri", "console/video", 1, 1)
		})
	}
}

// In a cluster with many rooms something changes all the time: an owner that does not answer is
// asked at the pull's own pace all the same.
func TestAPullAsksInPeaceWhateverElseChanges(t *testing.T) {
	m := newMesh()
	a, b, c := m.join(t, "a"), m.join(t, "b"), m.join(t, "c")
	m.own("mri", a)
	doortest.Publish(t, a.Gateway, "mri", "console", doortest.VP8)
	e := b.watch(t, "mri/console", video)
	e.more(t, video, 5)
	c.refuses.Store(true)
	m.own("mri", c)
	for began := time.Now(); time.Since(began) < 2*time.Second; time.Sleep(5 * time.Millisecond) {
		m.changed()
	}
	if n := c.posts.Load(); n < 2 || n > 25 {
		t.Errorf("the new owner was asked %d times in 2 s, want it with pauses of 50 to 500 ms", n)
	}
}

func TestViewersGoWithTheTrack(t *testing.T) {
	a, b := pair(t)
	feed := doortest.Publish(t, a.Gateway, "mri", "console", doortest.VP8)
	e := b.watch(t, "mri/console", video)
	e.more(t, video, 5)
	feed.Stop()
	a.Rooms.Forget("mri", "console", rooms.ErrGone)
	e.WaitClosed(t)
	b.pulls(t, 0)
	b.sessions(t, 0)
	res := b.Post(t, "/whep/mri/console", doortest.NewPeerOffer(t))
	if res.StatusCode != http.StatusConflict || res.Header.Get("Retry-After") == "" {
		t.Errorf("got %d %s, want what the owner says: it is not live", res.StatusCode, res.Text)
	}
}

// The room comes to the very node that relays it: who watches comes again, to that.
func TestARoomThatComesHereIsNotRelayed(t *testing.T) {
	a, b := pair(t)
	doortest.Publish(t, a.Gateway, "mri", "console", doortest.VP8)
	e := b.watch(t, "mri/console", video)
	e.more(t, video, 5)
	a.mesh.own("mri", b)
	e.WaitClosed(t)
	b.pulls(t, 0)
	b.ended(t, rtc.Moved)
}

func TestTheMixIsRelayedOnce(t *testing.T) {
	a, b := pair(t)
	doortest.Publish(t, a.Gateway, "mri", "console", doortest.Opus)
	_, anna, err := a.Rooms.Enter(rooms.EnterRequest{Room: "mri", ParticipantChange: rooms.ParticipantChange{Name: new("Anna")}})
	if err != nil {
		t.Fatal(err)
	}
	first, second := b.watch(t, "mri/~mix?participant="+anna.ID, audio), b.watch(t, "mri/~mix", audio)
	first.more(t, audio, 30)
	second.more(t, audio, 30)
	if n := a.posts.Load(); n != 1 {
		t.Errorf("the owner was asked for %d mixes, want 1", n)
	}
	listeners := func(want int, listening bool) {
		t.Helper()
		doortest.Eventually(t, func() string {
			all, err := a.Rooms.Participants("mri")
			if err != nil {
				return err.Error()
			}
			if n := a.Bridge.Listeners("mri"); n != want || all[0].Listening != listening {
				return fmt.Sprintf("%d listeners, Anna listens: %t; want %d, %t", n, all[0].Listening, want, listening)
			}
			return ""
		})
	}
	listeners(2, true)
	own := b.watch(t, "mri/~mix?for=technician", audio)
	own.more(t, audio, 30)
	if n := a.posts.Load(); n != 2 {
		t.Errorf("the owner was asked for %d mixes, want another one for who does not hear himself", n)
	}
	listeners(3, true)
	for _, e := range []*eye{first, second, own} {
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	listeners(0, false)
}

func TestPullsAreNotRelayedOn(t *testing.T) {
	m := newMesh()
	a, b, c := m.join(t, "a"), m.join(t, "b"), m.join(t, "c")
	m.own("mri", a)
	doortest.Publish(t, a.Gateway, "mri", "console", doortest.VP8)
	// c takes b for the owner.
	wrong := b.member
	if _, err := c.puller.Play(t.Context(), wrong, rooms.PlayRequest{Room: "mri", Publisher: "console", Kind: media.Video}); err == nil {
		t.Error("a node that does not own the room has played it to another node")
	}
	if n := a.posts.Load(); n != 0 {
		t.Errorf("the owner was asked %d times by who was asked itself", n)
	}
}

func TestAnOwnerThatDoesNotAnswerIsGivenUpInTime(t *testing.T) {
	a, b := pair(t)
	doortest.Publish(t, a.Gateway, "mri", "console", doortest.VP8)
	a.refuses.Store(true)
	began := time.Now()
	res := b.Post(t, "/whep/mri/console/video", doortest.NewPeerOffer(t))
	if d := time.Since(began); res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || d > 5*time.Second {
		t.Errorf("got %d %s after %v, want 503 after 1.5 s", res.StatusCode, res.Text, d)
	}
	b.pulls(t, 0)
	a.refuses.Store(false)
	b.watch(t, "mri/console", video).more(t, video, 5)
}

// Who comes while the publisher is away is not told that a node were busy.
func TestWhoIsEarlierThanThePublisherIsToldSo(t *testing.T) {
	m := newMesh()
	a, b := m.join(t, "a"), m.join(t, "b")
	m.own("mri", a)
	doortest.Publish(t, a.Gateway, "mri", "console", doortest.VP8).Stop()
	res := b.Post(t, "/whep/mri/console/video", doortest.NewPeerOffer(t))
	if res.StatusCode != http.StatusConflict || res.Header.Get("Retry-After") == "" {
		t.Errorf("got %d %s, want 409 for a publisher that is away", res.StatusCode, res.Text)
	}
	doortest.Publish(t, a.Gateway, "mri", "console", doortest.VP8)
	doortest.Eventually(t, func() string { // else he is told so once more, and comes again
		if s := b.puller.Snapshot(); s.Pulls[pull.Connecting] != 0 {
			return fmt.Sprintf("nothing has come from the owner: %v", s.Pulls)
		}
		return ""
	})
	b.watch(t, "mri/console/video", video).more(t, video, 5)
	if n := a.posts.Load(); n != 1 {
		t.Errorf("the owner was asked %d times, want the session to be kept until the publisher is back", n)
	}
}

// An encoder may offer sound and never send any, or begin with it later: its picture is played, and
// its sound when it comes.
func TestAPairWithoutSoundIsPlayed(t *testing.T) {
	m := newMesh()
	a, b := m.join(t, "a"), m.join(t, "b")
	m.own("mri", a)
	speak := make(chan struct{})
	publishSources(t, a, func(ctx context.Context) []media.Source {
		silence, end := context.WithCancel(ctx)
		go func() {
			defer end()
			select {
			case <-speak:
			case <-ctx.Done():
			}
		}()
		sound := &late{clock: clock{ctx: ctx, codec: doortest.Opus, began: time.Now()}, until: silence}
		return []media.Source{&clock{ctx: ctx, codec: doortest.VP8, began: time.Now()}, sound}
	})
	e := b.watch(t, "mri/console", video, audio)
	e.more(t, video, 5)
	began := time.Now()
	second, err := b.puller.Play(t.Context(), a.member, rooms.PlayRequest{Room: "mri", Publisher: "console"})
	if err != nil || len(second) != 2 {
		t.Fatalf("got %d tracks and %v for the second viewer, want 2", len(second), err)
	}
	if d := time.Since(began); d > time.Second {
		t.Errorf("the second viewer had to wait for %v, as the first", d)
	}
	close(speak)
	e.more(t, audio, 5)
}

// Its answers come, its media doesn't.
func TestAnOwnerOutOfReachIsLeftToItsOwnDoors(t *testing.T) {
	m := newMesh()
	a, b := m.join(t, "a"), m.join(t, "b", "127.0.0.0/8")
	m.own("mri", a)
	doortest.Publish(t, a.Gateway, "mri", "console", doortest.VP8)
	w := newWire(t)
	w.front.Close()
	a.wire.Store(w)
	client := netip.MustParseAddr("127.0.0.1")
	if !b.puller.Wanted(client, a.member) {
		t.Fatal("who is near has to be served here")
	}
	if _, err := b.puller.Play(t.Context(), a.member, rooms.PlayRequest{Room: "mri", Publisher: "console", Kind: media.Video}); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("got %v, want unavailable", err)
	}
	doortest.Eventually(t, func() string {
		if b.puller.Wanted(client, a.member) {
			return "viewers are served here although nothing comes"
		}
		return ""
	})
}

// It was in reach, and when the session is made anew it is no more.
func TestViewersDoNotWaitForAnOwnerThatGotOutOfReach(t *testing.T) {
	m := newMesh()
	a, b, c := m.join(t, "a"), m.join(t, "b", "127.0.0.0/8"), m.join(t, "c")
	m.own("mri", a)
	w := newWire(t)
	a.wire.Store(w)
	doortest.Publish(t, a.Gateway, "mri", "console", doortest.VP8)
	e := b.watch(t, "mri/console", video)
	e.more(t, video, 5)
	w.front.Close()
	c.refuses.Store(true)
	m.own("mri", c) // which ends the session at once, and not after its 10 s of silence
	doortest.Eventually(t, func() string {
		if c.posts.Load() == 0 {
			return "the new owner was not asked"
		}
		return ""
	})
	m.own("mri", a)
	e.WaitClosed(t) // after two times the 3 s of a session
	if b.puller.Wanted(netip.MustParseAddr("127.0.0.1"), a.member) {
		t.Error("who comes back is served here again")
	}
	b.ended(t, rtc.Moved)
}

func TestTheLimitOfATrackHoldsForAllNodes(t *testing.T) {
	a, b := pair(t)
	doortest.Publish(t, a.Gateway, "mri", "console", doortest.VP8)
	most := rooms.Defaults().MaxViewersPerTrack
	req := rooms.PlayRequest{Room: "mri", Publisher: "console", Kind: media.Video}
	for range most - 1 {
		if _, err := a.Rooms.Play(req); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.puller.Play(t.Context(), a.member, req); err != nil {
		t.Fatal(err)
	}
	a.shows(t, "mri", "console/video", most, most)
	if _, err := a.Rooms.Play(req); err == nil {
		t.Error("the owner takes one viewer too many")
	}
	doortest.Eventually(t, func() string {
		subscriptions, err := b.puller.Play(t.Context(), a.member, req)
		if err != nil {
			return ""
		}
		subscriptions[0].Close()
		return "the relay takes one viewer too many"
	})
}

// Of a mix it is the bridge's limit that holds, as at its owner, and all who listen are counted there.
func TestTheLimitOfAMixHoldsAtARelay(t *testing.T) {
	m := newMesh()
	a, b := m.join(t, "a"), m.join(t, "b")
	m.own("mri", a)
	most := bridge.Defaults().MaxListeners
	listen := func() error {
		_, err := b.puller.Listen(t.Context(), a.member, bridge.ListenRequest{Room: "mri"})
		return err
	}
	for range most {
		if err := listen(); err != nil {
			t.Fatal(err)
		}
	}
	if err := listen(); err == nil || !strings.Contains(err.Error(), "bridge.max_listeners") {
		t.Errorf("got %v for one listener too many, want to be told of bridge.max_listeners", err)
	}
	doortest.Eventually(t, func() string {
		if n := a.Bridge.Listeners("mri"); n != most {
			return fmt.Sprintf("the owner counts %d listeners, want %d", n, most)
		}
		return ""
	})
}

// Who finds no place at the relay may find one at the owner.
func TestWhoFindsNoPlaceHereIsSentOn(t *testing.T) {
	m := newMesh()
	m.limits.MaxViewers = 1
	a, b := m.join(t, "a"), m.join(t, "b", "127.0.0.0/8")
	m.own("mri", a)
	doortest.Publish(t, a.Gateway, "mri", "console", doortest.VP8)
	client, req := netip.MustParseAddr("127.0.0.1"), rooms.PlayRequest{Room: "mri", Publisher: "console", Kind: media.Video}
	first, err := b.puller.Play(t.Context(), a.member, req)
	if err != nil {
		t.Fatal(err)
	}
	if b.puller.Wanted(client, a.member) {
		t.Error("one more is wanted than there may be")
	}
	if _, err := b.puller.Play(t.Context(), a.member, req); err == nil || !strings.Contains(err.Error(), "rooms.max_viewers") {
		t.Errorf("got %v for who came all the same, want rooms.max_viewers", err)
	}
	first[0].Close()
	if !b.puller.Wanted(client, a.member) {
		t.Error("nobody is wanted any more")
	}
}

func TestWhoIsServedHere(t *testing.T) {
	m := newMesh()
	b := m.join(t, "b", "10.1.0.0/16", "fd00::/8")
	far, near := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("::ffff:10.1.2.3")
	idle, busy := cluster.Member{ID: "a"}, cluster.Member{ID: "a", Busy: true}
	for _, tt := range []struct {
		name   string
		client netip.Addr
		owner  cluster.Member
		self   cluster.Member
		want   bool
	}{
		{"far, and the owner has time", far, idle, cluster.Member{}, false},
		{"near", near, idle, cluster.Member{}, true},
		{"near, by IPv6", netip.MustParseAddr("fd00::1%eth0"), idle, cluster.Member{}, true},
		{"the owner is busy", far, busy, cluster.Member{}, true},
		{"both are busy", far, busy, cluster.Member{Busy: true}, false},
		{"near, and both are busy", near, busy, cluster.Member{Busy: true}, true},
		{"this node is full", far, busy, cluster.Member{Full: true}, false},
		{"this node leaves", near, busy, cluster.Member{Draining: true}, false},
		{"this node is the owner", near, cluster.Member{ID: "b", Busy: true}, cluster.Member{}, false},
	} {
		tt.self.ID = "b"
		b.member = tt.self
		if got := b.puller.Wanted(tt.client, tt.owner); got != tt.want {
			t.Errorf("%s: got %t, want %t", tt.name, got, tt.want)
		}
	}
}

// What other nodes tell is from outside: it is refused, or it counts for nothing.
func TestGarbageOfOtherNodesIsRefused(t *testing.T) {
	a, b := pair(t)
	doortest.Publish(t, a.Gateway, "mri", "console", doortest.VP8)
	e := b.watch(t, "mri/console", video)
	e.more(t, video, 5)
	a.shows(t, "mri", "console/video", 1, 1)
	for _, tt := range []struct{ verb, data string }{
		{"relay-kinds", ""}, {"relay-kinds", "{"}, {"relay-kinds", "[1]"}, {"relay-kinds", `{"room":"../mri","publisher":"console"}`},
		{"relay-kinds", `{"room":"mri","publisher":"nobody"}`},
		{"relay-viewers", "null"}, {"relay-viewers", `{"room":7}`}, {"relay-viewers", `{"room":"mri","publisher":"console","kind":"video","viewers":-1}`},
		{"relay-viewers", `{"room":"mri","publisher":"console","kind":"video","viewers":1e99}`},
		{"relay-viewers", `{"room":"mri","publisher":"console","kind":"video","viewers":1,"participants":["a","b"]}`},
		{"relay-viewers", `{"room":"mri","publisher":"~mix","viewers":2}`},
		{"relay-ending", "}"},
		{"loan", ""}, {"loan", `{"room":"mri"}`}, {"loan", `{"room":"mri","publisher":"../x","kinds":["video"]}`},
		{"loan", `{"room":"mri","publisher":"door","kinds":["video","video"]}`}, {"loan", `{"room":"ct","publisher":"door","kinds":["video"]}`},
		{"loan", `{"room":"mri","publisher":"console","kinds":["video"]}`}, {"loan", `{"loan":"1","room":"mri","publisher":"door","kinds":["video"]}`},
		{"loan-offer", `{"loan":"1","sdp":"v=0"}`}, {"loan-offer", `{"loan":"1"}`}, {"loan-offer", "["}, {"loan-end", "7"},
	} {
		if _, err := b.Call(t.Context(), a.member, tt.verb, []byte(tt.data)); fault.KindOf(err) == "" {
			t.Errorf("%s %s: got %v, want a fault", tt.verb, tt.data, err)
		}
	}
	a.shows(t, "mri", "console/video", 1, 1)
	if _, err := b.Call(t.Context(), a.member, "relay-ending", []byte(`{"room":"nowhere","at":"2026-11-26T12:00:00Z"}`)); err != nil {
		t.Errorf("got %v for a room that is not open, want nothing to happen", err)
	}
}

// A viewer's session takes one track of a kind.
func TestAnOwnerThatNamesNoPairIsNotUnderstood(t *testing.T) {
	m := newMesh()
	a, b := m.join(t, "a"), m.join(t, "b")
	m.own("mri", a)
	doortest.Publish(t, a.Gateway, "mri", "console", doortest.VP8)
	for _, reply := range []string{`{"kinds":["video","video"]}`, `{"kinds":["text"]}`, `{"kinds":["video","../door"]}`, `{"kinds":[]}`, `{"kinds":7}`, `[`, ``} {
		a.handlers["relay-kinds"] = func(context.Context, cluster.Member, []byte) ([]byte, error) { return []byte(reply), nil }
		subscriptions, err := b.puller.Play(t.Context(), a.member, rooms.PlayRequest{Room: "mri", Publisher: "console"})
		if fault.KindOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "understood") {
			t.Errorf("%s: got %d tracks and %v, want a node that can't be understood", reply, len(subscriptions), err)
		}
		for _, s := range subscriptions {
			s.Close()
		}
	}
	if n := a.posts.Load(); n != 0 {
		t.Errorf("the owner was asked for %d tracks", n)
	}
}

func TestTheOwnersRoomIsToldWhatEndsAtARelay(t *testing.T) {
	a, b := pair(t)
	doortest.Publish(t, a.Gateway, "mri", "console", doortest.VP8)
	watcher, err := a.Rooms.Watch("mri", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Close()
	b.puller.TellEnding("mri", rooms.EndingInfo{Session: "s", Publisher: "console", Reason: "expired", At: time.Now()})
	b.puller.TellEnding("nowhere", rooms.EndingInfo{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		event, err := watcher.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if event.Type == rooms.SessionEnding {
			if event.Ending.Session != "s" || event.Ending.Reason != "expired" {
				t.Errorf("got %+v", event.Ending)
			}
			return
		}
	}
}
