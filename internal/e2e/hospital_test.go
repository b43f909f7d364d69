//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Chromium's second fake camera gives depth, which is nothing to encode: four make three.
const fourCameras = "--use-fake-device-for-media-stream=device-count=4,fps=15"

// A station is a browser with the hospital's page.
type station struct {
	*browser
	s *server
}

func launchHospital(t *testing.T, s *server) *station {
	t.Helper()
	h := &station{launchAt(t, serverSide, "chromium", fourCameras), s}
	h.call(nil, 5*time.Second, "view", 1280, 800)
	h.open(local + "/" + room + "/hospital")
	h.await(10*time.Second, `document.querySelector(".me-name") !== null`)
	return h
}

// look returns what an expression is in the page.
func look[T any](b *browser, expression string) (v T) {
	b.t.Helper()
	b.call(&v, 5*time.Second, "look", expression)
	return v
}

// touch clicks what has such a text, as a person with a mouse does.
func (b *browser) touch(selector, text string) {
	b.t.Helper()
	b.await(5*time.Second, fmt.Sprintf(`(() => {
		document.querySelectorAll("[data-e2e]").forEach((e) => e.removeAttribute("data-e2e"));
		const e = [...document.querySelectorAll(%q)].find((e) => e.textContent.trim().startsWith(%q) && e.checkVisibility());
		e?.setAttribute("data-e2e", "");
		return e !== undefined;
	})()`, selector, text))
	b.call(nil, 5*time.Second, "mouse", "[data-e2e]")
}

// add shows a camera under a name that is chosen by a touch.
func (h *station) add(device, name string) {
	h.t.Helper()
	h.press("a")
	h.touch("dialog[open] .choice-row label", device)
	h.touch("dialog[open] .naming button", name)
	h.touch("dialog[open] button[type=submit]", "")
	h.await(5*time.Second, `document.querySelector(".dialog-box") === null`) // the page knows it, too
}

// escape leaves a dialog.
func (h *station) escape() {
	h.t.Helper()
	h.press("Escape")
	h.await(5*time.Second, `document.querySelector(".dialog-box") === null`) // the page knows it, too
}

// tile is an expression for a camera's tile.
func tile(name string) string {
	return fmt.Sprintf(`[...document.querySelectorAll(".tile")].find((t) => t.querySelector("h3").textContent === %q)`, name)
}

func (h *station) awaitTile(name, state string, limit time.Duration) {
	h.t.Helper()
	h.await(limit, tile(name)+`?.dataset.state === "`+state+`"`)
}

type participant struct {
	ID, Name, Role, Microphone, Camera, Call string
	Privacy, Speaking, Listening             bool
	Publishers                               []string
}

// hospital returns the hospital's participant.
func (s *server) hospital() (participant, error) {
	s.t.Helper()
	var list struct{ Participants []participant }
	if code := s.get("/api/rooms/"+room+"/participants", &list); code != http.StatusOK {
		return participant{}, fmt.Errorf("the participants are answered with %d", code)
	}
	for _, p := range list.Participants {
		if p.Role == "hospital" {
			return p, nil
		}
	}
	return participant{}, fmt.Errorf("no hospital among %v", list.Participants)
}

func (s *server) awaitHospital(what string, ok func(participant) bool) (p participant) {
	s.t.Helper()
	eventually(s.t, 5*time.Second, func() (err error) {
		if p, err = s.hospital(); err == nil && !ok(p) {
			err = fmt.Errorf("the hospital is %+v, want %s", p, what)
		}
		return err
	})
	return p
}

// labelled tells tracks by what people read.
func labelled(label string) func(track) error {
	return func(tr track) error {
		if tr.Label != label || tr.Role != "hospital" {
			return fmt.Errorf("%s has the label %q and the role %q, want %q of the hospital", tr.ID, tr.Label, tr.Role, label)
		}
		if tr.FPS < 3 {
			return fmt.Errorf("%s has %v frames/s: it does not move", tr.ID, tr.FPS)
		}
		return nil
	}
}

// gaps watches tracks until stop, which returns the longest time that each was without a packet, and fails the test if its
// session was not the same all the time.
func (s *server) gaps(ids ...string) (stop func() map[string]time.Duration) {
	end, done := make(chan struct{}), make(chan struct{})
	longest, sessions := map[string]time.Duration{}, map[string]string{}
	go func() {
		defer close(done)
		for {
			select {
			case <-end:
				return
			case <-time.After(100 * time.Millisecond):
			}
			res, err := http.Get(s.base + "/api/rooms/" + room + "/tracks")
			if err != nil {
				continue
			}
			var list struct{ Tracks []track }
			_ = json.NewDecoder(res.Body).Decode(&list)
			res.Body.Close()
			for _, id := range ids {
				found := false
				for _, tr := range list.Tracks {
					if tr.ID != id {
						continue
					}
					found = true
					if tr.PacketAge != nil {
						longest[id] = max(longest[id], time.Duration(*tr.PacketAge)*time.Millisecond)
					}
					if was, ok := sessions[id]; ok && was != tr.Session {
						s.t.Errorf("%s has session %s, before %s", id, tr.Session, was)
					}
					sessions[id] = tr.Session
				}
				if !found {
					s.t.Errorf("%s is not there", id)
				}
			}
		}
	}()
	stop = sync.OnceValue(func() map[string]time.Duration {
		close(end)
		<-done
		return longest
	})
	s.t.Cleanup(func() { stop() })
	return stop
}

// One camera's end, loss and return are nothing to the others: their packets go on in the same sessions.
func TestHospitalCamerasDontTouchEachOther(t *testing.T) {
	s := serve(t, "SIGHTLINE_HTTP_LISTEN=:8080")
	h := launchHospital(t, s)
	h.await(5*time.Second, `document.querySelector(".empty") !== null`)
	h.accessible("hospital empty", "light")
	h.add("fake_device_0", "Console")
	h.press("a")
	h.await(5*time.Second, `document.querySelector("dialog[open] video")?.videoWidth > 0`)
	h.touch("dialog[open] button[type=submit]", "") // without a name
	h.await(5*time.Second, `document.querySelector("dialog[open] .fault").textContent !== ""`)
	h.accessible("hospital adding", "light")
	h.escape()
	h.add("fake_device_2", "Gantry")
	h.add("fake_device_3", "Patient")
	for _, name := range []string{"Console", "Gantry", "Patient"} {
		s.awaitTrack(strings.ToLower(name)+"/video", 10*time.Second, labelled(name))
		h.awaitTile(name, "live", 5*time.Second)
	}
	p := s.awaitHospital("its voice and three cameras", func(p participant) bool { return len(p.Publishers) == 4 && p.Listening })
	if got, want := strings.Join(p.Publishers, " "), "hospital console gantry patient"; got != want || p.Camera != "on" || p.Microphone != "on" {
		t.Errorf("the hospital publishes %s, camera %s, microphone %s, want %s, both on", got, p.Camera, p.Microphone, want)
	}
	h.await(5*time.Second, `document.querySelector("#board-cameras").textContent.includes("3 cameras live")`)
	h.accessible("hospital three cameras")

	stop := s.gaps("console/video", "patient/video", "hospital/audio")

	// Removed, and added again under the name that it has kept.
	h.call(nil, 5*time.Second, "look", tile("Gantry")+`.querySelector(".menu button").click()`)
	h.await(5*time.Second, `document.querySelector("[role=menu]") !== null`)
	h.accessible("hospital menu", "light")
	h.touch("[role=menuitem]", "Remove")
	h.touch("dialog[open] .dialog-foot button", "Remove")
	s.awaitEnd("gantry", 5*time.Second)
	h.press("a")
	h.touch("dialog[open] .choice-row label", "fake_device_2")
	h.await(5*time.Second, `document.querySelector("dialog[open] input[name=camera]").value === "Gantry"`)
	h.touch("dialog[open] button[type=submit]", "")
	gantry := s.awaitTrack("gantry/video", 10*time.Second, labelled("Gantry"))

	// Unplugged: both sides are told, and nothing else takes its place.
	h.call(nil, 5*time.Second, "look", `(() => {
		const e = `+tile("Gantry")+`.querySelector("sightline-publisher"), media = navigator.mediaDevices;
		const id = e.getAttribute("device"), get = media.getUserMedia;
		media.getUserMedia = (c) => c.video?.deviceId?.exact === id ? Promise.reject(Object.assign(new DOMException("", "OverconstrainedError"), { constraint: "deviceId" })) : get.call(media, c);
		window.replug = () => { media.getUserMedia = get; media.dispatchEvent(new Event("devicechange")); };
		const [track] = e.stream.getTracks();
		track.stop();
		track.dispatchEvent(new Event("ended"));
	})()`)
	h.await(2*time.Second, `document.querySelector("#board-cameras").textContent.includes("Gantry: no picture")`)
	h.awaitTile("Gantry", "device-lost", time.Second)
	eventually(t, 4*time.Second, func() error {
		if tr, _ := s.track("gantry/video"); tr.State != "stalled" {
			return fmt.Errorf("gantry/video is %s, want stalled", tr.State)
		}
		return nil
	})
	h.accessible("hospital camera lost", "light")
	h.call(nil, 5*time.Second, "look", `window.replug()`)
	back := s.awaitTrack("gantry/video", 5*time.Second, nil)
	if back.Session != gantry.Session {
		t.Errorf("gantry has come back with session %s, want the %s that it had", back.Session, gantry.Session)
	}
	h.awaitTile("Gantry", "live", time.Second)

	// Off and on by a key, it is the third now; and the screen.
	h.press("3")
	s.awaitEnd("gantry", 5*time.Second)
	h.press("s")
	s.awaitTrack("hospital-screen/video", 10*time.Second, labelled("Screen"))
	h.accessible("hospital screen shared", "light")
	h.press("s", "3")
	s.awaitEnd("hospital-screen", 5*time.Second)
	s.awaitTrack("gantry/video", 10*time.Second, nil)

	for id, gap := range stop() {
		t.Logf("%s was without a packet for %v at most", id, gap)
		if gap > time.Second {
			t.Errorf("%s was without a packet for %v, want a second at most", id, gap)
		}
	}

	// The gateway is killed: everything comes back by itself.
	s.p.stop(syscall.SIGKILL, time.Second)
	h.await(10*time.Second, `document.querySelector("#board-cameras").classList.contains("alarm")`)
	h.accessible("hospital gateway lost", "light")
	again := serve(t, "SIGHTLINE_HTTP_LISTEN=:8080")
	began := time.Now()
	s.p = again.p
	for _, name := range []string{"console/video", "gantry/video", "patient/video", "hospital/audio"} {
		again.awaitTrack(name, 10*time.Second-time.Since(began), nil)
	}
	again.awaitHospital("listening, under the same names", func(p participant) bool {
		return p.Listening && len(p.Publishers) == 4 && p.Publishers[0] == "hospital"
	})
	t.Logf("all cameras, the voice and the listener are back %v after the gateway", time.Since(began).Round(time.Millisecond))
	h.await(5*time.Second, `document.querySelector("#board-cameras").textContent.includes("3 cameras live")`)
}

// bright samples how bright what the page's player number n shows is, frame by frame, from 0 to 255.
const sampler = `(() => {
	const canvas = Object.assign(document.createElement("canvas"), { width: 16, height: 9 });
	const context = canvas.getContext("2d", { willReadFrequently: true });
	window.shown = {};
	window.sample = (name, video) => {
		window.shown[name] = [];
		const frame = () => {
			context.drawImage(video, 0, 0, 16, 9);
			const data = context.getImageData(0, 0, 16, 9).data;
			let most = 0;
			for (let i = 0; i < data.length; i++) if (i % 4 !== 3) most = Math.max(most, data[i]);
			window.shown[name].push({ at: performance.timeOrigin + performance.now(), most });
			video.requestVideoFrameCallback(frame);
		};
		video.requestVideoFrameCallback(frame);
	};
})()`

type shownFrame struct{ At, Most float64 }

// dark is a picture with nothing in it: black, as encoders make it.
const dark = 40

// watchFrames starts a viewer of a track whose frames are sampled.
func (b *browser) watchFrames(s *server, publisher string) {
	b.t.Helper()
	b.play(publisher, s.whep(publisher+"/video"), "video", "")
	b.call(nil, 5*time.Second, "look", fmt.Sprintf(`window.sample(%q, [...document.querySelectorAll("video")].at(-1))`, publisher))
}

func (b *browser) shown(publisher string) []shownFrame {
	b.t.Helper()
	return look[[]shownFrame](b, fmt.Sprintf("window.shown[%q]", publisher))
}

func (b *browser) awaitBrightness(publisher string, isDark bool, limit time.Duration) {
	b.t.Helper()
	eventually(b.t, limit, func() error {
		all := b.shown(publisher)
		if len(all) == 0 {
			return fmt.Errorf("%s shows nothing", publisher)
		}
		if last := all[len(all)-1]; last.Most <= dark != isDark {
			return fmt.Errorf("%s is %v bright, want dark: %t", publisher, last.Most, isDark)
		}
		return nil
	})
}

// Privacy: nobody sees or hears anything of the room, be he there before or come meanwhile, until it is released.
func TestHospitalPrivacyLetsNothingOut(t *testing.T) {
	s := serve(t, "SIGHTLINE_HTTP_LISTEN=:8080")
	h := launchHospital(t, s)
	h.add("fake_device_0", "Console")
	s.awaitTrack("console/video", 10*time.Second, labelled("Console"))
	v := launchAt(t, serverSide, "chromium")
	v.call(nil, 5*time.Second, "look", sampler)
	v.watchFrames(s, "console")
	v.awaitBrightness("console", false, 5*time.Second)
	v.play("ears", s.whep("~mix"), "audio", "")
	// The power of what is heard since an earlier reading: the browser's microphone beeps each second.
	heard := func() (energy, seconds float64) {
		a := v.stats("ears").Audio
		return a.TotalAudioEnergy, a.TotalSamplesReceived / 48000
	}
	power := func(energy, seconds float64) float64 {
		e, s := heard()
		return (e - energy) / max(s-seconds, 0.001)
	}
	e0, s0 := heard()
	time.Sleep(2 * time.Second)
	loud := power(e0, s0)
	if loud == 0 {
		t.Fatal("nothing of the microphone's tone is in the mix")
	}
	before := s.awaitTrack("console/video", time.Second, nil)

	pressed := look[float64](h.browser, `performance.timeOrigin + performance.now()`)
	h.press("p")
	h.await(time.Second, `document.documentElement.hasAttribute("data-privacy") && document.querySelector(".banner.privacy").textContent.includes("PRIVACY")`)
	s.awaitHospital("in privacy", func(p participant) bool { return p.Privacy && p.Camera == "off" && p.Microphone == "off" })
	v.awaitBrightness("console", true, 3*time.Second)
	h.await(3*time.Second, tile("Console")+`.textContent.includes("Paused for privacy")`)
	h.press("p", "m") // neither ends it
	h.accessible("hospital privacy", "light")

	// Silence: soon, and then all the time. What players have buffered may take a moment where the machine is busy.
	eventually(t, 5*time.Second, func() error {
		e0, s0 = heard()
		time.Sleep(1100 * time.Millisecond) // longer than from one beep to the next
		if p := power(e0, s0); p > loud/10_000 {
			return fmt.Errorf("the mix still has the power %g in privacy, %g before", p, loud)
		}
		return nil
	})
	e0, s0 = heard()
	// One who comes meanwhile is not sent what was before, and a camera that is added meanwhile shows nothing.
	v.stop("console")
	first := v.shown("console")
	v.watchFrames(s, "console")
	h.add("fake_device_2", "Gantry")
	s.awaitTrack("gantry/video", 10*time.Second, nil)
	v.watchFrames(s, "gantry")
	h.press("a")
	h.touch("dialog[open] .choice-row label", "fake_device_3")
	h.await(5*time.Second, `document.querySelector("dialog[open] button[type=submit]").textContent.includes("paused for privacy")`)
	h.escape()
	v.awaitBrightness("console", true, 5*time.Second)
	v.awaitBrightness("gantry", true, 5*time.Second)
	quiet := power(e0, s0)
	t.Logf("the mix has the power %.3g before and %.3g in privacy", loud, quiet)
	if quiet > loud/10_000 { // 40 dB: what codecs make of nothing
		t.Errorf("the mix has the power %g in privacy, want none of %g", quiet, loud)
	}
	// A page that is loaded again is still private.
	h.open(local + "/" + room + "/hospital")
	h.await(5*time.Second, `document.documentElement.hasAttribute("data-privacy")`)
	h.awaitTile("Console", "paused", 10*time.Second)
	s.awaitTrack("console/video", 10*time.Second, nil)
	v.awaitBrightness("console", true, 5*time.Second)

	var last float64
	for _, f := range first {
		if f.Most > dark {
			last = f.At
		}
	}
	t.Logf("the last frame of the room was shown %.0f ms after the key", last-pressed)
	if last-pressed > 1000 {
		t.Errorf("a frame of the room was shown %.0f ms after the key, want none after 1000", last-pressed)
	}
	for _, name := range []string{"console", "gantry"} {
		for _, f := range v.shown(name) {
			if f.Most > dark {
				t.Errorf("%s has shown a frame of %v in privacy, %.0f ms after it began", name, f.Most, f.At-pressed)
				break
			}
		}
	}

	h.press("Shift+P")
	s.awaitHospital("out of privacy", func(p participant) bool { return !p.Privacy && p.Camera == "on" && p.Microphone == "on" })
	released := time.Now()
	v.awaitBrightness("console", false, 5*time.Second)
	v.awaitBrightness("gantry", false, 5*time.Second)
	t.Logf("pictures are back %v after the release", time.Since(released).Round(time.Millisecond))
	e0, s0 = heard()
	eventually(t, 5*time.Second, func() error {
		if p := power(e0, s0); p < loud/100 {
			return fmt.Errorf("the mix has the power %g after the release, %g before", p, loud)
		}
		return nil
	})
	s.awaitTrack("console/video", 5*time.Second, func(tr track) error {
		if tr.Width != before.Width {
			return fmt.Errorf("console is %d wide after the release, %d before", tr.Width, before.Width)
		}
		return nil
	})
}

// A guest is a participant by the API, as a page would be.
type guest struct {
	t     *testing.T
	ID    string
	url   string
	leave func()
}

func (p *guest) ask(method, url, body string) (*http.Response, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	return http.DefaultClient.Do(req)
}

func (p *guest) say(change string) {
	p.t.Helper()
	res, err := p.ask(http.MethodPatch, p.url, change)
	if err != nil {
		p.t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		p.t.Errorf("%s is answered %s", change, res.Status)
	}
}

// enterAs makes somebody who is in the room until he leaves, or the test ends.
func (s *server) enterAs(self string) *guest {
	s.t.Helper()
	p := &guest{t: s.t}
	res, err := p.ask(http.MethodPost, s.base+"/api/rooms/"+room+"/participants", self)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(p); err != nil {
		s.t.Fatal(err)
	}
	url, err := res.Location()
	if err != nil {
		s.t.Fatal(err)
	}
	p.url = url.String()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(3 * time.Second):
			}
			if res, err := p.ask(http.MethodPatch, p.url, "{}"); err == nil {
				res.Body.Close()
			}
		}
	}()
	p.leave = sync.OnceFunc(func() {
		close(stop)
		<-done
		if res, err := p.ask(http.MethodDelete, p.url, ""); err == nil {
			res.Body.Close()
		}
	})
	s.t.Cleanup(p.leave)
	return p
}

// A call rings at the technician's until he answers; the radiographer sees who it was. Who watches and listens has a name.
func TestHospitalCallsAndSeesTheTechnician(t *testing.T) {
	s := serve(t, "SIGHTLINE_HTTP_LISTEN=:8080")
	h := launchHospital(t, s)
	h.press("c")
	s.awaitHospital("calling", func(p participant) bool { return p.Call == "technician" })
	h.await(5*time.Second, `document.querySelector(".banners").textContent.includes("No technician has this room open")`)
	h.press("c")
	s.awaitHospital("not calling", func(p participant) bool { return p.Call == "" })
	h.await(5*time.Second, `!document.querySelector(".banners")?.textContent.includes("Calling")`)

	berg := s.enterAs(`{"name": "Dr. Berg", "role": "technician", "microphone": "on"}`)
	h.await(5*time.Second, `document.querySelector("#board-people").textContent.includes("Dr. Berg is here")`)
	h.press("c")
	p := s.awaitHospital("calling", func(p participant) bool { return p.Call == "technician" })
	h.accessible("hospital calling", "light")
	berg.say(`{"answer": "` + p.ID + `"}`)
	h.await(3*time.Second, `document.querySelector(".banners").textContent.includes("Dr. Berg has answered")`)
	h.accessible("hospital answered", "light")

	// He watches and listens; another viewer has no name.
	h.add("fake_device_0", "Console")
	s.awaitTrack("console/video", 10*time.Second, nil)
	v := launchAt(t, serverSide, "chromium")
	v.play("eyes", s.whep("console/video?participant="+berg.ID), "video", "")
	v.play("ears", s.whep("~mix?participant="+berg.ID), "audio", "")
	v.play("nobody", s.whep("console/video"), "video", "")
	h.await(5*time.Second, tile("Console")+`.textContent.includes("Watched by Dr. Berg and 1 other")`)
	h.await(5*time.Second, `document.querySelector("#board-people").textContent.includes("Dr. Berg watches")`)
	h.await(5*time.Second, `document.querySelector(".present").textContent.includes("Watches Console · Listens")`)

	// He speaks: the hospital hears it, sees it, and does not hear itself.
	berg.say(`{"publishers": ["technician"]}`)
	h.press("m")
	s.awaitHospital("muted", func(p participant) bool { return p.Microphone == "off" })
	h.await(5*time.Second, `document.querySelector("#room-sound").state === "live" && document.querySelector("#room-sound").level === 0`)
	v.publish("desk", s.whip("technician"), "")
	h.await(10*time.Second, `document.querySelector("#room-sound").level > 0`)
	h.await(10*time.Second, `document.querySelector("#board-people").textContent.includes("Dr. Berg speaks")`)
	// His camera is seen, too, as long as he is here.
	h.await(10*time.Second, `document.querySelector(".faces [data-state=live] h3")?.textContent === "Dr. Berg" && document.querySelector(".faces sightline-player").state === "live"`)
	h.accessible("hospital with the technician's camera", "light")
	h.picture("hospital-face")
	berg.leave()
	h.await(3*time.Second, `!document.querySelector(".faces")`)
	h.await(3*time.Second, `!document.querySelector(".present").textContent.includes("Dr. Berg")`)

	// Whoever speaks with the microphone off is told.
	h.call(nil, 5*time.Second, "look", `(() => {
		const context = new AudioContext(), tone = new OscillatorNode(context), sink = context.createMediaStreamDestination();
		tone.connect(sink);
		tone.start();
		const e = document.querySelector("sightline-publisher[source=microphone]");
		e.stream = sink.stream;
	})()`)
	h.await(5*time.Second, `document.querySelector(".hospital").textContent.includes("You speak, but your microphone is off")`)
	h.accessible("hospital speaking while muted", "light")
	h.press("m")
	s.awaitHospital("heard", func(p participant) bool { return p.Microphone == "on" })

	// While the gateway is away nobody is called, and nobody is said to be here.
	h.press("c")
	s.awaitHospital("calling", func(p participant) bool { return p.Call == "technician" })
	s.p.cmd.Process.Signal(syscall.SIGTERM)
	s.p.stop(syscall.SIGTERM, 10*time.Second)
	h.await(10*time.Second, `document.querySelector(".banners").textContent.includes("It rings as soon as it does")`)
	h.await(5*time.Second, `document.querySelector("#board-people").textContent.includes("Not known who is here")`)
}

// What can't be had is said in plain words for each, and the rest goes on; and everything is done by keys alone.
func TestHospitalWithoutDevicesAndByKeysAlone(t *testing.T) {
	s := serve(t, "SIGHTLINE_HTTP_LISTEN=:8080")
	h := &station{launchAt(t, serverSide, "chromium", fourCameras), s}
	h.call(nil, 5*time.Second, "view", 1280, 800)
	h.call(nil, 5*time.Second, "deny")
	h.open(local + "/" + room + "/hospital")
	h.await(10*time.Second, `document.querySelector(".hospital .banner.warn")?.textContent.includes("The microphone is not allowed")`)
	s.awaitHospital("listening without a microphone", func(p participant) bool { return p.Microphone == "none" && p.Listening })
	h.press("a")
	h.await(5*time.Second, `document.querySelector("dialog[open] .banner.warn")?.textContent.includes("The camera is not allowed")`)
	h.accessible("hospital denied", "light")
	h.escape()

	// Allowed after all.
	h.call(nil, 5*time.Second, "look", `delete navigator.mediaDevices.getUserMedia`)
	h.press("m")
	s.awaitHospital("with a microphone", func(p participant) bool { return p.Microphone == "on" })

	tab := func(expression string) {
		t.Helper()
		for range 40 {
			if look[bool](h.browser, expression) {
				return
			}
			h.press("Tab")
		}
		t.Fatalf("Tab never reaches %s", expression)
	}
	at := func(selector string) string { return fmt.Sprintf(`document.activeElement.matches(%q)`, selector) }
	h.press("a")
	h.await(5*time.Second, `document.querySelector("dialog[open] input[name=camera]") !== null`)
	tab(at("input[name=camera]"))
	h.call(nil, 5*time.Second, "write", "Röntgen 1")
	h.press("Enter")
	s.awaitTrack("roentgen-1/video", 10*time.Second, labelled("Röntgen 1"))
	tab(at(".tile .menu button"))
	h.press("Enter")
	h.await(5*time.Second, at("[role=menuitem]"))
	h.press("ArrowDown", "Enter") // Quality
	h.await(5*time.Second, `document.querySelector("dialog[open] select") !== null`)
	h.accessible("hospital quality", "light")
	tab(at("dialog select"))
	h.press("ArrowDown")
	h.escape()
	s.awaitTrack("roentgen-1/video", 10*time.Second, func(tr track) error {
		if tr.Width != 854 {
			return fmt.Errorf("the camera is %d wide, want 854", tr.Width)
		}
		return nil
	})
	h.press("?")
	h.await(5*time.Second, `document.querySelector("dialog[open]").textContent.includes("Turn Röntgen 1 on or off")`)
	h.escape()
	h.press("d")
	h.await(5*time.Second, `document.querySelector(".debug").textContent.includes("roentgen-1")`)
	h.accessible("hospital numbers", "light")
	h.press("d")

	// Each page and each width, for those who look at them.
	if os.Getenv("SIGHTLINE_E2E_PICTURES") != "" {
		h.pictures("hospital-one-camera")
		h.press("p")
		h.pictures("hospital-privacy")
	}
}

// pictures saves what the page is in both colours, on a phone, and at 200 %.
func (b *browser) pictures(name string) {
	b.t.Helper()
	for _, v := range []struct {
		suffix, colours  string
		width, height, x int
	}{{"light", "light", 1280, 800, 1}, {"dark", "dark", 1280, 800, 1}, {"narrow", "light", 360, 740, 1}, {"200", "light", 640, 400, 2}} {
		b.call(nil, 5*time.Second, "view", v.width, v.height, v.x)
		b.call(nil, 5*time.Second, "colours", v.colours)
		time.Sleep(300 * time.Millisecond) // for the picture only
		b.picture(name + "-" + v.suffix)
	}
	b.call(nil, 5*time.Second, "view", 1280, 800, 1)
}

// The hospital's main flow in Firefox: a camera and a voice are shown, the technician is heard, privacy lets nothing out.
func TestHospitalInFirefox(t *testing.T) {
	s := serve(t, "SIGHTLINE_HTTP_LISTEN=:8080")
	base := "http://" + serverIP + ":8080"
	h := &station{launch(t, "firefox"), s}
	h.open(base + "/" + room)
	h.await(10*time.Second, `document.querySelector("input[name=name]") !== null`)
	h.call(nil, 5*time.Second, "mouse", "input[name=name]")
	h.call(nil, 5*time.Second, "write", "Anna Berg")
	h.call(nil, 5*time.Second, "mouse", `.join-role[href$="/hospital"]`)
	h.await(10*time.Second, `document.querySelector(".me-name")?.textContent === "Anna Berg"`)
	h.add("", "Console")
	s.awaitTrack("console/video", 25*time.Second, labelled("Console")) // Debian's Firefox has H.264 by name only: the page finds that out
	s.awaitTrack("hospital/audio", 10*time.Second, nil)
	v := launchAt(t, serverSide, "chromium")
	v.call(nil, 5*time.Second, "look", sampler)
	v.watchFrames(s, "console")
	v.awaitBrightness("console", false, 10*time.Second)
	v.publish("technician", s.whip("technician"), "")
	h.await(15*time.Second, `document.querySelector("#room-sound").level > 0`)

	h.press("p")
	v.awaitBrightness("console", true, 5*time.Second)
	s.awaitHospital("private", func(p participant) bool { return p.Privacy })
	h.picture("hospital-firefox")
	h.touch(".end-privacy", "")
	v.awaitBrightness("console", false, 5*time.Second)
}
