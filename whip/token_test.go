package whip

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"sightline/internal/auth"
	"sightline/internal/doortest"
	"sightline/internal/rtc"
)

// A journal is a log that tests read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func signed(t *testing.T, id string, life time.Duration, scopes ...auth.Scope) string {
	t.Helper()
	token, err := auth.Mint(jwts(), auth.Grant{
		Identity: auth.Identity{Name: "camera", ID: id, Expires: time.Now().Add(life)}, Scopes: scopes, Rooms: []string{"mri-2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func jwts() auth.JWTConfig {
	c := auth.Defaults().JWT
	c.Secret = "a secret of the tests, and of nothing else"
	return c
}

// A token in the query is taken where the configuration says so, and stands in no log.
func TestTokenInTheQuery(t *testing.T) {
	peer := doortest.NewPeer(t)
	peer.Send(t, doortest.Keyframe, webrtc.MimeTypeVP8)
	offer := peer.Offer(t, nil)
	token := signed(t, "1", time.Hour, auth.Publish)
	for _, on := range []bool{false, true} {
		log := &journal{}
		g := start(t, func(o *doortest.Options) {
			o.Auth.JWT, o.Auth.QueryTokens = jwts(), on
			o.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		})
		const path = "/whip/mri-2/console"
		header := []string{"Content-Type", "application/sdp", "Referer", "http://elsewhere.example/?access_token=" + token}
		for _, tt := range []struct {
			name, target string
			header       []string
			off, on      int
		}{
			{"in the query", path + "?access_token=" + token, nil, 401, 201},
			{"twice", path + "?access_token=" + token + "&access_token=" + token, nil, 401, 400},
			{"in the query and the header", path + "?access_token=" + token, []string{"Authorization", "Bearer " + token}, 201, 400},
			{"a wrong one", path + "?access_token=x", nil, 401, 401},
			{"an empty one", path + "?access_token=", nil, 401, 401},
		} {
			want := tt.off
			if on {
				want = tt.on
			}
			res := g.Do(t, http.MethodPost, tt.target, offer, append(header, tt.header...)...)
			if res.StatusCode != want {
				t.Errorf("%s, taken %t: got %d, want %d: %s", tt.name, on, res.StatusCode, want, res.Text)
			}
			if location := res.Header.Get("Location"); strings.Contains(location, "token") {
				t.Errorf("%s: the session's URL repeats it: %s", tt.name, location)
			} else if location != "" {
				// The session is no endpoint: it is reached by its URL, and the query counts for nothing.
				if res := g.Do(t, http.MethodDelete, location+"?access_token=x", ""); res.StatusCode != http.StatusOK {
					t.Errorf("%s: DELETE of the session is answered %d", tt.name, res.StatusCode)
				}
			}
		}
		if text := log.String(); !strings.Contains(text, "msg=request") || strings.Contains(text, token) || strings.Contains(text, "access_token=") || strings.Contains(text, "elsewhere") {
			t.Errorf("the log must have the requests, but neither query, token nor Referer:\n%s", text)
		}
	}
}

// A PATCH with a newer token of the same name lets a session go on beyond the first one's end.
func TestNewerTokenProlongsASession(t *testing.T) {
	g := start(t, func(o *doortest.Options) { o.Auth.JWT = jwts() })
	connect := func(publisher string, life time.Duration) *doortest.Peer {
		p := doortest.NewPeer(t)
		p.Send(t, doortest.Keyframe, webrtc.MimeTypeVP8)
		p.Connect(t, g, "/whip/mri-2/"+publisher, "Authorization", "Bearer "+signed(t, "1", life, auth.Publish))
		return p
	}
	patch := func(p *doortest.Peer, token string) int {
		fragment := "a=ice-ufrag:" + line(p.LocalDescription().SDP, "a=ice-ufrag:") + "\r\na=ice-pwd:" + line(p.LocalDescription().SDP, "a=ice-pwd:") + "\r\n"
		return g.Do(t, http.MethodPatch, p.Session, fragment,
			"Content-Type", "application/trickle-ice-sdpfrag", "If-Match", p.ETag, "Authorization", "Bearer "+token).StatusCode
	}
	ends, goesOn := connect("ends", 4*time.Second), connect("goes-on", 4*time.Second)
	if got := patch(goesOn, signed(t, "2", time.Hour, auth.Publish)); got != http.StatusNoContent {
		t.Errorf("a newer token is answered %d, want 204", got)
	}
	for want, token := range map[int]string{
		401: signed(t, "3", -time.Second, auth.Publish), 403: signed(t, "4", time.Hour, auth.Play),
	} {
		if got := patch(ends, token); got != want {
			t.Errorf("PATCH with a token that must not count is answered %d, want %d", got, want)
		}
	}
	ends.WaitClosed(t)
	doortest.Eventually(t, ended(g, rtc.Expired))
	select {
	case <-goesOn.Closed():
		t.Error("the session ended with the older token")
	default:
	}
	if got := patch(goesOn, signed(t, "5", time.Hour, auth.Publish)); got != http.StatusNoContent {
		t.Errorf("PATCH after the first token's end is answered %d, want 204", got)
	}
}

// line returns what follows a prefix in the first line that has it.
func line(sdp, prefix string) string {
	_, rest, _ := strings.Cut(sdp, prefix)
	value, _, _ := strings.Cut(rest, "\r\n")
	return value
}

// ended complains until a session has ended with a cause.
func ended(g *doortest.Gateway, end rtc.End) func() string {
	return func() string {
		if got := g.Peers.Snapshot().Ended[string(end)]; got == 0 {
			return "no session has ended by " + string(end)
		}
		return ""
	}
}
