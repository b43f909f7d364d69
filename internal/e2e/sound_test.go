//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"sightline/internal/audio"
)

// What is muted is silent within 100 ms of the server's answer, for who listens to the mix and for who plays the publisher.
// So it is heard again.
func TestMuteIsHeardWithin100Milliseconds(t *testing.T) {
	s := serve(t)
	desk := speak(t, s.whip("desk"), deskTone, nil)
	if got := returnAudio(desk.header); got != s.mix("desk") {
		t.Errorf("the 201 links to return audio at %q, want %q", got, s.mix("desk"))
	}
	s.awaitTrack("desk/audio", 10*time.Second, nil)
	ears := map[string]*ear{"mix": listen(t, s.mix("console")), "track": listen(t, s.whep("desk/audio"))}
	delays := map[string][]time.Duration{}
	for _, e := range ears {
		e.settle(true, 25)
	}
	const times = 5
	for i := range 2 * times {
		muted := i%2 == 0
		answered := s.mute("desk", muted)
		for name, e := range ears {
			since := e.settle(!muted, 25).Sub(answered)
			what := fmt.Sprintf("%s muted %t", name, muted)
			delays[what] = append(delays[what], max(since, 0).Round(time.Millisecond))
		}
	}
	for what, d := range delays {
		t.Logf("%s: heard after %v", what, d)
		// The median, since this is a busy machine.
		if m := medianOf(d); m > 100*time.Millisecond {
			t.Errorf("%s is heard %v after the answer, want 100 ms", what, m)
		}
	}
	if tr, _ := s.publisher("desk"); tr.Muted {
		t.Errorf("the room API says that desk is muted, want not any more")
	}
}

// A speakingEvent says who speaks from an instant on.
type speakingEvent struct {
	Type     string
	Time     time.Time
	Speakers []string
}

// follow collects the room's speaking events until the test ends.
func (s *server) follow() <-chan speakingEvent {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.base+"/api/rooms/"+room+"/events", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	events := make(chan speakingEvent, 1024)
	go func() {
		defer res.Body.Close()
		lines := bufio.NewScanner(res.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			data, ok := strings.CutPrefix(lines.Text(), "data:")
			var e speakingEvent
			if ok && json.Unmarshal([]byte(data), &e) == nil && e.Type == "speaking" {
				events <- e
			}
		}
	}()
	return events
}

// The server hears who speaks: FFmpeg sends no audio levels. However fast people take turns, it tells so five times a
// second at most.
func TestSpeakingIsToldByName(t *testing.T) {
	s := serve(t)
	// Half a second of a voice every two seconds.
	microphone(t, s.whip("console"), fmt.Sprintf("aevalsrc='0.2*sin(2*PI*%d*t)*lt(mod(t,2),0.5)':sample_rate=48000", consoleTone))
	s.awaitTrack("console/audio", 10*time.Second, nil)
	events := s.follow()
	next := func(limit time.Duration) speakingEvent {
		t.Helper()
		select {
		case e := <-events:
			return e
		case <-time.After(limit):
			t.Fatalf("no speaking event in %v", limit)
			return speakingEvent{}
		}
	}
	var began time.Time
	for turns := 0; turns < 4; {
		e := next(5 * time.Second)
		switch {
		case slices.Equal(e.Speakers, []string{"console"}):
			began = e.Time
		case len(e.Speakers) == 0 && !began.IsZero():
			// A voice counts for 300 ms longer than it is heard.
			spoke := e.Time.Sub(began)
			t.Logf("console spoke for %v", spoke)
			if spoke < 500*time.Millisecond || spoke > 1300*time.Millisecond {
				t.Errorf("console is said to speak for %v, want the half second that it speaks and 300 ms", spoke)
			}
			began = time.Time{}
		default:
			t.Errorf("%v are said to speak, want console or nobody", e.Speakers)
		}
		turns++
	}

	// Three who take turns change the list some twelve times a second.
	var voices []string
	for i := range 3 {
		voices = append(voices, fmt.Sprint("voice", i))
		speak(t, s.whip(voices[i]), float64(1000+130*i), func(at time.Duration) bool {
			return (at+time.Duration(i)*170*time.Millisecond)%(500*time.Millisecond) < 5*audio.FrameDuration
		})
	}
	var times []time.Time
	var heard []string
	for until := time.After(4 * time.Second); ; {
		select {
		case e := <-events:
			times = append(times, e.Time)
			heard = append(heard, e.Speakers...)
			continue
		case <-until:
		}
		break
	}
	slices.Sort(heard)
	heard = slices.Compact(heard)
	if want := append([]string{"console"}, voices...); !slices.Equal(heard, want) {
		t.Errorf("%v are said to have spoken, want %v", heard, want)
	}
	most := 0
	for i, from := range times {
		n := 0
		for _, at := range times[i:] {
			if at.Sub(from) < time.Second-time.Millisecond { // the API rounds down to milliseconds
				n++
			}
		}
		most = max(most, n)
	}
	t.Logf("%d events, at most %d in a second", len(times), most)
	if most > 5 || len(times) < 8 {
		t.Errorf("%d events in 4 s, %d of them in one second, want 8 at least and 5 a second at most", len(times), most)
	}
}

// Firefox has no Web Audio without a sound card; it tells how strong what it plays is.
func TestFirefoxPlaysTheMix(t *testing.T) {
	s := serve(t)
	// FFmpeg's sine has an amplitude of an eighth of full scale.
	const power = 1. / 8 / 8 / 2
	b := launch(t, "firefox")
	ffmpeg := microphone(t, s.whip("console"), fmt.Sprintf("sine=frequency=%d:sample_rate=48000", consoleTone))
	s.awaitTrack("console/audio", 10*time.Second, nil)
	b.play("ear", s.mix(""), "audio", "")
	eventually(t, 10*time.Second, func() error {
		if n := b.stats("ear").Audio.PacketsReceived; n < 50 {
			return fmt.Errorf("%d packets", n)
		}
		return nil
	})
	before, began := b.stats("ear"), time.Now()
	time.Sleep(3 * time.Second)
	after, passed := b.stats("ear"), time.Since(began)
	wantSound(t, before.Audio, after.Audio, 3*time.Second)
	got := (after.Audio.TotalAudioEnergy - before.Audio.TotalAudioEnergy) / passed.Seconds()
	t.Logf("a power of %.5f, of which %.5f was sent", got, power)
	if got < power/2 || got > power*2 {
		t.Errorf("what Firefox plays has a power of %.5f, want %.5f", got, power)
	}
	b.stop("ear")
	wantEndOfFFmpeg(t, s, ffmpeg, "console")
}

// The page of a room's sound stays live, in one session, while those whom it plays come, go, are muted and come back.
func TestWatchPageOfAMixStaysLive(t *testing.T) {
	s := serve(t)
	b := launch(t, "chromium")
	b.call(nil, 10*time.Second, "open", s.base+"/watch/"+room+"/~mix?for=console")
	b.awaitState("live")
	began, opened := time.Now(), b.stats("")
	b.picture("mix-nobody")
	if level := b.page().Level; level != 0 {
		t.Errorf("the meter shows %.2f while nobody is there, want 0", level)
	}

	microphone(t, s.whip("console"), fmt.Sprintf("sine=frequency=%d:sample_rate=48000", consoleTone))
	s.awaitTrack("console/audio", 10*time.Second, nil)
	desk := speak(t, s.whip("desk"), deskTone, nil)
	b.awaitLevel(true)
	b.picture("mix-desk-speaks")
	b.wantTones("", []float64{deskTone}, consoleTone)

	s.mute("desk", true)
	b.awaitLevel(false)
	s.mute("desk", false)
	b.awaitLevel(true)

	desk.vanish()
	b.awaitLevel(false)
	desk = speak(t, s.whip("desk"), deskTone, nil)
	b.awaitLevel(true)
	desk.stop()
	b.awaitLevel(false)
	b.picture("mix-console-alone")

	page, after, passed := b.page(), b.stats(""), time.Since(began)
	if got := page.States[len(page.States)-1]; got != "live" || slices.Index(page.States, "live") != len(page.States)-1 {
		t.Errorf("the page went %v, want to live and to stay there", page.States)
	}
	if page.Connections != 1 || after.Audio.SSRC != opened.Audio.SSRC || after.State != "connected" {
		t.Errorf("the page has made %d connections, the last is %s, its SSRC went from %d to %d; want one that stays",
			page.Connections, after.State, opened.Audio.SSRC, after.Audio.SSRC)
	}
	packets := after.Audio.PacketsReceived - opened.Audio.PacketsReceived
	t.Logf("%d packets in %v, %d lost", packets, passed.Round(time.Millisecond), after.Audio.PacketsLost)
	if want := int(passed/audio.FrameDuration) * 95 / 100; packets < want || after.Audio.PacketsLost > 0 {
		t.Errorf("%d packets in %v, %d lost, want %d at least and none", packets, passed, after.Audio.PacketsLost, want)
	}
	if !strings.Contains(page.Text, "Live") || !strings.Contains(page.Text, "Everybody but console") {
		t.Errorf(`the page says %q, want "Live" and "Everybody but console"`, page.Text)
	}
	for _, word := range []string{"camera", "picture"} {
		if strings.Contains(strings.ToLower(page.Text), word) {
			t.Errorf("the page of a room's sound speaks of a %s: %q", word, page.Text)
		}
	}
}

// A watchPage is what the gateway's own page shows.
type watchPage struct {
	States      []string // so far
	Connections int      // that it has made
	Level       float64  // of its meter
	Text        string
}

func (b *browser) page() (p watchPage) {
	b.t.Helper()
	b.call(&p, 5*time.Second, "page")
	return p
}

func (b *browser) awaitState(want string) {
	b.t.Helper()
	eventually(b.t, 10*time.Second, func() error {
		if p := b.page(); len(p.States) == 0 || p.States[len(p.States)-1] != want {
			return fmt.Errorf("the page has been %v, want %s: %q", p.States, want, p.Text)
		}
		return nil
	})
}

// awaitLevel waits until the meter shows that somebody speaks, or that nobody does.
func (b *browser) awaitLevel(speaks bool) {
	b.t.Helper()
	eventually(b.t, 10*time.Second, func() error {
		if p := b.page(); (p.Level > 0.3) != speaks {
			return fmt.Errorf("the meter shows %.2f, somebody speaks: %t", p.Level, speaks)
		}
		return nil
	})
}
