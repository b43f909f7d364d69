//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A browser on the server's host: there the pages are a secure context, and have devices.
const local = "http://127.0.0.1:8080"

func serveDemo(t *testing.T, env ...string) *server {
	t.Helper()
	s := &server{t: t, base: local}
	s.p = start(t, "sightline", []string{os.Getenv(insideEnv), "demo"}, withEnv(env...))
	s.awaitReady()
	return s
}

// enter makes a participant of a room who stays until the test ends.
func (s *server) enter(room, self string) {
	s.t.Helper()
	ask := func(method, url, body string) (*http.Response, error) {
		req, err := http.NewRequest(method, url, strings.NewReader(body))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/json")
		if s.token != "" {
			req.Header.Set("Authorization", "Bearer "+s.token)
		}
		return http.DefaultClient.Do(req)
	}
	res, err := ask(http.MethodPost, s.base+"/api/rooms/"+room+"/participants", self)
	if err != nil {
		s.t.Fatal(err)
	}
	res.Body.Close()
	url, err := res.Location()
	if res.StatusCode != http.StatusCreated || err != nil {
		s.t.Fatalf("POST of a participant is answered %s, %v", res.Status, err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(3 * time.Second):
			}
			if res, err := ask(http.MethodPatch, url.String(), "{}"); err == nil {
				res.Body.Close()
			}
		}
	}()
	s.t.Cleanup(func() {
		close(stop)
		<-done
	})
}

// await waits until a JavaScript expression is true in the page.
func (b *browser) await(limit time.Duration, expression string) {
	b.t.Helper()
	there := false
	defer func() {
		var text string
		if !there && b.try(&text, 5*time.Second, "text") == nil {
			b.t.Logf("the page says:\n%s", text)
		}
	}()
	eventually(b.t, limit, func() error {
		var ok bool
		if err := b.try(&ok, 5*time.Second, "look", expression); err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("not true: %s", expression)
		}
		there = true
		return nil
	})
}

// press presses keys, one after the other.
func (b *browser) press(keys ...string) {
	b.t.Helper()
	for _, key := range keys {
		b.call(nil, 5*time.Second, "press", key)
	}
}

func (b *browser) open(url string) {
	b.t.Helper()
	b.call(nil, 10*time.Second, "open", url)
	b.await(10*time.Second, `document.querySelector("#app > *") !== null`)
}

// accessible fails the test for each rule of axe's that the page violates as it is now, in
// light and in dark colours, or only in those that are named.
func (b *browser) accessible(state string, schemes ...string) {
	b.t.Helper()
	if len(schemes) == 0 {
		schemes = []string{"light", "dark"}
	}
	for _, scheme := range schemes {
		b.call(nil, 5*time.Second, "colours", scheme)
		var violations []struct {
			ID, Help string
			Nodes    []string
		}
		b.call(&violations, 30*time.Second, "axe")
		for _, v := range violations {
			b.t.Errorf("%s, %s: %s: %s\n\t%s", state, scheme, v.ID, v.Help, strings.Join(v.Nodes, "\n\t"))
		}
	}
	b.picture("axe-" + strings.ReplaceAll(state, " ", "-"))
}

func TestRoomListIsAccessibleInEachState(t *testing.T) {
	s := serveDemo(t)
	s.enter("demo", `{"name": "Anna Berg", "role": "hospital", "microphone": "on", "hand": true}`)
	b := launchAt(t, serverSide, "chromium")
	b.open(local + "/")
	b.await(10*time.Second, `document.querySelector(".room-item") !== null`)
	b.accessible("rooms")
	b.call(nil, 5*time.Second, "mouse", "summary")
	b.await(5*time.Second, `document.querySelector("details[open] table") !== null`)
	b.accessible("rooms with details")

	b.call(nil, 5*time.Second, "mouse", "input")
	b.call(nil, 5*time.Second, "write", "metrics")
	b.press("Enter")
	b.await(5*time.Second, `document.querySelector(".fault")?.textContent.includes("gateway itself uses")`)
	b.accessible("refused name")
	b.press("Control+A", "Backspace")
	b.call(nil, 5*time.Second, "write", "MRI 2")
	b.await(5*time.Second, `document.querySelector(".hint").textContent.includes("MRI-2")`)
	b.accessible("corrected name")

	b.call(nil, 5*time.Second, "mouse", `[aria-label="Settings"]`)
	b.await(5*time.Second, `document.querySelector("dialog[open]") !== null`)
	b.accessible("settings")
	b.press("Escape")
	b.await(5*time.Second, `document.querySelector("dialog[open]") === null`)
	b.call(nil, 5*time.Second, "mouse", `[aria-label="Keys and help"]`)
	b.await(5*time.Second, `document.querySelector("dialog[open]") !== null`)
	b.accessible("help")
	b.press("Escape")

	s.p.stop(syscall.SIGTERM, 10*time.Second)
	b.await(10*time.Second, `document.querySelector(".banner.warn") !== null`)
	b.accessible("gateway lost")
}

func TestEmptyRoomListIsAccessible(t *testing.T) {
	serve(t, "SIGHTLINE_HTTP_LISTEN=:8080")
	b := launchAt(t, serverSide, "chromium")
	b.open(local + "/")
	b.await(10*time.Second, `document.querySelector(".empty") !== null`)
	b.accessible("no rooms")
	b.call(nil, 10*time.Second, "open", local+"/metrics-of-nobody/../whip")
	b.accessible("reserved name")
}

func TestLobbyAndStationsAreAccessibleInEachState(t *testing.T) {
	s := serveDemo(t)
	s.enter("demo", `{"name": "Anna Berg", "role": "hospital", "microphone": "on", "camera": "on", "call": "technician"}`)
	s.enter("demo", `{"name": "Piet", "role": "technician", "microphone": "off", "hand": true}`)
	b := launchAt(t, serverSide, "chromium")
	b.call(nil, 5*time.Second, "permissions", "prompt")
	b.open(local + "/demo")
	b.await(10*time.Second, `document.querySelectorAll(".people li").length === 2`)
	b.accessible("lobby")
	b.call(nil, 5*time.Second, "mouse", ".join-role")
	b.await(5*time.Second, `document.querySelector(".fault").textContent !== ""`)
	b.accessible("lobby without a name")

	b.call(nil, 5*time.Second, "mouse", ".self-ask button")
	b.await(10*time.Second, `document.querySelector(".self-view video")?.videoWidth > 0`)
	b.await(10*time.Second, `getComputedStyle(document.querySelector(".self .meter")).getPropertyValue("--level") > 0.1`)
	b.accessible("lobby with devices")
	b.call(nil, 5*time.Second, "mouse", ".test button")
	b.await(20*time.Second, `document.querySelector(".test .banner")?.textContent.includes("The connection is good")`)
	b.accessible("lobby with a good connection")
	// Nobody in the lobby gets anything of the room: the test's own two sessions are all there were, and they are over.
	if got := s.metric("sightline_viewers"); got != 0 {
		t.Errorf("with a page in the lobby there are %v viewers, want none", got)
	}
	b.call(nil, 5*time.Second, "mouse", `[aria-label="Settings"]`)
	b.await(5*time.Second, `document.querySelector("dialog[open] select") !== null`)
	b.accessible("lobby settings")

	b.call(nil, 5*time.Second, "deny")
	b.open(local + "/demo")
	b.call(nil, 5*time.Second, "mouse", ".self-ask button")
	b.await(10*time.Second, `document.querySelectorAll(".self .banner").length === 2`)
	b.accessible("lobby with devices denied")

	// In the hospital P is privacy.
	for station, people := range map[string]string{"hospital": "w", "technician": "p", "room": "p"} {
		b.open(local + "/demo/" + station)
		b.await(10*time.Second, `document.querySelector(".top .button .words")?.textContent === "3"`)
		if station == "technician" {
			b.await(10*time.Second, `document.querySelectorAll(".tile[data-state=live]").length === 2`)
		}
		b.accessible(station)
		b.press(people)
		b.await(5*time.Second, `document.querySelectorAll("dialog[open] .people li").length === 3`)
		b.accessible(station + " people")
		b.press("Escape", "d")
		b.await(5*time.Second, `document.querySelector(".debug") !== null`)
		b.accessible(station + " numbers")
	}
}

// No click: a name, the devices, a test of the connection, help, and into the room.
func TestLobbyIsUsedByKeysAlone(t *testing.T) {
	s := serveDemo(t)
	s.enter("demo", `{"name": "Anna Berg", "role": "hospital"}`)
	b := launchAt(t, serverSide, "chromium")
	b.call(nil, 5*time.Second, "permissions", "prompt")
	b.open(local + "/demo")
	b.await(10*time.Second, `document.querySelector(".people li") !== null && document.querySelectorAll("select:enabled").length === 3`)

	// Everything that can be used is reached once, in the order of the page, and shows it.
	var want, got []string
	b.call(&want, 5*time.Second, "usable")
	for range want {
		b.press("Tab")
		var at struct {
			Name    string
			Visible bool
		}
		b.call(&at, 5*time.Second, "focus")
		got = append(got, at.Name)
		if !at.Visible {
			t.Errorf("the focus on %s can't be seen", at.Name)
		}
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("Tab reaches\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}

	tab := func(selector string) {
		t.Helper()
		for range 2 * len(want) {
			var there bool
			b.call(&there, 5*time.Second, "look", fmt.Sprintf("document.activeElement.matches(%q)", selector))
			if there {
				return
			}
			b.press("Tab")
		}
		t.Fatalf("Tab does not reach %s", selector)
	}
	tab(".self-ask button")
	b.press("Enter")
	b.await(10*time.Second, `document.querySelector(".self-view video")?.videoWidth > 0`)
	tab(".switch input")
	b.press("Space")
	b.await(10*time.Second, `!document.querySelector(".switch input").checked`)
	tab(".test button")
	b.press("Enter")
	b.await(20*time.Second, `document.querySelector(".test .banner") !== null`)

	b.press("?")
	b.await(5*time.Second, `document.querySelector("dialog[open] kbd") !== null`)
	b.press("Escape")
	b.await(5*time.Second, `document.querySelector("dialog[open]") === null && document.activeElement.matches(".test button")`)
	b.press(",")
	b.await(5*time.Second, `document.querySelector("dialog[open] select") !== null`)
	b.press("Escape")

	tab("input[name=name]")
	b.call(nil, 5*time.Second, "write", "Dr. Berg?") // a key that is a letter here
	b.await(5*time.Second, `document.querySelector("dialog[open]") === null && document.querySelector("input[name=name]").value === "Dr. Berg?"`)
	tab(`.join-role[href$="/technician"]`)
	b.press("Enter")
	b.await(10*time.Second, `location.pathname === "/demo/technician" && document.querySelector(".me-name")?.textContent === "Dr. Berg?"`)
	var list struct {
		Participants []struct{ Name, Role string }
	}
	eventually(t, 5*time.Second, func() error {
		s.get("/api/rooms/demo/participants", &list)
		for _, p := range list.Participants {
			if p.Name == "Dr. Berg?" && p.Role == "technician" {
				return nil
			}
		}
		return fmt.Errorf("the room has %v", list.Participants)
	})

	// Whoever leaves is gone at once.
	tab(".leave")
	b.press("Enter")
	b.await(10*time.Second, `location.pathname === "/demo" && document.querySelectorAll(".people li").length === 1`)
}

// What a person is sent to support with has nothing in it that opens anything.
func TestDiagnosticsHaveNoSecrets(t *testing.T) {
	token := bytes.Repeat([]byte("s3cr3t"), 8)
	serveDemo(t)
	b := launchAt(t, serverSide, "chromium")
	b.open(local + "/demo/technician#token=" + string(token))
	b.await(10*time.Second, `document.querySelector(".top .button .words")?.textContent === "1"`)
	b.press(",")
	var file string
	b.call(&file, 10*time.Second, "saved", `dialog[open] .row .button`)
	for _, want := range []string{`"agent"`, `"permissions"`, `"participant in"`, `"room": "demo"`, `"withToken": true`} {
		if !strings.Contains(file, want) {
			t.Errorf("the file lacks %s", want)
		}
	}
	for _, secret := range []string{string(token), "fake_device", "Fake Default"} {
		if strings.Contains(file, secret) {
			t.Errorf("the file has %q in it", secret)
		}
	}
}
