package rtc

import (
	"testing"

	"sightline/internal/media"
)

// Clients' quirks: OBS puts its header extensions on every packet, whatever the answer
// says, and a RID where there is one layer only.
func TestHeaderExtensionsThatWereNotNegotiatedAreIgnored(t *testing.T) {
	e := testEngine(t)
	l, video, _, _ := publish(t, e, client(t))
	for i := range 10 {
		p := vp8(uint16(i), uint32(i)*3000, true)
		for id, value := range map[uint8]string{13: "nosuch", 14: "0"} {
			if err := p.SetExtension(id, []byte(value)); err != nil {
				t.Fatal(err)
			}
		}
		if err := video.WriteRTP(p); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range read(t, source(t, l.Session, media.Video), 10) {
		if len(p.Payload) != 502 || p.HasLevel || p.HasRotation {
			t.Errorf("got %+v, want the payload alone", p)
		}
	}
}
