//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"sightline/internal/auth"
	"sightline/internal/signin/issuertest"
)

const robot = "the token of this test's machines"

// serveSignIn starts a server where people sign in at a provider, for so long, and the demo's cameras.
func serveSignIn(t *testing.T, session time.Duration) (*server, *issuertest.Issuer) {
	t.Helper()
	issuer := issuertest.Start(t, map[string]issuertest.Person{
		"anna":  {"name": "Anna Berg", "roles": []any{"technicians"}},
		"chief": {"name": "Carla Chief", "roles": []any{"chiefs"}},
	})
	s := &server{t: t, base: local}
	s.p = start(t, "sightline", []string{os.Getenv(insideEnv), "demo"}, withEnv(
		"SIGHTLINE_HTTP_LISTEN=127.0.0.1:8080",
		"SIGHTLINE_AUTH_OIDC_ISSUER="+issuer.URL, "SIGHTLINE_AUTH_OIDC_CLIENT_ID="+issuer.ClientID,
		"SIGHTLINE_AUTH_OIDC_CLIENT_SECRET="+issuer.Secret, "SIGHTLINE_AUTH_OIDC_SESSION="+session.String(),
		`SIGHTLINE_AUTH_OIDC_ROLES=[
			{value = "technicians", role = "technician", scopes = ["whip:publish", "whep:play", "room:read", "room:speak"], rooms = ["demo"]},
			{value = "chiefs", scopes = ["whip:publish", "whep:play", "room:read", "room:speak", "room:admin"]}]`,
		`SIGHTLINE_AUTH_TOKENS=[{name = "robot", sha256 = "`+auth.HashToken(robot)+`", scopes = ["publish", "play", "read", "admin"]}]`,
	))
	s.awaitReady()
	eventually(t, 10*time.Second, func() error {
		res, err := http.Get(local + "/auth/login")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode == http.StatusServiceUnavailable {
			return fmt.Errorf("/auth/login says %s", res.Status)
		}
		return nil
	})
	return s, issuer
}

// asRobot asks the room API, and returns its answer.
func (s *server) asRobot(path string, into any) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.base+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+robot)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %s %s %v", path, res.Status, body, err)
	}
	if err := json.Unmarshal(body, into); err != nil {
		s.t.Fatal(err)
	}
}

type inRoom struct {
	Participants []struct{ ID, Name, Role string }
	Publishers   []struct{ Tracks []track }
	Viewers      int
}

// people are those in the room, by id.
func (s *server) people() map[string]string {
	s.t.Helper()
	var r inRoom
	s.asRobot("/api/rooms/demo", &r)
	out := make(map[string]string)
	for _, p := range r.Participants {
		out[p.ID] = p.Name + ", " + p.Role
	}
	return out
}

// value returns what an expression is in the page.
func (b *browser) value(expression string) (text string) {
	b.t.Helper()
	b.call(&text, 5*time.Second, "look", expression)
	return text
}

// click clicks on what has these words, within what the selector names.
func (b *browser) click(selector, words string) {
	b.t.Helper()
	find := fmt.Sprintf(`[...document.querySelectorAll(%q)].find((e) => e.textContent.includes(%q) && e.getClientRects().length)`, selector, words)
	b.await(10*time.Second, find+" !== undefined")
	b.call(nil, 5*time.Second, "look", find+`.setAttribute("data-aim", "")`)
	b.call(nil, 5*time.Second, "mouse", "[data-aim]")
	b.call(nil, 5*time.Second, "look", `document.querySelector("[data-aim]")?.removeAttribute("data-aim")`)
}

func (b *browser) says(words string) {
	b.t.Helper()
	b.await(10*time.Second, fmt.Sprintf(`document.body.innerText.includes(%q)`, words))
}

// signIn goes where the page's banner leads, says who one is, and is back.
func (b *browser) signIn(words, who string) {
	b.t.Helper()
	b.click(".banner a", words)
	b.await(10*time.Second, `document.title === "Who are you?"`)
	b.call(nil, 5*time.Second, "mouse", "#"+who)
	b.await(10*time.Second, `document.querySelector("#app > *") !== null`)
}

func TestPeopleSignInAndWhatTheyBeganEndsWithTheirSession(t *testing.T) {
	const session = 75 * time.Second // the pages warn a minute before its end
	s, issuer := serveSignIn(t, session)
	b := launchAt(t, serverSide, "chromium")
	b.open(local + "/demo")
	b.says("You are not signed in")
	b.accessible("lobby signed out")
	b.signIn("Sign in", "anna")

	// Back in the lobby, with a name and a role.
	began := time.Now()
	b.await(10*time.Second, `location.pathname === "/demo" && document.querySelector("input[name=name]")?.value === "Anna Berg"`)
	b.await(5*time.Second, `document.querySelectorAll(".join-role").length === 2`)
	if roles := b.value(`[...document.querySelectorAll(".join-role strong")].map((e) => e.textContent).join()`); roles != "Technician,Meeting" {
		t.Errorf("the lobby offers %s to a technician", roles)
	}
	if text := b.value(`document.body.innerText`); strings.Contains(text, "Invite") {
		t.Error("who may not invite is offered to")
	}
	b.accessible("lobby signed in", "light")
	b.click(".join-role", "Technician")
	b.await(20*time.Second, `document.body.innerText.match(/^Live$/gm)?.length === 2`)
	var first map[string]string
	eventually(t, 10*time.Second, func() error {
		if first = s.people(); len(first) != 1 {
			return fmt.Errorf("in the room are %v, want one", first)
		}
		return nil
	})
	for _, who := range first {
		if who != "Anna Berg, technician" {
			t.Errorf("in the room is %s", who)
		}
	}
	viewers := func() int {
		var r inRoom
		s.asRobot("/api/rooms/demo", &r)
		return r.Viewers
	}
	eventually(t, 20*time.Second, func() error {
		if n := viewers(); n < 2 {
			return fmt.Errorf("%d viewers, want those of two cameras", n)
		}
		return nil
	})

	// Another page has the cookie sent along, and changes nothing.
	stranger := launchAt(t, serverSide, "chromium")
	issuer.Is("anna")
	stranger.open(local + "/auth/login?return=/demo")
	stranger.await(10*time.Second, `document.querySelector(".account") !== null`)
	stranger.call(nil, 10*time.Second, "open", "") // the driver's own page: same site, another origin
	for _, attack := range []string{
		`fetch("` + local + `/auth/logout", {method: "POST", credentials: "include", mode: "no-cors"}).then((r) => r.type)`,
		`fetch("` + local + `/api/rooms/demo/participants", {method: "POST", credentials: "include", mode: "no-cors", body: '{"name": "Eve"}'}).then((r) => r.type)`,
		`fetch("` + local + `/api/rooms/demo", {credentials: "include"}).then((r) => r.text(), (e) => "kept out: " + e.message)`,
		`fetch("` + local + `/auth/me", {credentials: "include"}).then((r) => r.text(), (e) => "kept out: " + e.message)`,
	} {
		if got := stranger.value(attack); got != "opaque" && !strings.HasPrefix(got, "kept out") && !strings.Contains(got, `"kind":"forbidden"`) {
			t.Errorf("%s: the page gets %s", attack, got)
		}
	}
	stranger.call(nil, 5*time.Second, "look", `(() => { const f = document.createElement("form"); f.method = "POST"; f.action = "`+local+`/auth/logout"; document.body.append(f); f.submit(); })()`)
	stranger.await(10*time.Second, `location.pathname === "/auth/logout"`)
	if got := stranger.value(`document.body.innerText`); !strings.Contains(got, "forbidden") {
		t.Errorf("a form of another page is answered %s", got)
	}
	stranger.call(nil, 10*time.Second, "open", local+"/demo")
	stranger.await(10*time.Second, `document.querySelector(".account") !== null`)
	stranger.open(local + "/demo/hospital") // of another role
	stranger.says("You are let in as technician only")
	stranger.accessible("station of another role", "light")
	stranger.open(local + "/demo")
	if n := len(s.people()); n != 1 {
		t.Errorf("%d people in the room after another page's tries", n)
	}

	// A minute before the end the page says so. Signing in again in a tab beside keeps the call.
	b.await(time.Until(began.Add(session-50*time.Second)), `document.querySelector(".banner.warn")?.innerText.includes("s are left")`)
	b.accessible("session ending")
	b.click(".banner a", "Sign in again")
	again := time.Now()
	b.await(20*time.Second, `document.querySelector(".banner.warn") === null`)
	b.call(nil, 5*time.Second, "front")
	time.Sleep(time.Until(began.Add(session + 2*time.Second))) // past the end that there would have been
	if now := s.people(); len(now) != 1 || fmt.Sprint(now) != fmt.Sprint(first) {
		t.Errorf("after signing in again in the room are %v, want %v still", now, first)
	}
	if n := viewers(); n < 2 {
		t.Errorf("after signing in again there are %d viewers", n)
	}

	// Without, all ends, the page says so, and comes back.
	end := again.Add(session)
	eventually(t, time.Until(end.Add(10*time.Second)), func() error {
		if now := s.people(); len(now) != 0 {
			return fmt.Errorf("in the room are %v", now)
		}
		return nil
	})
	if n := viewers(); n != 0 {
		t.Errorf("%d viewers after the end", n)
	}
	t.Logf("all had ended %s after the end of the session, at most", max(0, time.Since(end)).Round(100*time.Millisecond))
	b.says("You are not signed in any more")
	b.accessible("session over")
	issuer.Is("")
	b.signIn("Sign in again", "anna")
	eventually(t, 15*time.Second, func() error {
		if now := s.people(); len(now) != 1 {
			return fmt.Errorf("in the room are %v", now)
		}
		return nil
	})
	if path := b.value(`location.pathname`); path != "/demo/technician" {
		t.Errorf("back at %s", path)
	}

	// Signing out ends all, too.
	b.press(",")
	b.await(5*time.Second, `document.querySelector("dialog[open]")?.innerText.includes("You are signed in as Anna Berg")`)
	b.accessible("settings signed in")
	b.click("dialog button", "Sign out")
	out := time.Now()
	eventually(t, 5*time.Second, func() error {
		if now := s.people(); len(now) != 0 {
			return fmt.Errorf("in the room are %v", now)
		}
		return nil
	})
	t.Logf("all had ended %s after signing out", time.Since(out).Round(10*time.Millisecond))
	b.await(10*time.Second, `location.pathname === "/" && document.body.innerText.includes("not signed in")`)
	if n := len(issuer.Ended()); n != 1 {
		t.Errorf("the provider signed out %d, want 1", n)
	}
}

func TestInvitationMadeOnThePageIsGoodForOneTrackUntilItIsTakenBack(t *testing.T) {
	s, issuer := serveSignIn(t, time.Hour)
	issuer.Is("chief")
	host := launchAt(t, serverSide, "chromium")
	host.call(nil, 5*time.Second, "view", 1280, 800)
	host.open(local + "/auth/login?return=/demo")
	host.click(".card button", "Invite")
	host.says("There are none.")
	host.accessible("invite")
	host.call(nil, 5*time.Second, "look", `(() => { const s = document.querySelector("dialog select"); s.value = "console/video"; s.dispatchEvent(new Event("change", {bubbles: true})); })()`)
	host.await(5*time.Second, `document.querySelector("dialog .choice") === null`) // no role for who sees one camera
	host.call(nil, 5*time.Second, "mouse", `dialog input[type="text"]`)
	host.call(nil, 5*time.Second, "write", "Dr. Guest")
	host.press("Enter") // by keyboard
	host.await(10*time.Second, `document.querySelector("dialog .qr path:nth-child(2)")?.getAttribute("d").startsWith("M4 4h7")`)
	host.says("Take back")
	host.accessible("invited")
	link := host.value(`document.querySelector("dialog .copy input").value`)
	if !strings.HasPrefix(link, local+"/watch/demo/console/video#token=") {
		t.Fatalf("the link is %s", link)
	}
	host.call(nil, 5*time.Second, "view", 640, 400, 2) // 1280 by 800 at 200 %
	if wide := host.value(`String(document.querySelector("dialog .dialog-body").scrollWidth - document.querySelector("dialog .dialog-body").clientWidth)`); wide != "0" {
		t.Errorf("at 200 %% the dialog is %s px too wide", wide)
	}
	host.picture("invited-200")

	guest := launchAt(t, serverSide, "chromium")
	guest.call(nil, 10*time.Second, "open", link)
	playing := `document.body.dataset.state`
	guest.await(20*time.Second, playing+` === "live"`)
	eventually(t, 10*time.Second, func() error { return s.viewersAsRobot("console/video", 1) })
	_, secret, _ := strings.Cut(link, "#")
	other := launchAt(t, serverSide, "chromium")
	other.call(nil, 10*time.Second, "open", local+"/watch/demo/gantry/video#"+secret)
	other.await(10*time.Second, playing+` === "refused"`)
	other.call(nil, 10*time.Second, "open", local+"/watch/demo/console/audio#"+secret)
	other.await(10*time.Second, playing+` === "refused"`)

	host.click("dialog .invitations button", "Take back")
	revoked := time.Now()
	guest.await(5*time.Second, playing+` === "refused"`)
	if err := s.viewersAsRobot("console/video", 0); err != nil {
		t.Error(err)
	}
	t.Logf("the guest was out %s after", time.Since(revoked).Round(10*time.Millisecond))
	host.says("There are none.")

	// Who comes to a picture without anything is led to sign in, and back.
	issuer.Is("")
	other.call(nil, 10*time.Second, "open", local+"/watch/demo/gantry/video")
	other.await(10*time.Second, `!document.querySelector("#signin").hidden`)
	other.accessible("watch signed out", "dark")
	other.call(nil, 5*time.Second, "mouse", "#signin")
	other.await(10*time.Second, `document.title === "Who are you?"`)
	other.call(nil, 5*time.Second, "mouse", "#anna")
	other.await(20*time.Second, `location.pathname === "/watch/demo/gantry/video" && `+playing+` === "live"`)
}

// viewersAsRobot returns an error unless a track has that many viewers.
func (s *server) viewersAsRobot(id string, want int) error {
	s.t.Helper()
	var r inRoom
	s.asRobot("/api/rooms/demo", &r)
	for _, p := range r.Publishers {
		for _, tr := range p.Tracks {
			if tr.ID == id && tr.Viewers != want {
				return fmt.Errorf("%s has %d viewers, want %d", id, tr.Viewers, want)
			}
		}
	}
	return nil
}
