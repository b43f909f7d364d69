// Package whep is the door for viewers (WHEP): it ties a peer that receives to the tracks
// of a publisher.
package whep

import (
	"log/slog"

	"github.com/gin-gonic/gin"

	"sightline/internal/auth"
	"sightline/internal/httpapi"
	"sightline/internal/media"
	"sightline/internal/rtc"
	"sightline/rooms"
)

// A Door serves the WHEP endpoints.
type Door struct {
	rooms    *rooms.Registry
	peers    *rtc.Engine
	auth     *auth.Auth
	sessions *httpapi.Resources
	log      *slog.Logger
}

// New returns the door. It owns nothing: its sessions belong to sessions.
func New(r *rooms.Registry, peers *rtc.Engine, a *auth.Auth, sessions *httpapi.Resources, log *slog.Logger) *Door {
	return &Door{rooms: r, peers: peers, auth: a, sessions: sessions, log: log}
}

// Route adds the endpoints of every publisher: one for each kind of track, and one for
// the pair.
func (d *Door) Route(router gin.IRouter) {
	for suffix, kind := range map[string]media.Kind{"": "", "/video": media.Video, "/audio": media.Audio} {
		path := "/whep/:room/:publisher" + suffix
		get := httpapi.Handle(func(c *gin.Context) error { return d.get(c, suffix) })
		router.POST(path, httpapi.Handle(func(c *gin.Context) error { return d.play(c, kind) }))
		router.GET(path, get)
		router.HEAD(path, get)
		router.OPTIONS(path, httpapi.EndpointOptions)
	}
}

// get answers GET and HEAD: there is an endpoint for every name. Who opens it in a browser
// is led to the page that plays it.
func (d *Door) get(c *gin.Context, suffix string) error {
	if err := validNames(c); err != nil {
		return err
	}
	httpapi.Endpoint(c, "/watch/"+c.Param("room")+"/"+c.Param("publisher")+suffix)
	return nil
}

// play answers an offer and starts the session. kind "" means the pair.
func (d *Door) play(c *gin.Context, kind media.Kind) error {
	room, publisher := c.Param("room"), c.Param("publisher")
	who, err := d.auth.Authorize(c.Request, auth.Play, room, publisher)
	if err != nil {
		return err
	}
	if err := validNames(c); err != nil {
		return err
	}
	if err := d.sessions.Admit(); err != nil {
		return err
	}
	offer, err := httpapi.ReadOffer(c)
	if err != nil {
		return err
	}
	s := &session{
		room: room, publisher: publisher, subject: who.Name, id: httpapi.PublicID(), log: d.log,
	}
	client := httpapi.UserAgent(c)
	s.subscriptions, err = d.rooms.Play(rooms.PlayRequest{
		Room: room, Publisher: publisher, Kind: kind, Session: s.id, Client: client, Subject: who.Name,
	})
	if err != nil {
		return err
	}
	send := make(map[media.Kind]media.Codec)
	for _, sub := range s.subscriptions {
		send[sub.Kind()] = sub.Codec()
	}
	s.peer, err = d.peers.Answer(rtc.AnswerRequest{Offer: offer, Client: client, Send: send, Stream: publisher})
	if err != nil {
		s.close()
		return err
	}
	err = d.sessions.Create(c, httpapi.Resource{
		Session: s.peer, Offer: offer, Servers: servers(d.peers), Run: s.run,
		Authorize: d.auth.Check(auth.Play, room, publisher),
	})
	if err != nil {
		s.close()
		s.peer.Close()
	}
	return err
}

func servers(peers *rtc.Engine) []httpapi.ICEServer {
	var out []httpapi.ICEServer
	for _, s := range peers.Servers() {
		out = append(out, httpapi.ICEServer(s))
	}
	return out
}

func validNames(c *gin.Context) error {
	if err := rooms.ValidName(c.Param("room")); err != nil {
		return err
	}
	return rooms.ValidName(c.Param("publisher"))
}
