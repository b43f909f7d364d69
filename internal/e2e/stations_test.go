//go:build e2e

package e2e

import (
	"testing"
	"time"
)

// A browser that plays no sound before a click, and a microphone that is denied: the page says so, does what its buttons
// say, and calls nobody heard who is not.
func TestTechnicianWithoutSoundAndMicrophone(t *testing.T) {
	s := serveStations(t)
	hospital := launchEncoder(t)
	hospital.publishes("hospital", published{Label: "Anna Berg", Frequency: 440})
	hospital.publishes("console", published{Video: true})
	s.awaitTrack("hospital/audio", 10*time.Second, nil)
	b := launchStation(t, "chromium")
	// Chromium's own flag is of no use: to it each look of the driver's is a click.
	b.call(nil, 5*time.Second, "prepare", `(() => {
		const play = HTMLMediaElement.prototype.play;
		let touched = false;
		addEventListener("keydown", () => (touched = true), true);
		HTMLMediaElement.prototype.play = function () {
			return this.muted || touched ? play.call(this) : Promise.reject(new DOMException("no click yet", "NotAllowedError"));
		};
	})()`)
	b.call(nil, 5*time.Second, "deny")
	b.openTechnician(0, drBerg)
	b.awaitLive(10*time.Second, "console")
	const speaker = `document.querySelector(".dock [aria-keyshortcuts=l]").textContent`
	b.await(5*time.Second, `document.querySelector(".banners").textContent.includes("The browser holds the sound back")`)
	b.await(5*time.Second, `document.querySelector(".banners").textContent.includes("The microphone is not allowed")`)
	b.await(3*time.Second, speaker+` === "Sound is off"`)
	b.press("l")
	b.await(3*time.Second, speaker+` === "Sound is on"`)
	b.await(3*time.Second, `!document.querySelector(".banners").textContent.includes("holds the sound back")`)
	b.press("l")
	b.await(3*time.Second, speaker+` === "Sound is off"`)

	// An answer that does not get through is none: the call rings on.
	s.enterFor(`{"name": "Anna Berg", "role": "hospital", "call": "technician", "publishers": ["hospital"]}`)
	b.await(3*time.Second, `document.querySelector(".call") !== null`)
	b.call(nil, 5*time.Second, "look", `void (window.through = fetch, window.fetch = (url, init) =>
		init?.body?.includes?.('"answer"') ? Promise.reject(new TypeError("out of reach")) : through(url, init))`)
	b.press("a")
	b.await(3*time.Second, `document.querySelector(".toasts").textContent.includes("could not be answered")`)
	b.await(time.Second, `document.querySelector(".call") !== null`)
	b.call(nil, 5*time.Second, "look", `void (window.fetch = through)`)
	b.press("a")
	b.await(3*time.Second, `document.querySelector(".toasts").textContent.includes("Anna Berg does not hear you")`)
	b.await(3*time.Second, `document.querySelector(".call") === null`)
	s.awaitParticipant(`"call":""`)
}

// Browsers may keep a page that was left for who goes back to it: it begins anew then.
func TestTechnicianGoesBackToThePageThatHeLeft(t *testing.T) {
	s := serveStations(t)
	hospital := launchEncoder(t)
	hospital.publishes("console", published{Video: true})
	b := launchStation(t, "chromium")
	b.openTechnician(660, drBerg)
	b.awaitLive(15*time.Second, "console")
	// As where nothing is unloaded: Chromium keeps no page of the gateway's, since their answers are not to be stored.
	b.call(nil, 5*time.Second, "look", `void (window.stay = (e) => e.preventDefault(), navigation.addEventListener("navigate", stay))`)
	b.touch(".leave", "")
	s.awaitViewers("console/video", 0, 5*time.Second)
	b.call(nil, 5*time.Second, "look", `void (navigation.removeEventListener("navigate", stay), dispatchEvent(new PageTransitionEvent("pageshow", {persisted: true})))`)
	b.await(10*time.Second, `window.stay === undefined`)
	b.awaitLive(15*time.Second, "console")
	s.awaitParticipant(`"name":"Dr. Berg","role":"technician"`)
}
