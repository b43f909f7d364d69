//go:build e2e

package e2e

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A crowd is one Chromium, on the server's host, in which people sit in the meeting room, each with a context of his own.
// There the pages are a secure context, and have devices.
type crowd struct {
	*browser
	page string // the meeting room's URL
}

// A attendee is one of them.
type attendee struct {
	c    *crowd
	who  string
	tone float64 // of his voice, in Hz
}

// serveMeeting keeps cameras small: all of them are encoded and decoded on this machine.
func serveMeeting(t *testing.T, env ...string) *server {
	t.Helper()
	s := serve(t, append([]string{"SIGHTLINE_HTTP_LISTEN=:8080", "SIGHTLINE_STATIONS_QUALITY=360p", "SIGHTLINE_STATIONS_FRAME_RATE=10"}, env...)...)
	return s
}

func gather(t *testing.T) *crowd {
	t.Helper()
	return &crowd{drive(t, serverSide, "drivers/people.mjs", "chromium"), "http://127.0.0.1:8080/" + room + "/room"}
}

// options are how somebody enters; see drivers/people.mjs.
type options map[string]any

func (c *crowd) enter(who string, tone float64, o options) *attendee {
	c.t.Helper()
	g := &attendee{c, who, tone}
	if o == nil {
		o = options{}
	}
	o["frequency"] = tone
	g.call(nil, 15*time.Second, "enter", c.page, o)
	return g
}

func (g *attendee) call(result any, limit time.Duration, name string, args ...any) {
	g.c.t.Helper()
	if err := g.c.ask(result, limit, g.who, name, args...); err != nil {
		g.c.t.Fatalf("%s: %v", g.who, err)
	}
}

func (g *attendee) press(key string) { g.c.t.Helper(); g.call(nil, 5*time.Second, "press", key) }
func (g *attendee) say(loud bool) {
	g.c.t.Helper()
	g.call(nil, 5*time.Second, "look", fmt.Sprintf("say(%t)", loud))
}

// awaits waits until a JavaScript expression is true in the attendee's page.
func (g *attendee) awaits(limit time.Duration, expression string) {
	g.c.t.Helper()
	eventually(g.c.t, limit, func() error {
		var ok bool
		if err := g.c.ask(&ok, 5*time.Second, g.who, "look", "!!("+expression+")"); err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("for %s it is not true that %s", g.who, expression)
		}
		return nil
	})
}

// seat is the JavaScript expression of whose seat the attendee sees.
func seat(name string) string {
	return fmt.Sprintf(`[...document.querySelectorAll(".seat:not([hidden])")].find((s) => s.querySelector("h3").firstChild.data === %q)`, name)
}

// sees waits until a moving picture is in a seat.
func (g *attendee) sees(name string, limit time.Duration) {
	g.c.t.Helper()
	g.awaits(limit, seat(name)+`?.matches('[data-state="live"]') && `+seat(name)+`.querySelector("sightline-player").shadowRoot.querySelector("video").videoWidth > 0`)
}

// onStage waits until exactly these are large, in this order.
func (g *attendee) onStage(names ...string) {
	g.c.t.Helper()
	eventually(g.c.t, 5*time.Second, func() error {
		var large []string
		err := g.c.ask(&large, 5*time.Second, g.who, "look", `[...document.querySelectorAll(".seat.large:not([hidden])")]
			.sort((a, b) => a.offsetTop - b.offsetTop || a.offsetLeft - b.offsetLeft).map((s) => s.querySelector("h3").firstChild.data)`)
		if err == nil && !slices.Equal(large, names) {
			err = fmt.Errorf("%s sees %q on the stage, want %q", g.who, large, names)
		}
		return err
	})
}

// hear checks what the guests' pages play by its tones: all the others' and not one's own.
func hear(t *testing.T, guests map[*attendee][]float64) {
	t.Helper()
	sound := map[*attendee][][]float32{}
	var rate float64
	for i := range windows + 1 {
		for g := range guests {
			var got struct {
				Rate float64
				PCM  string
			}
			g.call(&got, 5*time.Second, "hear")
			raw, err := base64.StdEncoding.DecodeString(got.PCM)
			if err != nil {
				t.Fatal(err)
			}
			if rate = got.Rate; i > 0 {
				sound[g] = append(sound[g], floats(raw))
			}
		}
		if i < windows {
			time.Sleep(700 * time.Millisecond) // as long as what is heard then
		}
	}
	for g, tones := range guests {
		wantTones(t, g.who, sound[g], rate, tones, g.tone)
	}
}

// picture saves screenshots, if somebody wants them: light, dark, on a phone, and at 200 %.
func (g *attendee) picture(name string) {
	g.c.t.Helper()
	dir := os.Getenv("SIGHTLINE_E2E_PICTURES")
	if dir == "" {
		return
	}
	for look, view := range map[string]options{
		"light": {}, "dark": {"colours": "dark"}, "narrow": {"width": 360, "height": 740}, "200": {"width": 640, "height": 400, "scale": 2},
	} {
		g.call(nil, 5*time.Second, "view", view)
		time.Sleep(300 * time.Millisecond) // until all is where it belongs
		g.call(nil, 10*time.Second, "screenshot", filepath.Join(dir, "meeting-"+name+"-"+look+".png"))
	}
	g.call(nil, 5*time.Second, "view", options{})
}

// accessible fails the test for each rule of axe's that the page violates as it is now, in light colours and in others.
func (g *attendee) accessible(state string, others ...string) {
	g.c.t.Helper()
	for _, colours := range append(others, "light") {
		g.call(nil, 5*time.Second, "view", options{"colours": colours})
		var violations []struct {
			ID, Help string
			Nodes    []string
		}
		g.call(&violations, 30*time.Second, "axe")
		for _, v := range violations {
			g.c.t.Errorf("%s, %s: %s: %s\n\t%s", state, colours, v.ID, v.Help, strings.Join(v.Nodes, "\n\t"))
		}
	}
	g.picture(state)
}

// present is who and what the room has, as the room API says.
func (s *server) present() (people []string, publishers []string) {
	s.t.Helper()
	var r struct {
		Participants []struct{ Name string }
		Publishers   []struct{ Name, Session string }
	}
	if s.get("/api/rooms/"+room, &r) == http.StatusNotFound {
		return nil, nil
	}
	for _, p := range r.Participants {
		people = append(people, p.Name)
	}
	for _, p := range r.Publishers {
		if p.Session != "" {
			publishers = append(publishers, p.Name)
		}
	}
	return people, publishers
}

func (s *server) awaitPresent(limit time.Duration, people, publishers string) {
	s.t.Helper()
	eventually(s.t, limit, func() error {
		p, q := s.present()
		if strings.Join(p, " ") != people || strings.Join(q, " ") != publishers {
			return fmt.Errorf("the room has %v with %v, want %q with %q", p, q, people, publishers)
		}
		return nil
	})
}

// Three people meet by three browsers: they see and hear each other, one shares his screen, one is muted, one raises his
// hand, and one closes his page.
func TestPeopleMeet(t *testing.T) {
	s := serveMeeting(t)
	c := gather(t)
	anna := c.enter("anna", 400, nil)
	ben := c.enter("ben", 1100, nil)
	cleo := c.enter("cleo", 730, options{"choices": map[string]any{"withCamera": false}})
	guests := []*attendee{anna, ben, cleo}
	for _, g := range guests {
		g.awaits(10*time.Second, `document.querySelectorAll(".seat:not([hidden])").length === 3`)
	}
	anna.sees("ben", 10*time.Second)
	cleo.sees("anna", 10*time.Second)
	ben.sees("anna", 10*time.Second)
	cleo.sees("ben", 10*time.Second)
	anna.onStage("ben", "cleo")
	s.awaitPresent(5*time.Second, "anna ben cleo", "meeting meeting-2 meeting-2-camera meeting-3 meeting-camera")

	for _, g := range guests {
		g.say(true)
	}
	for _, g := range guests {
		g.awaits(5*time.Second, `document.querySelectorAll(".seat.speaking").length === 3`)
	}
	hear(t, map[*attendee][]float64{anna: {1100, 730}, ben: {400, 730}, cleo: {400, 1100}})

	// Muted by another, who is told that he is, and may lift it since there are no tokens here.
	anna.press("p")
	anna.awaits(5*time.Second, `document.querySelector('dialog[open] [aria-label="Mute: ben"]')`)
	anna.call(nil, 5*time.Second, "mouse", `dialog[open] [aria-label="Mute: ben"]`)
	anna.press("Escape")
	ben.awaits(5*time.Second, `document.querySelector(".banner.alarm")?.textContent.includes("muted you")`)
	cleo.awaits(5*time.Second, seat("ben")+`.textContent.includes("Muted by the room")`)
	cleo.awaits(5*time.Second, `!`+seat("ben")+`.matches(".speaking")`)
	ben.call(nil, 5*time.Second, "mouse", `.banner.alarm .button`)
	cleo.awaits(5*time.Second, seat("ben")+`.matches(".speaking")`)
	ben.awaits(5*time.Second, `!document.querySelector(".banner.alarm")`)
	for _, g := range guests {
		g.say(false)
	}

	// Off is off for everybody, and who talks then gets a hint.
	ben.press("m")
	anna.awaits(5*time.Second, seat("ben")+`.textContent.includes("Microphone off")`)
	ben.say(true)
	ben.awaits(5*time.Second, `document.querySelector(".toasts").textContent.includes("You are talking")`)
	ben.say(false)
	ben.press("m")

	cleo.press("h")
	anna.awaits(5*time.Second, `document.querySelector(".hands")`)
	ben.press("h")
	anna.awaits(5*time.Second, `document.querySelector(".hands ol")?.textContent === "1. cleo2. ben"`)
	anna.call(nil, 5*time.Second, "mouse", `.seat[data-key="meeting-3"] .menu button`)
	anna.awaits(5*time.Second, `[...document.querySelectorAll("[role=menuitem]")].some((e) => e.textContent.includes("Lower hand: cleo"))`)
	anna.call(nil, 5*time.Second, "look", `[...document.querySelectorAll("[role=menuitem]")].find((e) => e.textContent.includes("Lower hand: cleo")).click()`)
	anna.awaits(5*time.Second, `document.querySelector(".hands ol")?.textContent === "1. ben"`)
	ben.press("h")

	cleo.press("1")
	cleo.onStage("anna")
	cleo.call(nil, 5*time.Second, "mouse", `.seat[data-key="meeting-2"] .pin-it`)
	cleo.onStage("ben")
	cleo.press("0")
	cleo.onStage("anna", "ben")

	ben.press("s")
	cleo.onStage("ben’s screen")
	cleo.sees("ben’s screen", 10*time.Second)
	ben.press("s")
	cleo.onStage("anna", "ben")

	// Who closes his page is gone at once.
	closed := time.Now()
	cleo.call(nil, 5*time.Second, "leave")
	s.awaitPresent(3*time.Second, "anna ben", "meeting meeting-2 meeting-2-camera meeting-camera")
	t.Logf("who closed his page is gone after %v", time.Since(closed).Round(time.Millisecond))
	anna.awaits(5*time.Second, `document.querySelectorAll(".seat:not([hidden])").length === 2`)
}

// The gateway is restarted under two people: they are together again, without anybody doing anything, within 10 s.
func TestMeetingSurvivesARestart(t *testing.T) {
	s := serveMeeting(t)
	c := gather(t)
	anna, ben := c.enter("anna", 400, nil), c.enter("ben", 1100, nil)
	anna.sees("ben", 15*time.Second)
	ben.sees("anna", 15*time.Second)
	anna.say(true)
	ben.say(true)
	ben.press("h")
	anna.awaits(5*time.Second, `document.querySelector(".hands")`)

	s.p.stop(syscall.SIGKILL, time.Second)
	anna.awaits(10*time.Second, `document.querySelector(".banner.warn")?.textContent.includes("gateway does not answer")`)
	anna.awaits(10*time.Second, seat("ben")+`?.matches(":not(.live)")`)
	anna.accessible("gateway-lost")
	s.p = start(t, "sightline-again", s.p.cmd.Args, withEnv(s.p.cmd.Env...))
	s.awaitReady()
	back := time.Now()
	for _, g := range []*attendee{anna, ben} {
		other := map[*attendee]string{anna: "ben", ben: "anna"}[g]
		g.sees(other, 10*time.Second)
		g.awaits(10*time.Second, `document.querySelector("sightline-player[kind=audio]").state === "live"`)
		g.awaits(10*time.Second, `document.querySelectorAll(".banner.warn").length === 0 && document.querySelectorAll(".seat:not([hidden])").length === 2`)
	}
	anna.awaits(10*time.Second, seat("ben")+`.matches(".speaking")`)
	took := time.Since(back)
	t.Logf("two people are together again %v after the gateway is", took.Round(time.Millisecond))
	if took > 10*time.Second {
		t.Errorf("it took %v, want 10 s", took)
	}
	if people, publishers := s.present(); len(people) != 2 || strings.Join(publishers, " ") != "meeting meeting-2 meeting-2-camera meeting-camera" {
		t.Errorf("then the room has %v with %v", people, publishers)
	}
	hear(t, map[*attendee][]float64{anna: {1100}, ben: {400}})
	anna.awaits(time.Second, `document.querySelector(".hands ol").textContent === "1. ben"`)
}

// Whoever enters a full room is silent; whoever may not use his devices is told why, and hears the others; whose page
// dies is gone after the time of a heartbeat. axe finds nothing in any state.
func TestMeetingIsAccessibleInEachState(t *testing.T) {
	s := serveMeeting(t, "SIGHTLINE_STATIONS_MAX_FULL=2")
	c := gather(t)
	anna := c.enter("anna", 400, nil)
	anna.awaits(15*time.Second, seat("anna")+`?.matches('[data-state="live"]')`)
	anna.accessible("alone", "dark")
	ben := c.enter("ben", 1100, nil)
	anna.sees("ben", 15*time.Second)
	gwen := c.enter("gwen", 730, options{"fails": "NotAllowedError"})
	gwen.awaits(15*time.Second, `document.querySelector(".banner.warn")?.textContent.includes("The microphone and the camera are not allowed")`)
	ben.say(true)
	gwen.awaits(10*time.Second, seat("ben")+`.matches(".speaking")`)
	hear(t, map[*attendee][]float64{gwen: {1100}})
	gwen.accessible("devices-denied")
	ben.say(false)
	gwen.call(nil, 5*time.Second, "look", `window.fails = ""`)
	gwen.call(nil, 5*time.Second, "mouse", `[aria-label^="Try again: The microphone and"]`)
	anna.sees("gwen", 10*time.Second)
	gwen.awaits(5*time.Second, `document.querySelector(".banner.info")?.textContent.includes("2 people are here already")`)
	anna.awaits(5*time.Second, seat("gwen")+`.textContent.includes("Microphone off")`)
	gwen.press("m")
	anna.awaits(5*time.Second, `!`+seat("gwen")+`.textContent.includes("Microphone off")`)

	died := time.Now()
	gwen.call(nil, 5*time.Second, "kill")
	s.enterMeeting("Dora", `"role": "technician", "microphone": "off", "hand": true, "publishers": ["technician"]`)
	release := s.enterMeeting("Emil", `"role": "hospital", "privacy": true, "publishers": ["hospital"]`)
	ben.press("s")
	s.mute("meeting", true)
	anna.awaits(5*time.Second, `document.querySelector(".banner.privacy") && document.querySelector(".hands") && document.querySelector(".banner.alarm")`)
	anna.sees("ben’s screen", 10*time.Second)
	anna.press("1")
	anna.accessible("busy", "dark")
	eventually(t, 12*time.Second, func() error {
		if people, _ := s.present(); slices.Contains(people, "gwen") {
			return fmt.Errorf("the room has %v", people)
		}
		return nil
	})
	t.Logf("one whose page died is gone %v after that at most", time.Since(died).Round(time.Millisecond))
	if took := time.Since(died); took > 11*time.Second {
		t.Errorf("one whose page died is there for %v, want 10 s", took)
	}
	release(`{"privacy": false}`)
	s.mute("meeting", false)
	anna.awaits(5*time.Second, `!document.querySelector(".banner.privacy, .banner.alarm")`)
	anna.press("0")
	anna.press("p")
	anna.awaits(5*time.Second, `document.querySelector("dialog[open] .people")`)
	anna.accessible("people", "dark")
	anna.press("Escape")
	anna.call(nil, 5*time.Second, "mouse", `.seat[data-key="meeting-2"] .menu button`)
	anna.awaits(5*time.Second, `document.querySelector("[role=menu]")`)
	anna.accessible("menu")
	anna.press("Escape")
	anna.press("a")
	anna.awaits(5*time.Second, `!document.querySelector("sightline-player[kind=video]")`)
	anna.accessible("sound-only")

	// Everything that can be used is reached by Tab, and shows it.
	var want []string
	anna.call(&want, 5*time.Second, "usable")
	reached := map[string]bool{}
	for range len(want) + 2 { // the document itself is between the last and the first
		anna.press("Tab")
		var at struct {
			Name    string
			Visible bool
		}
		anna.call(&at, 5*time.Second, "focus")
		reached[at.Name] = true
		if !at.Visible && !strings.HasPrefix(at.Name, "body") {
			t.Errorf("the focus on %q can't be seen", at.Name)
		}
	}
	for _, name := range want {
		if !reached[name] {
			t.Errorf("Tab does not reach %q", name)
		}
	}
}

// enterMeeting makes a participant who stays until the test ends. The function returned changes him.
func (s *server) enterMeeting(name, members string) (change func(body string)) {
	s.t.Helper()
	ask := func(method, url, body string) (*http.Response, error) {
		req, err := http.NewRequest(method, url, strings.NewReader(body))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/json")
		return http.DefaultClient.Do(req)
	}
	res, err := ask(http.MethodPost, s.base+"/api/rooms/"+room+"/participants", fmt.Sprintf(`{"name": %q, %s}`, name, members))
	if err != nil {
		s.t.Fatal(err)
	}
	res.Body.Close()
	url, err := res.Location()
	if err != nil {
		s.t.Fatalf("POST of a participant is answered %s, %v", res.Status, err)
	}
	change = func(body string) {
		if res, err := ask(http.MethodPatch, url.String(), body); err == nil {
			res.Body.Close()
		}
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(3 * time.Second):
				change("{}")
			}
		}
	}()
	s.t.Cleanup(func() {
		close(stop)
		<-done
	})
	return change
}
