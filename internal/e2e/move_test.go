//go:build e2e

package e2e

import (
	"syscall"
	"testing"
	"time"
)

// watching notes in a page, at every frame, how the picture in a seat is: live, old (the last one stands), or black.
const watching = `(() => {
	window.samples = [];
	const look = () => {
		const seat = [...document.querySelectorAll(".seat:not([hidden])")].find((s) => s.querySelector("h3").firstChild.data === "ben");
		const player = seat?.querySelector("sightline-player[kind=video], sightline-player");
		const video = player?.shadowRoot.querySelector("video");
		const is = !seat ? "no seat" : !player ? "no player" : player.state === "live" && video.videoWidth ? "live" : video.videoWidth || video.nextElementSibling?.matches("canvas") ? "old" : "black";
		if (window.samples.at(-1)?.is !== is) window.samples.push({ is, at: Date.now() });
		requestAnimationFrame(look);
	};
	look();
	return true;
})()`

type shown struct {
	Is string
	At int64
}

// interruption returns for how long a page had no live picture, and fails the test if there was ever less than the last
// one to be seen.
func interruption(t *testing.T, g *attendee) time.Duration {
	t.Helper()
	var samples []shown
	g.call(&samples, 5*time.Second, "look", "window.samples")
	t.Logf("%s saw: %+v", g.who, samples)
	var from, to int64
	for _, s := range samples {
		switch {
		case s.Is == "live":
			to = s.At
		case s.Is != "old":
			t.Errorf("for a moment %s saw %q in the seat, want the last picture", g.who, s.Is)
			fallthrough
		default:
			if from == 0 {
				from = s.At
			}
		}
	}
	if from == 0 {
		return 0
	}
	return time.Duration(to-from) * time.Millisecond
}

// A gateway ends its sessions, and another one is at once in its place, with nothing of its state: what a room that moves
// is to its clients. Nobody does anything, and both see each other again within 3 s; until then the last picture stands.
func TestMeetingMovesToAnotherGateway(t *testing.T) {
	s := serveMeeting(t, "SIGHTLINE_SHUTDOWN_DRAIN_TIMEOUT=0s")
	c := gather(t)
	anna, ben := c.enter("anna", 400, nil), c.enter("ben", 1100, nil)
	anna.sees("ben", 15*time.Second)
	ben.sees("anna", 15*time.Second)
	ben.press("h")
	anna.awaits(5*time.Second, `document.querySelector(".hands")`)
	anna.call(nil, 5*time.Second, "look", watching)

	if code := s.p.stop(syscall.SIGTERM, 10*time.Second); code != 0 {
		t.Fatalf("the gateway ended with %d", code)
	}
	down := time.Now()
	s.p = start(t, "sightline-elsewhere", s.p.cmd.Args, withEnv(s.p.cmd.Env...))
	s.awaitReady()
	t.Logf("the other gateway answers after %v", time.Since(down).Round(time.Millisecond))
	eventuallyLiveAgain(anna, ben, 15*time.Second)
	if took := interruption(t, anna); took > 3*time.Second {
		t.Errorf("anna has no live picture of ben for %v, want 3 s at most", took)
	}
	anna.awaits(5*time.Second, `document.querySelector(".hands ol")?.textContent === "1. ben"`)
}

// A gateway dies without a word, and 3 s later, which is how long a cluster gives it, another one has its place.
func TestMeetingComesBackFromADeadGateway(t *testing.T) {
	s := serveMeeting(t)
	c := gather(t)
	anna, ben := c.enter("anna", 400, nil), c.enter("ben", 1100, nil)
	anna.sees("ben", 15*time.Second)
	ben.sees("anna", 15*time.Second)
	anna.call(nil, 5*time.Second, "look", watching)

	died := time.Now()
	s.p.stop(syscall.SIGKILL, time.Second)
	time.Sleep(time.Until(died.Add(3 * time.Second))) // the lease
	s.p = start(t, "sightline-elsewhere", s.p.cmd.Args, withEnv(s.p.cmd.Env...))
	s.awaitReady()
	eventuallyLiveAgain(anna, ben, 20*time.Second)
	took := time.Since(died)
	t.Logf("they see each other again %v after the gateway has died", took.Round(time.Millisecond))
	interruption(t, anna)
	if took > 10*time.Second {
		t.Errorf("it took %v, want 10 s", took)
	}
}

// eventuallyLiveAgain waits until two people see each other in new sessions.
func eventuallyLiveAgain(anna, ben *attendee, limit time.Duration) {
	anna.c.t.Helper()
	anna.awaits(limit, `window.samples.length > 1`)
	anna.sees("ben", limit)
	ben.sees("anna", limit)
}
