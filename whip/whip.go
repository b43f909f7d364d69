// Package whip is the door for publishers (RFC 9725): it ties a peer that sends to a
// publisher's name in a room.
package whip

import (
	"log/slog"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"sightline/internal/audit"
	"sightline/internal/auth"
	"sightline/internal/cluster/pull"
	"sightline/internal/fault"
	"sightline/internal/httpapi"
	"sightline/internal/media"
	"sightline/internal/rtc"
	"sightline/rooms"
)

// returnAudio is the relation of a session to where its publisher hears the others, which
// the 201 links to: the room's mix without him (RFC 9725, section 4.9; RFC 8288, section 2.1.2).
const returnAudio = "urn:sightline:return-audio"

// A Door serves the WHIP endpoints.
type Door struct {
	rooms    *rooms.Registry
	lender   *pull.Puller // nil: the gateway is no node of a cluster
	peers    *rtc.Engine
	auth     *auth.Auth
	sessions *httpapi.Resources
	record   audit.Recorder
	log      *slog.Logger
}

// New returns the door. It owns nothing: its sessions belong to sessions.
func New(r *rooms.Registry, peers *rtc.Engine, a *auth.Auth, sessions *httpapi.Resources, record audit.Recorder, log *slog.Logger) *Door {
	return &Door{rooms: r, peers: peers, auth: a, sessions: sessions, record: record, log: log}
}

// LendBy lets the sessions of clients that would not come back by themselves go on when their room moves to
// another node. Call it before the first request.
func (d *Door) LendBy(p *pull.Puller) { d.lender = p }

// Route adds the endpoint of every publisher.
func (d *Door) Route(router gin.IRouter) {
	const path = "/whip/:room/:publisher"
	router.POST(path, httpapi.Handle(d.publish))
	router.GET(path, httpapi.Handle(d.get))
	router.HEAD(path, httpapi.Handle(d.get))
	router.OPTIONS(path, httpapi.EndpointOptions)
}

// get answers GET and HEAD: there is an endpoint for every name.
func (d *Door) get(c *gin.Context) error {
	if err := validNames(c); err != nil {
		return err
	}
	httpapi.Endpoint(c, "")
	return nil
}

// publish answers an offer and starts the session.
func (d *Door) publish(c *gin.Context) error {
	room, publisher := c.Param("room"), c.Param("publisher")
	caller, err := d.auth.Who(c.Request)
	if err != nil {
		return err
	}
	who, err := caller.May(auth.Publish, room, publisher)
	if err != nil {
		return err
	}
	if err := validNames(c); err != nil {
		return err
	}
	role, err := role(c, who)
	if err != nil {
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
		room: room, publisher: publisher, subject: who.Name, id: httpapi.PublicID(), warn: d.warn, log: d.log,
	}
	client := httpapi.UserAgent(c)
	s.record, s.who = d.record, who.Who(c.ClientIP(), client)
	s.who.Role = role
	if s.peer, err = d.peers.Answer(rtc.AnswerRequest{Offer: offer, Publish: true, Client: client}); err != nil {
		return err
	}
	s.codecs = s.peer.Codecs()
	kinds := kindsOf(s.codecs)
	if err := mayPublish(caller, room, publisher, kinds); err != nil {
		s.peer.Close()
		return err
	}
	silent := !caller.Allows(auth.Speak, room, publisher+"/audio")
	s.publication, err = d.rooms.Publish(rooms.PublishRequest{
		Room: room, Publisher: publisher, Subject: who.Subject(), Session: s.id, Who: s.who, Silent: silent,
		Deaf: s.peer.Deaf(), Stays: s.peer.Deaf() || !comesBack(client), Client: client, Label: rooms.Label(c.Query("label")), Role: role, Codecs: s.codecs,
	})
	if err != nil {
		s.peer.Close()
		return err
	}
	lease := d.auth.Keep(who) // not s: the check outlives it
	s.lease = lease
	err = d.sessions.Create(c, httpapi.Resource{
		Session: s.peer, Offer: offer, Servers: servers(d.peers), Run: s.run,
		Links:     []httpapi.Link{{Rel: returnAudio, URL: httpapi.MixURL(httpapi.BaseURL(c), room, publisher)}},
		Authorize: func(r *http.Request) error { return d.again(r, lease, room, publisher, kinds, silent) },
	})
	if err != nil {
		s.lease.Release()
		s.publication.Close()
		s.peer.Close()
	}
	return err
}

// comesBack reports whether a client publishes anew when it is told that its session has ended: pages do, and
// OBS, which calls itself as browsers do.
func comesBack(client string) bool { return strings.HasPrefix(client, "Mozilla/") }

// warn tells the watchers of a room, wherever that is, that a session is about to end.
func (d *Door) warn(room string, e rooms.EndingInfo) {
	if d.lender != nil {
		if _, elsewhere := d.lender.Elsewhere(room); elsewhere {
			d.lender.TellEnding(room, e)
			return
		}
	}
	d.rooms.TellEnding(room, e)
}

// kindsOf returns what there is a codec of, in words that are not a part of the offer: who keeps
// one keeps all of it.
func kindsOf(codecs map[media.Kind]media.Codec) (kinds []media.Kind) {
	for _, kind := range []media.Kind{media.Audio, media.Video} {
		if _, ok := codecs[kind]; ok {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// mayPublish returns a fault.Forbidden for a kind of track that the caller may not publish.
func mayPublish(caller auth.Caller, room, publisher string, kinds []media.Kind) error {
	for _, kind := range kinds {
		if _, err := caller.May(auth.Publish, room, publisher+"/"+string(kind)); err != nil {
			return err
		}
	}
	return nil
}

// again checks the token that comes with a request to a session, and prolongs the session if
// it is a newer one that may do no less.
func (d *Door) again(r *http.Request, lease *auth.Lease, room, publisher string, kinds []media.Kind, silent bool) error {
	caller, err := d.auth.Who(r)
	if err != nil {
		return err
	}
	who, err := caller.May(auth.Publish, room, publisher)
	if err != nil {
		return err
	}
	if err := mayPublish(caller, room, publisher, kinds); err != nil {
		return err
	}
	if silent || caller.Allows(auth.Speak, room, publisher+"/audio") {
		lease.Renew(who)
	}
	return nil
}

func servers(peers *rtc.Engine) []httpapi.ICEServer {
	var out []httpapi.ICEServer
	for _, s := range peers.Servers() {
		out = append(out, httpapi.ICEServer(s))
	}
	return out
}

func validNames(c *gin.Context) error {
	if err := rooms.ValidRoom(c.Param("room")); err != nil {
		return err
	}
	return rooms.ValidName(c.Param("publisher"))
}

// role returns what the publisher is to the others in the room: what its token says, else
// what its URL does. One that says another than its token is told so: it would be taken for
// what it is not.
func role(c *gin.Context, who auth.Identity) (string, error) {
	asked := c.QueryArray("role")
	if len(asked) > 1 {
		return "", fault.New(fault.BadRequest, "role stands %d times in the URL, must stand once at most", len(asked))
	}
	if len(asked) == 0 || asked[0] == "" {
		return who.Role, nil
	}
	if err := rooms.ValidRole(asked[0]); err != nil {
		return "", err
	}
	if who.Role != "" && who.Role != asked[0] {
		return "", fault.New(fault.Forbidden, "the token is for the role %q, the URL asks for %q: leave role out of it", who.Role, asked[0])
	}
	return asked[0], nil
}
