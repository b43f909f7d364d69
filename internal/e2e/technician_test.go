//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// serveStations starts a server that browsers on its own host see at a loopback address, where pages have devices, and
// encoders on the clients' host at its own.
func serveStations(t *testing.T, env ...string) *server {
	t.Helper()
	s := &server{t: t, base: local}
	s.startStations(env...)
	return s
}

func (s *server) startStations(env ...string) {
	s.t.Helper()
	s.p = start(s.t, "sightline", []string{os.Getenv(insideEnv), "serve"}, withEnv(append([]string{
		"SIGHTLINE_HTTP_LISTEN=:8080", "SIGHTLINE_AUTH_OPEN=true", "SIGHTLINE_ROOMS_GRACE=2s",
	}, env...)...))
	s.awaitReady()
}

// fromAfar is where an encoder on the clients' host publishes.
func fromAfar(publisher string) string {
	return "http://" + serverIP + ":8080/whip/" + room + "/" + publisher
}

// A stationPage is a browser with drivers/technician.js.
type stationPage struct {
	*browser
	base string // of the gateway, as the browser sees it
}

func launchStation(t *testing.T, name string) stationPage {
	t.Helper()
	b := stationPage{launchAt(t, serverSide, name), local}
	b.call(nil, 5*time.Second, "prepare", "technician.js")
	return b
}

// launchFirefox starts it on the clients' host: on the other it has no default route, and then gathers nothing.
func launchFirefox(t *testing.T) stationPage {
	t.Helper()
	b := stationPage{launch(t, "firefox"), "http://" + serverIP + ":8080"}
	b.call(nil, 5*time.Second, "prepare", "technician.js")
	return b
}

// do runs a function of drivers/technician.js.
func (b stationPage) do(result any, limit time.Duration, name string, args ...any) {
	b.t.Helper()
	if args == nil {
		args = []any{}
	}
	list, err := json.Marshal(args)
	if err != nil {
		b.t.Fatal(err)
	}
	b.call(result, limit, "look", fmt.Sprintf("technician.%s(...%s)", name, list))
}

// launchEncoder opens a page that publishes cameras and a voice, and hears the room.
func launchEncoder(t *testing.T) stationPage {
	t.Helper()
	b := launchStation(t, "chromium")
	b.open(local + "/")
	return b
}

type published struct {
	Label     string  `json:"label,omitempty"`
	Frequency float64 `json:"frequency,omitempty"`
	Video     bool    `json:"video"`
}

func (b stationPage) publishes(name string, p published) {
	b.t.Helper()
	b.do(nil, 10*time.Second, "publish", local, room, name, p)
}

// openTechnician opens the station; its microphone is a tone, or the browser's own with a frequency of 0.
func (b stationPage) openTechnician(frequency float64, choices string) {
	b.t.Helper()
	script := ""
	if frequency > 0 {
		script = fmt.Sprintf("technician.devices(%g); ", frequency)
	}
	b.call(nil, 5*time.Second, "prepare", script+fmt.Sprintf("if (location.protocol === 'http:') localStorage.setItem('sightline', JSON.stringify(%s));", choices))
	b.open(b.base + "/" + room + "/technician")
}

const drBerg = `{name: 'Dr. Berg'}`

// A shownTile is a picture as the technician's page shows it.
type shownTile struct {
	Name, Label, State, Words, Age, Detail, Badge, Fit, Filter, Transform, Key string
	Frames, Width                                                              int
	Big                                                                        bool
}

func (b stationPage) tiles() (all []shownTile) {
	b.t.Helper()
	b.do(&all, 5*time.Second, "tiles")
	return all
}

func (b stationPage) shownTile(name string) shownTile {
	b.t.Helper()
	for _, tl := range b.tiles() {
		if tl.Name == name {
			return tl
		}
	}
	return shownTile{}
}

// awaitTile returns how long it took until a tile is as wanted, and the tile.
func (b stationPage) awaitTile(limit time.Duration, name, state string) (shownTile, time.Duration) {
	b.t.Helper()
	began := time.Now()
	var tl shownTile
	eventually(b.t, limit, func() error {
		if tl = b.shownTile(name); tl.State != state {
			return fmt.Errorf("the tile of %s is %+v, want %s", name, tl, state)
		}
		return nil
	})
	return tl, time.Since(began)
}

func (b stationPage) awaitLive(limit time.Duration, names ...string) {
	b.t.Helper()
	eventually(b.t, limit, func() error {
		live := map[string]bool{}
		for _, tl := range b.tiles() {
			live[tl.Name] = tl.State == "live"
		}
		for _, name := range names {
			if !live[name] {
				return fmt.Errorf("%s is not live: %+v", name, b.tiles())
			}
		}
		return nil
	})
}

// moving fails the test unless all these pictures go on.
func (b stationPage) moving(limit time.Duration, names ...string) {
	b.t.Helper()
	before := map[string]int{}
	for _, tl := range b.tiles() {
		before[tl.Name] = tl.Frames
	}
	eventually(b.t, limit, func() error {
		for _, tl := range b.tiles() {
			if slices.Contains(names, tl.Name) && tl.Frames < before[tl.Name]+5 {
				return fmt.Errorf("%s has shown %d frames, %d before", tl.Name, tl.Frames, before[tl.Name])
			}
		}
		return nil
	})
}

// hears waits until a tone is heard in what an element plays, or is not.
func (b stationPage) hears(limit time.Duration, selector string, frequency float64, want bool) {
	b.t.Helper()
	const loud, quiet = -50, -75 // dB
	eventually(b.t, limit, func() error {
		var db float64
		b.do(&db, 5*time.Second, "strength", selector, frequency)
		if want && db < loud || !want && db > quiet {
			return fmt.Errorf("%s: %.0f Hz is heard with %.0f dB, want it heard: %t", selector, frequency, db, want)
		}
		return nil
	})
}

// enterFor makes a participant who stays until the function that it returns is called, or the test ends.
func (s *server) enterFor(self string) (leave func()) {
	s.t.Helper()
	ask := func(method, url, body string) *http.Response {
		req, _ := http.NewRequest(method, url, strings.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil
		}
		res.Body.Close()
		return res
	}
	res := ask(http.MethodPost, s.base+"/api/rooms/"+room+"/participants", self)
	if res == nil || res.StatusCode != http.StatusCreated {
		s.t.Fatalf("POST of a participant is answered %+v", res)
	}
	url, _ := res.Location()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				ask(http.MethodDelete, url.String(), "")
				return
			case <-time.After(3 * time.Second):
				ask(http.MethodPatch, url.String(), "{}")
			}
		}
	}()
	leave = sync.OnceFunc(func() {
		close(stop)
		<-done
	})
	s.t.Cleanup(leave)
	return leave
}

// own is the element by which the technician hears the room.
const own = "body > div > sightline-player[kind=audio]"

func TestTechnicianSeesWhatIsFrozen(t *testing.T) {
	s := serveStations(t)
	encoder := ffmpeg(t, fromAfar("injector"), camera{Size: "640x360", Keyframe: 30})
	hospital := launchEncoder(t)
	hospital.publishes("console", published{Label: "Console", Video: true})
	hospital.publishes("gantry", published{Label: "Gantry", Video: true})
	hospital.publishes("table", published{Video: true})
	for _, name := range []string{"injector", "console", "gantry", "table"} {
		s.awaitTrack(name+"/video", 15*time.Second, nil)
	}
	b := launchStation(t, "chromium")
	b.openTechnician(660, drBerg)
	all := []string{"injector", "console", "gantry", "table"}
	b.awaitLive(10*time.Second, all...)
	b.moving(5*time.Second, all...)
	order := b.tiles()
	for i, tl := range order {
		want := map[string]string{"injector": "injector", "console": "Console", "gantry": "Gantry", "table": "table"}[tl.Name]
		if tl.Label != want || tl.Fit != "contain" || tl.Key != strconv.Itoa(i+1) {
			t.Errorf("tile %d is %+v, want the label %q, the key %d and a picture that is not cropped", i+1, tl, want, i+1)
		}
	}

	// An encoder that hangs: the picture is said to be old, with its age, and no other suffers.
	encoder.cmd.Process.Signal(syscall.SIGSTOP)
	tl, after := b.awaitTile(3*time.Second, "injector", "frozen")
	t.Logf("frozen %v after SIGSTOP: %q, %q", after.Round(10*time.Millisecond), tl.Words, tl.Age)
	if tl.Badge != "Frozen" || !strings.Contains(tl.Filter, "grayscale") {
		t.Errorf("a frozen picture has the badge %q and the filter %q", tl.Badge, tl.Filter)
	}
	b.moving(5*time.Second, "console", "gantry", "table")
	eventually(t, 5*time.Second, func() error {
		tl = b.shownTile("injector")
		seconds, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(tl.Age, "The picture is "), " s old"))
		if seconds < 3 || !strings.HasPrefix(tl.Detail, "The camera sends nothing") {
			return fmt.Errorf("the age is %q and the detail %q, want 3 s or more, and whose leg it is", tl.Age, tl.Detail)
		}
		return nil
	})
	encoder.cmd.Process.Signal(syscall.SIGCONT)
	_, after = b.awaitTile(10*time.Second, "injector", "live")
	t.Logf("live again %v after SIGCONT", after.Round(10*time.Millisecond))

	// Loss on the encoder's way is its own leg's, and told as that.
	stop := lose(t, serverSide, 12)
	b.await(8*time.Second, `!!document.querySelector("[data-name=injector] .loss-3")?.textContent.startsWith("Loss at the camera")`)
	stop()
	b.await(time.Second, `![...document.querySelectorAll(".loss")].some((e) => e.textContent.startsWith("Loss here"))`)

	// Privacy is not a frozen picture.
	leave := s.enterFor(`{"name": "Anna Berg", "role": "hospital", "microphone": "on", "privacy": true, "publishers": ["hospital", "console"]}`)
	tl, _ = b.awaitTile(3*time.Second, "console", "paused")
	if !strings.Contains(tl.Words, "Anna Berg") || tl.Age != "" {
		t.Errorf("privacy says %q, %q", tl.Words, tl.Age)
	}
	if tl := b.shownTile("gantry"); tl.State != "live" {
		t.Errorf("who is not paused is %s", tl.State)
	}
	leave()
	b.awaitTile(3*time.Second, "console", "live")

	// Who leaves keeps its place, with words, and comes back to it.
	hospital.do(nil, 5*time.Second, "leave", "gantry")
	tl, after = b.awaitTile(8*time.Second, "gantry", "gone")
	t.Logf("gone after %v: %q", after.Round(10*time.Millisecond), tl.Words)
	same := func() {
		t.Helper()
		for i, tl := range b.tiles() {
			if tl.Name != order[i].Name {
				t.Errorf("tile %d is %s now, want %s: the order jumps", i+1, tl.Name, order[i].Name)
			}
		}
	}
	same()
	hospital.publishes("gantry", published{Label: "Gantry", Video: true})
	b.awaitTile(10*time.Second, "gantry", "live")
	same()

	// Looking closer: keys, wheel, still.
	third := order[2].Name
	b.press("3")
	b.await(2*time.Second, `technician.tiles()[2].big`)
	b.press("=", "=")
	b.await(2*time.Second, `technician.tiles()[2].transform.includes("scale(2.25")`)
	b.call(nil, 5*time.Second, "wheel", ".big .viewport", -300)
	b.await(3*time.Second, `technician.tiles()[2].transform.includes("scale(6.1")`)
	b.press("0")
	b.await(2*time.Second, `technician.tiles()[2].transform === "none"`)
	b.press("s")
	var saved []struct {
		Name          string
		Width, Height int
	}
	eventually(t, 5*time.Second, func() error {
		b.do(&saved, 5*time.Second, "saved")
		if len(saved) != 1 {
			return fmt.Errorf("saved %v", saved)
		}
		return nil
	})
	if f := saved[0]; f.Width != 640 || f.Height != 360 || !regexp.MustCompile(`^`+room+` \w+ \d{4}-\d\d-\d\d \d\d-\d\d-\d\d\.\d{3}\.png$`).MatchString(f.Name) {
		t.Errorf("the still is %+v, want the whole picture, and room, camera and time in its name", f)
	}
	b.press("Shift+Digit1")
	b.await(2*time.Second, `technician.tiles().map((t) => t.big).join() === "true,false,true,false"`)
	b.press("Escape")
	b.await(2*time.Second, `!technician.tiles().some((t) => t.big)`)

	// A restart of the gateway.
	s.p.stop(syscall.SIGKILL, time.Second)
	eventually(t, 5*time.Second, func() error {
		if tl := b.shownTile(third); tl.State == "live" || !strings.HasPrefix(tl.Detail, "The gateway does not answer") {
			return fmt.Errorf("without a gateway the tile is %+v", tl)
		}
		return nil
	})
	s.startStations()
	began := time.Now()
	b.awaitLive(10*time.Second, "console", "gantry", "table")
	t.Logf("all pictures are back %v after the gateway", time.Since(began).Round(10*time.Millisecond))
	same()
	eventually(t, 10*time.Second, func() error {
		var list struct {
			Participants []struct{ ID, Name, Microphone string }
		}
		s.get("/api/rooms/"+room+"/participants", &list)
		if len(list.Participants) != 1 || list.Participants[0].Microphone != "on" {
			return fmt.Errorf("participants %+v", list)
		}
		if !s.watches("console/video", list.Participants[0].ID) {
			return fmt.Errorf("the participant %s, who has entered anew, does not watch", list.Participants[0].ID)
		}
		if tr, _ := s.track("technician/audio"); tr.State != "live" {
			return fmt.Errorf("the technician's voice is %q", tr.State)
		}
		return nil
	})
}

func TestTechnicianTalksAndIsCalled(t *testing.T) {
	s := serveStations(t)
	hospital := launchEncoder(t)
	hospital.publishes("hospital", published{Label: "Anna Berg", Frequency: 440})
	hospital.publishes("console", published{Label: "Console", Video: true})
	hospital.do(nil, 5*time.Second, "hear", local, room, "hospital")
	s.awaitTrack("hospital/audio", 10*time.Second, nil)
	b := launchStation(t, "chromium")
	b.openTechnician(660, drBerg)
	b.awaitLive(10*time.Second, "console")
	s.awaitTrack("technician/audio", 10*time.Second, nil)

	hospital.hears(10*time.Second, "#ear", 660, true)
	hospital.hears(10*time.Second, "#ear", 440, false)
	b.hears(10*time.Second, own, 440, true)
	b.hears(10*time.Second, own, 660, false)
	b.await(5*time.Second, `document.querySelector(".speakers").textContent.includes("Anna Berg speaks")`)

	b.press("m")
	hospital.hears(10*time.Second, "#ear", 660, false)
	b.await(5*time.Second, `document.querySelector(".hint-bubble") !== null`)
	s.awaitParticipant(`"microphone":"off"`)
	b.press("m")
	hospital.hears(10*time.Second, "#ear", 660, true)
	b.await(2*time.Second, `document.querySelector(".hint-bubble") === null`)

	// One's own camera is of the same publisher, and is no tile of one's own.
	b.press("c")
	s.awaitTrack("technician/video", 10*time.Second, nil)
	s.awaitTrack("technician/audio", 5*time.Second, nil)
	b.await(5*time.Second, `document.querySelector(".self-thumb")?.videoWidth > 0`)
	if tiles := b.tiles(); len(tiles) != 1 {
		t.Errorf("tiles with one's own camera: %+v", tiles)
	}
	b.press("c")
	s.awaitParticipant(`"camera":"off"`)

	// Who watches and who listens is known by name.
	s.awaitParticipant(`"listening":true`)
	var list struct{ Participants []struct{ ID string } }
	s.get("/api/rooms/"+room+"/participants", &list)
	if len(list.Participants) != 1 || !s.watches("console/video", list.Participants[0].ID) {
		t.Errorf("of %+v nobody watches the console", list)
	}

	// A call is seen, told by the title, and answered by a key.
	b.press("m")
	leave := s.enterFor(`{"name": "Anna Berg", "role": "hospital", "call": "technician", "publishers": ["hospital"]}`)
	b.await(2*time.Second, `document.querySelector(".call .banner strong")?.textContent === "Anna Berg (Hospital) calls you"`)
	b.await(2500*time.Millisecond, `document.title.includes("Anna Berg calls")`)
	b.press("a")
	b.await(2*time.Second, `document.querySelector(".call") === null`)
	s.awaitParticipant(`"call":""`)
	s.awaitParticipant(`"name":"Dr. Berg","role":"technician"`)
	hospital.hears(10*time.Second, "#ear", 660, true)
	b.await(2*time.Second, `!document.title.includes("calls")`)
	leave()

	// Sound only: no picture is loaded any more.
	b.press(",")
	b.await(2*time.Second, `document.querySelector("dialog[open]") !== null`)
	b.call(nil, 5*time.Second, "look", `[...document.querySelectorAll("dialog[open] .switch")].find((e) => e.textContent.includes("Sound only")).click()`)
	b.press("Escape")
	b.await(2*time.Second, `document.querySelector(".sound-only") !== null`)
	s.awaitViewers("console/video", 0, 3*time.Second)
	b.hears(5*time.Second, own, 440, true)
	b.call(nil, 5*time.Second, "mouse", ".sound-only .button")
	b.awaitLive(5*time.Second, "console")
}

// watches reports whether a participant is among a track's watchers.
func (s *server) watches(track, participant string) bool {
	s.t.Helper()
	var list struct {
		Tracks []struct {
			ID       string
			Watchers []string
		}
	}
	s.get("/api/rooms/"+room+"/tracks", &list)
	for _, tr := range list.Tracks {
		if tr.ID == track {
			return slices.Contains(tr.Watchers, participant)
		}
	}
	return false
}

// awaitParticipant waits until the list of participants has something in it.
func (s *server) awaitParticipant(want string) {
	s.t.Helper()
	eventually(s.t, 5*time.Second, func() error {
		var list json.RawMessage
		s.get("/api/rooms/"+room+"/participants", &list)
		if !strings.Contains(string(list), want) {
			return fmt.Errorf("%s lacks %s", list, want)
		}
		return nil
	})
}

func TestTechniciansFirstPicture(t *testing.T) {
	s := serveStations(t)
	ffmpeg(t, fromAfar("injector"), camera{Size: "640x360", Keyframe: 30})
	hospital := launchEncoder(t)
	names := []string{"console", "gantry", "table"}
	for _, name := range names {
		hospital.publishes(name, published{Video: true})
	}
	for _, name := range append(names, "injector") {
		s.awaitTrack(name+"/video", 15*time.Second, nil)
	}
	b := launchStation(t, "chromium")
	b.openTechnician(660, drBerg)
	b.awaitLive(10*time.Second, "injector")
	var first, all []time.Duration
	for range 5 {
		b.open(local + "/" + room + "/technician")
		var ms [2]float64
		eventually(t, 10*time.Second, func() error {
			b.call(&ms, 5*time.Second, "look", `[performance.getEntriesByName("sightline:first-picture")[0]?.startTime ?? 0, document.querySelectorAll(".tile[data-state=live]").length === 4 ? performance.now() : 0]`)
			if ms[0] == 0 || ms[1] == 0 {
				return fmt.Errorf("no picture yet: %v", ms)
			}
			return nil
		})
		first = append(first, time.Duration(ms[0])*time.Millisecond)
		all = append(all, time.Duration(ms[1])*time.Millisecond)
	}
	t.Logf("first picture after navigation: %v; all four: %v", first, all)
	if m := medianOf(first); m > 1500*time.Millisecond {
		t.Errorf("the first picture comes %v after navigation (median), want 1.5 s at most", m)
	}
}

func TestTechnicianInFirefox(t *testing.T) {
	s := serveStations(t)
	encoder := ffmpeg(t, fromAfar("injector"), camera{Size: "640x360", Keyframe: 30})
	hospital := launchEncoder(t)
	hospital.publishes("console", published{Label: "Console", Video: true})
	hospital.publishes("hospital", published{Label: "Anna Berg", Frequency: 440})
	hospital.do(nil, 5*time.Second, "hear", local, room, "hospital")
	s.awaitTrack("console/video", 10*time.Second, nil)
	s.awaitTrack("injector/video", 10*time.Second, nil)
	b := launchFirefox(t)
	// Without a sound card it has no Web Audio: its own microphone is a tone, and it tells how loud it is what it plays.
	b.openTechnician(0, drBerg)
	b.awaitLive(20*time.Second, "console", "injector")
	b.await(10*time.Second, fmt.Sprintf(`document.querySelector(%q).level > 0.01`, own))
	hospital.hears(10*time.Second, "#ear", 1000, true)
	encoder.cmd.Process.Signal(syscall.SIGSTOP)
	_, after := b.awaitTile(4*time.Second, "injector", "frozen")
	t.Logf("frozen %v after SIGSTOP", after.Round(10*time.Millisecond))
	encoder.cmd.Process.Signal(syscall.SIGCONT)
	b.awaitTile(10*time.Second, "injector", "live")
	b.press("1")
	b.await(2*time.Second, `technician.tiles()[0].big`)
	b.picture("technician-firefox")
}

// What the page gives to be copied is run as it stands, but with a test picture for the devices.
func TestTechnicianCopiesCommandsThatWork(t *testing.T) {
	s := serveStations(t)
	b := launchStation(t, "chromium")
	b.openTechnician(660, drBerg)
	b.await(10*time.Second, `document.querySelector(".wall-empty button") !== null`)
	copied := func(program string) string {
		t.Helper()
		b.await(3*time.Second, `document.querySelector("dialog[open] .links") !== null`)
		return look[string](b.browser, fmt.Sprintf(`(async () => {
			const links = document.querySelector("dialog[open] .links");
			[...links.querySelectorAll("label")].find((l) => l.textContent === %q).click();
			await new Promise((done) => setTimeout(done, 100));
			return [...links.querySelectorAll(".copy")].at(-1).querySelector("input, textarea").value;
		})()`, program))
	}
	b.call(nil, 5*time.Second, "look", `document.querySelector(".wall-empty button").click()`)
	const devices = "-f v4l2 -framerate 30 -video_size 1280x720 -i /dev/video0 -f alsa -i default"
	command := copied("FFmpeg")
	if !strings.Contains(command, devices) {
		t.Fatalf("the command has other devices than %q: %s", devices, command)
	}
	command = strings.Replace(command, devices, "-nostdin -re -f lavfi -i testsrc2=rate=30:size=1280x720 -re -f lavfi -i sine=sample_rate=48000", 1)
	shell := []string{"bash", "-c", `real=("$@"); ffmpeg() { exec "${real[@]}" "$@"; }; ` + command, "bash"}
	start(t, "ffmpeg", append(shell, inRoot(t.TempDir(), "ffmpeg")...))
	s.awaitTrack("camera/video", 10*time.Second, func(tr track) error {
		if tr.Width != 1280 {
			return fmt.Errorf("the picture is %d wide", tr.Width)
		}
		return nil
	})
	s.awaitTrack("camera/audio", 5*time.Second, nil)
	if obs, want := copied("OBS"), "Server: "+local+"/whip/"+room+"/camera"; !strings.Contains(obs, want) {
		t.Errorf("OBS is told %q, want %q", obs, want)
	}
	if gst, want := copied("GStreamer"), `signaller::whip-endpoint="`+local+"/whip/"+room+`/camera"`; !strings.Contains(gst, want) {
		t.Errorf("GStreamer is told %q, want %q", gst, want)
	}
	b.press("Escape")
	b.awaitLive(10*time.Second, "camera")

	// To play it, OBS gets a page.
	b.call(nil, 5*time.Second, "look", `document.querySelector(".place .menu button").click()`)
	b.await(2*time.Second, `document.querySelector("[role=menuitem]") !== null`)
	b.call(nil, 5*time.Second, "look", `[...document.querySelectorAll("[role=menuitem]")].find((e) => e.textContent.startsWith("Play it in another program")).click()`)
	page := copied("OBS")
	v := launchAt(t, serverSide, "chromium")
	v.call(nil, 10*time.Second, "open", page)
	eventually(t, 10*time.Second, func() error {
		if st := v.stats(""); st.Video.FramesDecoded < 10 {
			return fmt.Errorf("the page %s shows nothing: %+v", page, st)
		}
		return nil
	})
}

func TestTechnicianIsAccessibleInEachState(t *testing.T) {
	s := serveStations(t)
	b := launchStation(t, "chromium")
	b.openTechnician(660, drBerg)
	b.await(10*time.Second, `document.querySelector(".wall-empty") !== null`)
	b.accessible("technician empty")
	hospital := launchEncoder(t)
	for _, name := range []string{"console", "gantry", "table"} {
		hospital.publishes(name, published{Video: true})
	}
	b.awaitLive(15*time.Second, "console", "gantry", "table")
	b.accessible("technician pictures")

	// By keyboard alone: into the pictures, enlarge, menu, back.
	b.call(nil, 5*time.Second, "look", `document.querySelector(".viewport").focus()`)
	b.press("Enter")
	b.await(2*time.Second, `technician.tiles()[0].big`)
	b.accessible("technician enlarged")
	b.press("Tab")
	b.await(2*time.Second, `document.activeElement.matches(".big button:not([disabled])")`)
	b.press("Escape")
	b.call(nil, 5*time.Second, "look", `document.querySelector(".place .menu button").focus()`)
	b.press("Enter")
	b.await(2*time.Second, `document.activeElement.matches("[role=menuitem]")`)
	b.accessible("technician menu")
	b.press("Escape")
	b.await(2*time.Second, `document.activeElement.matches(".place .menu button")`)

	leave := s.enterFor(`{"name": "Anna Berg", "role": "hospital", "privacy": true, "call": "technician", "publishers": ["hospital", "console"]}`)
	b.await(3*time.Second, `!!document.querySelector(".call") && !!document.querySelector(".tile[data-state=paused]")`)
	b.accessible("technician call and privacy")
	leave()
	hospital.do(nil, 5*time.Second, "leave", "gantry")
	b.awaitTile(10*time.Second, "gantry", "gone")
	b.accessible("technician gone")
	b.press("m")
	b.await(5*time.Second, `document.querySelector(".hint-bubble") !== null`)
	b.press("d")
	b.accessible("technician muted and numbers")
	b.press("d")
	b.press("?")
	b.await(2*time.Second, `document.querySelector("dialog[open]") !== null`)
	b.accessible("technician help")
}

// soakMinutes is how long the nine pictures are watched: SIGHTLINE_E2E_MINUTES, else long enough for CI to see that they run.
func soakMinutes(t *testing.T) float64 {
	t.Helper()
	v := os.Getenv("SIGHTLINE_E2E_MINUTES")
	if v == "" {
		return 0.1
	}
	minutes, err := strconv.ParseFloat(v, 64)
	if err != nil {
		t.Fatalf("SIGHTLINE_E2E_MINUTES: %v", err)
	}
	return minutes
}

// Nine cameras of 720p: they are recorded once, so that only the technician's page is loaded.
func TestTechnicianWatchesNineCamerasWithoutALeak(t *testing.T) {
	minutes := soakMinutes(t)
	s := serveStations(t)
	share := t.TempDir()
	output(t, "ffmpeg", inRoot(share, "ffmpeg", "-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning",
		"-f", "lavfi", "-i", "testsrc2=rate=15:size=1280x720", "-t", "4", "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency",
		"-profile:v", "baseline", "-pix_fmt", "yuv420p", "-bf", "0", "-g", "15", "-b:v", "1200k", "/srv/camera.mp4"), 60*time.Second)
	var names []string
	for i := range 9 {
		name := fmt.Sprintf("camera-%d", i+1)
		names = append(names, name)
		start(t, "ffmpeg", clients.command(inRoot(share, "ffmpeg", "-hide_banner", "-nostdin", "-nostats", "-loglevel", "error", "-re", "-stream_loop", "-1",
			"-i", "/srv/camera.mp4", "-c", "copy", "-f", "whip", fromAfar(name))...))
	}
	for _, name := range names {
		s.awaitTrack(name+"/video", 20*time.Second, nil)
	}
	b := launchStation(t, "chromium")
	b.openTechnician(660, drBerg)
	b.awaitLive(20*time.Second, names...)
	type memory struct{ Heap, Nodes, Listeners float64 }
	look := func() (m memory) {
		b.call(&m, 20*time.Second, "memory")
		return m
	}
	time.Sleep(min(5*time.Second, time.Duration(minutes*float64(time.Minute))/3)) // what is made once is made by then
	first, before := look(), b.tiles()
	began := time.Now()
	all := []memory{first}
	for time.Since(began).Minutes() < minutes {
		time.Sleep(min(30*time.Second, time.Duration(minutes*float64(time.Minute))/3))
		// What a technician does all the while.
		b.press("3")
		time.Sleep(300 * time.Millisecond)
		b.press("=", "0", "Escape")
		m := look()
		all = append(all, m)
		t.Logf("%v: %.1f MB, %.0f nodes, %.0f listeners", time.Since(began).Round(time.Second), m.Heap/1e6, m.Nodes, m.Listeners)
	}
	took := time.Since(began)
	last := all[len(all)-1]
	after := b.tiles()
	for i, tl := range after {
		fps := float64(tl.Frames-before[i].Frames) / took.Seconds()
		t.Logf("%s: %s, %.1f frames/s", tl.Name, tl.State, fps)
		if tl.State != "live" || tl.Width != 1280 || fps < 5 {
			t.Errorf("%s is %+v with %.1f frames/s", tl.Name, tl, fps)
		}
	}
	t.Logf("in %v from %.2f MB, %.0f nodes, %.0f listeners to %.2f MB, %.0f nodes, %.0f listeners", took.Round(time.Second),
		first.Heap/1e6, first.Nodes, first.Listeners, last.Heap/1e6, last.Nodes, last.Listeners)
	if last.Nodes > first.Nodes+150 || last.Listeners > first.Listeners+60 {
		t.Errorf("nodes and listeners pile up: %+v, then %+v", first, last)
	}
	// Readings of ten minutes are kept for the diagnostics file: what grows after that is lost.
	if last.Heap > first.Heap+3e6+1e6*min(took.Minutes(), 10) {
		t.Errorf("the heap grows from %.1f MB to %.1f MB", first.Heap/1e6, last.Heap/1e6)
	}
	b.picture("technician-nine")
}
