// Package whep is the door for viewers (WHEP): it ties a peer that receives to the tracks
// of a publisher, or to the mix of a room's sound.
package whep

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/gin-gonic/gin"

	"sightline/internal/audit"
	"sightline/internal/auth"
	"sightline/internal/bridge"
	"sightline/internal/cluster"
	"sightline/internal/cluster/pull"
	"sightline/internal/fault"
	"sightline/internal/httpapi"
	"sightline/internal/media"
	"sightline/internal/rtc"
	"sightline/rooms"
)

// A Door serves the WHEP endpoints.
type Door struct {
	rooms    *rooms.Registry
	bridge   *bridge.Bridge
	relay    *pull.Puller // nil: the gateway is no node of a cluster
	peers    *rtc.Engine
	auth     *auth.Auth
	sessions *httpapi.Resources
	record   audit.Recorder
	log      *slog.Logger
}

// New returns the door. It owns nothing: its sessions belong to sessions.
func New(r *rooms.Registry, b *bridge.Bridge, peers *rtc.Engine, a *auth.Auth, sessions *httpapi.Resources, record audit.Recorder, log *slog.Logger) *Door {
	return &Door{rooms: r, bridge: b, peers: peers, auth: a, sessions: sessions, record: record, log: log}
}

// RelayBy lets the door play what other nodes have. A request for such a room comes here only if
// it is to be served here. Call it before the first request.
func (d *Door) RelayBy(p *pull.Puller) { d.relay = p }

// Route adds the endpoints of every publisher: one for each kind of track, and one for
// the pair.
func (d *Door) Route(router gin.IRouter) {
	for suffix, kind := range map[string]media.Kind{"": "", "/video": media.Video, "/audio": media.Audio} {
		path := "/whep/:room/:publisher" + suffix
		get := httpapi.Handle(func(c *gin.Context) error { return d.get(c, suffix) })
		router.POST(path, httpapi.Handle(func(c *gin.Context) error { return d.play(c, suffix, kind) }))
		router.GET(path, get)
		router.HEAD(path, get)
		router.OPTIONS(path, httpapi.EndpointOptions)
	}
}

// get answers GET and HEAD: there is an endpoint for every name. Who opens it in a browser
// is led to the page that plays it.
func (d *Door) get(c *gin.Context, suffix string) error {
	if err := validNames(c, suffix); err != nil {
		return err
	}
	page := "/watch/" + c.Param("room") + "/" + c.Param("publisher") + suffix
	if publisher := c.Query("for"); publisher != "" {
		page += "?" + url.Values{"for": {publisher}}.Encode()
	}
	httpapi.Endpoint(c, page)
	return nil
}

// play answers an offer and starts the session. kind "" means the pair, or the mix. Whose
// session it is, ?participant= may say, so that others see who watches or listens; it is
// never a reason to refuse.
func (d *Door) play(c *gin.Context, suffix string, kind media.Kind) error {
	room, publisher := c.Param("room"), c.Param("publisher")
	who, err := d.authorize(c.Request, room, publisher, kind)
	if err != nil {
		return err
	}
	if err := validNames(c, suffix); err != nil {
		return err
	}
	if err := d.sessions.Admit(c); err != nil {
		return err
	}
	offer, err := httpapi.ReadOffer(c)
	if err != nil {
		return err
	}
	s := &session{
		room: room, publisher: publisher, subject: who.Name, id: httpapi.PublicID(), log: d.log,
	}
	if id := c.Query("participant"); rooms.ValidName(id) == nil {
		s.participant = id
	}
	client := httpapi.UserAgent(c)
	s.record, s.who, s.listener = d.record, who.Who(c.ClientIP(), client), cmp.Or(who.Publisher, c.Query("for"))
	from := d.place(c.Request, room)
	s.warn = d.rooms.TellEnding
	switch {
	case from.relay != "": // who watches is in the log of that node
		s.record = audit.Discard
	case from.elsewhere:
		s.warn = d.relay.TellEnding
	}
	if publisher == bridge.Mix {
		s.subscriptions, err = d.listen(c.Request.Context(), from, bridge.ListenRequest{
			Room: room, For: s.listener, Role: cmp.Or(who.Role, c.Query("role")), Participant: c.Query("participant"), Relay: from.relay,
		})
	} else {
		s.subscriptions, err = d.subscribe(c.Request.Context(), from, rooms.PlayRequest{
			Room: room, Publisher: publisher, Kind: kind, Session: s.id, Client: client, Subject: who.Name,
			Participant: c.Query("participant"), Relay: from.relay, Early: from.relay != "",
		})
	}
	if err != nil {
		return err
	}
	send := make(map[media.Kind]media.Codec)
	for _, sub := range s.subscriptions {
		send[sub.Kind()] = sub.Codec()
	}
	stream := strings.TrimPrefix(publisher, "~")
	s.peer, err = d.peers.Answer(rtc.AnswerRequest{Offer: offer, Client: client, Send: send, Stream: stream})
	if err != nil {
		s.close()
		return err
	}
	lease := d.auth.Keep(who) // not s: the check outlives it
	s.lease = lease
	err = d.sessions.Create(c, httpapi.Resource{
		Session: s.peer, Offer: offer, Servers: servers(d.peers), Run: s.run,
		Authorize: func(r *http.Request) error {
			who, err := d.authorize(r, room, publisher, kind)
			if err == nil {
				lease.Renew(who)
			}
			return err
		},
	})
	if err != nil {
		s.lease.Release()
		s.close()
		s.peer.Close()
	}
	return err
}

// A place is where what is asked for is played from.
type place struct {
	relay     string         // the node that asks, to play it on; "" if a viewer does
	owner     cluster.Member // who has the room, if that is
	elsewhere bool
}

// place finds out who asks, and who has the room. A relay gets only what this node has itself:
// otherwise two nodes that disagree about the owner could play to each other.
func (d *Door) place(r *http.Request, room string) (p place) {
	if d.relay == nil {
		return p
	}
	if node := pull.From(r); node != "" {
		return place{relay: node}
	}
	p.owner, p.elsewhere = d.relay.Elsewhere(room)
	return p
}

// subscribe finds the tracks of a publisher, and waits for them a moment where they are about to
// come back.
func (d *Door) subscribe(ctx context.Context, from place, req rooms.PlayRequest) ([]subscription, error) {
	if from.elsewhere {
		tracks, err := d.relay.Play(ctx, from.owner, req)
		return subscriptions(tracks), err
	}
	d.rooms.Await(ctx, req)
	tracks, err := d.rooms.Play(req)
	return subscriptions(tracks), err
}

func subscriptions[S subscription](tracks []S) []subscription {
	out := make([]subscription, len(tracks))
	for i, t := range tracks {
		out[i] = t
	}
	return out
}

// listen finds the mix of a room. Who listens is the publisher that the token is for, else
// whom ?for= names; his role is the token's, else ?role=, else that of the publisher.
func (d *Door) listen(ctx context.Context, from place, req bridge.ListenRequest) ([]subscription, error) {
	if from.elsewhere {
		l, err := d.relay.Listen(ctx, from.owner, req)
		if err != nil {
			return nil, err
		}
		return []subscription{l}, nil
	}
	l, err := d.bridge.Listen(req)
	if err != nil {
		return nil, err
	}
	return []subscription{l}, nil
}

// authorize checks that a token is for a publisher's track, or for both ("") as the pair, or
// for the mix of a room. In that everybody is heard: a token for one publisher is for it, since
// that publisher is who listens, but one for several must name the mix.
func (d *Door) authorize(r *http.Request, room, publisher string, kind media.Kind) (who auth.Identity, err error) {
	caller, err := d.auth.Who(r)
	if err != nil {
		return who, err
	}
	kinds := []media.Kind{kind}
	switch {
	case publisher == bridge.Mix:
		if who, err := caller.May(auth.Play, room, ""); err == nil && who.Publisher != "" {
			return who, nil
		}
		kinds = []media.Kind{media.Audio}
	case kind == "":
		kinds = []media.Kind{media.Audio, media.Video}
	}
	for _, kind := range kinds {
		if who, err = caller.May(auth.Play, room, publisher+"/"+string(kind)); err != nil {
			return auth.Identity{}, err
		}
	}
	return who, nil
}

func servers(peers *rtc.Engine) []httpapi.ICEServer {
	var out []httpapi.ICEServer
	for _, s := range peers.Servers() {
		out = append(out, httpapi.ICEServer(s))
	}
	return out
}

func validNames(c *gin.Context, suffix string) error {
	if err := rooms.ValidRoom(c.Param("room")); err != nil {
		return err
	}
	if c.Param("publisher") != bridge.Mix {
		return rooms.ValidName(c.Param("publisher"))
	}
	if suffix != "" {
		return fault.New(fault.NotFound, "a mix is sound alone: it is at /whep/%s/%s", c.Param("room"), bridge.Mix)
	}
	return nil
}
