// Package api is the room API: what is live and who is there, as JSON and as server-sent
// events, a mute for a publisher, and an end to it; the way in for participants; invitations,
// and revocations of what lets people in.
//
// Every handler is one call on the heart, seen through a view: a token that is for
// certain rooms or publishers is shown only these. openapi.yaml describes what goes over
// the wire, and the tests hold every response against it.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"sync"

	"github.com/gin-gonic/gin"

	"sightline/internal/audit"
	"sightline/internal/auth"
	"sightline/internal/fault"
	"sightline/internal/httpapi"
	"sightline/internal/quota"
	"sightline/rooms"
)

const jsonType = "application/json"

// An Authorizer knows who may read, and who may mute publishers and end them, and for how long.
// Errors are faults. *auth.Auth is one.
type Authorizer interface {
	Who(*http.Request) (auth.Caller, error)
	Keep(auth.Identity) *auth.Lease

	Invite(by auth.Caller, wanted auth.Invitation) (secret string, made auth.Invitation, err error)
	Invitations(room string) []auth.Invitation
	Uninvite(room, id string) error

	Revoke(by auth.Identity, wanted auth.Revocation) (auth.Revocation, error)
	Revocations() []auth.Revocation
	Unrevoke(id string) error
}

// A Bridge is what the API tells of the audio bridge, and asks it. It is safe for concurrent use.
type Bridge interface {
	// Attend says that somebody follows the room's events, "" for all rooms, until release
	// is called: speaking is then known though nobody listens to the mix.
	Attend(room string) (release func())

	// Listeners returns how many listen to the room's mix.
	Listeners(room string) int
}

// A Ledger is the audit log, of which the API needs that it records what is done through it, and
// that it can be read. *audit.Log is one.
type Ledger interface {
	audit.Recorder

	// Admit returns a fault.Unavailable while nobody may enter a room.
	Admit() error

	// Read returns a page of the log. The error is a fault.
	Read(context.Context, audit.Query) (audit.Page, error)
}

// heart is what the API needs of rooms.Registry.
type heart interface {
	Rooms() []rooms.RoomInfo
	Room(name string) (rooms.RoomInfo, error)
	Tracks(room string) ([]rooms.TrackInfo, error)
	Remove(room, publisher string) error
	Mute(room, publisher string, muted bool) error
	Enter(rooms.EnterRequest) (secret string, info rooms.ParticipantInfo, err error)
	Change(room, secret string, change rooms.ParticipantChange) (rooms.ParticipantInfo, error)
	Leave(room, secret string) error
	LeaseOf(room, secret string) (lease rooms.Lease, silent bool, err error)
	TellEnding(room string, e rooms.EndingInfo)
	Participants(room string) ([]rooms.ParticipantInfo, error)

	// watch is Registry.Watch. An empty room stands for all of them.
	watch(room string, after uint64) (watcher, error)
}

// watcher is what the API needs of rooms.Watcher. Next returns ctx's error, and loses no
// event, if ctx is done first; another error ends the stream.
type watcher interface {
	Next(ctx context.Context) (rooms.Event, error)
	Close()
}

// registry makes a heart of the real one.
type registry struct{ *rooms.Registry }

func (r registry) watch(room string, after uint64) (watcher, error) { return r.Watch(room, after) }

// API is the room API. Close it before the registry.
type API struct {
	config Config
	rooms  heart
	auth   Authorizer
	bridge Bridge
	ledger Ledger
	prefix string // of the ids of events, see Node

	elsewhere quota.Elsewhere // streams that are open at other nodes

	running context.Context // done when the API closes
	end     context.CancelFunc
	open    sync.WaitGroup // the event streams

	mu      sync.Mutex // guards what follows
	streams int
	from    map[netip.Addr]int // of streams, by address
	closed  bool
}

// New returns the room API of a registry, of the bridge that mixes its sound, and of the audit log.
func New(c Config, r *rooms.Registry, a Authorizer, b Bridge, l Ledger) *API {
	return newAPI(c, registry{r}, a, b, l)
}

func newAPI(c Config, h heart, a Authorizer, b Bridge, l Ledger) *API {
	api := &API{config: c, rooms: h, auth: a, bridge: b, ledger: l, from: make(map[netip.Addr]int)}
	api.running, api.end = context.WithCancel(context.Background())
	return api
}

// Close ends the event streams and waits for them. Requests for further ones are then
// refused as unavailable. It is idempotent.
func (a *API) Close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.end()
	a.open.Wait()
}

// Register adds the API's routes.
func (a *API) Register(r gin.IRouter) {
	get := func(path string, h httpapi.Handler) {
		r.GET(path, httpapi.Handle(h))
		r.HEAD(path, httpapi.Handle(h)) // RFC 9110, section 9.1; net/http leaves the body out
	}
	get("/api/openapi.yaml", a.describe)
	get("/api/rooms", a.listRooms)
	get("/api/rooms/:room", a.getRoom)
	get("/api/rooms/:room/tracks", a.listTracks)
	r.GET("/api/rooms/:room/events", httpapi.Handle(a.watchRoom))
	r.GET("/api/events", httpapi.Handle(a.watchRoom))
	const publisher = "/api/rooms/:room/publishers/:publisher"
	r.PATCH(publisher, httpapi.Handle(a.changePublisher))
	r.DELETE(publisher, httpapi.Handle(a.removePublisher))
	r.OPTIONS(publisher, options("Accept-Patch", "DELETE, OPTIONS, PATCH"))
	a.registerParticipants(r)
	a.registerInvitations(r)
	a.registerRevocations(r)
	get("/api/audit", a.readAudit)
}

// options answers OPTIONS, preflights too: JSON is what the resource takes (RFC 5789, section
// 3.1; Linked Data Platform, section 7.1).
func options(accept, allow string) gin.HandlerFunc {
	return func(c *gin.Context) {
		c.Header(accept, jsonType)
		c.Header("Allow", allow)
		c.Status(http.StatusOK)
	}
}

func (a *API) describe(c *gin.Context) error {
	return httpapi.Answer(c, "application/yaml", Description) // RFC 9512
}

func (a *API) listRooms(c *gin.Context) error {
	v, err := a.reader(c, "")
	if err != nil {
		return err
	}
	return answerJSON(c, roomList{Rooms: v.rooms(a.rooms.Rooms())})
}

func (a *API) getRoom(c *gin.Context) error {
	name := c.Param("room")
	v, err := a.reader(c, name)
	if err != nil {
		return err
	}
	info, err := a.rooms.Room(name)
	if err != nil {
		return err
	}
	return answerJSON(c, v.room(info))
}

func (a *API) listTracks(c *gin.Context) error {
	name := c.Param("room")
	v, err := a.reader(c, name)
	if err != nil {
		return err
	}
	infos, err := a.rooms.Tracks(name)
	if err != nil {
		return err
	}
	return answerJSON(c, trackList{Room: name, Tracks: v.active(infos)})
}

// changePublisher mutes a publisher, or lets it be heard again.
func (a *API) changePublisher(c *gin.Context) error {
	room, name := c.Param("room"), c.Param("publisher")
	caller, err := a.authorize(c, auth.Admin, room, name+"/audio")
	if err != nil {
		return err
	}
	muted, err := readMuted(c)
	if err != nil {
		return err
	}
	if err := a.rooms.Mute(room, name, muted); err != nil {
		return err
	}
	what := audit.Unmuted
	if muted {
		what = audit.Muted
	}
	a.record(c, caller, what, room, name)
	info, err := a.rooms.Room(room)
	if err != nil {
		return err
	}
	for _, p := range info.Publishers {
		if p.Name == name {
			body, err := encode(view{base: httpapi.BaseURL(c), sees: everything}.publisher(room, p))
			if err != nil {
				return err
			}
			c.Data(http.StatusOK, jsonType, body)
			return nil
		}
	}
	return fault.New(fault.NotFound, "publisher %q has just left room %q", name, room)
}

// everything is what is seen by who is told of what he has changed himself.
func everything(string, string) bool { return true }

// readMuted reads {"muted": true} or {"muted": false}. The error is a fault.
func readMuted(c *gin.Context) (bool, error) {
	if err := httpapi.CheckType(c, jsonType, "Accept-Patch"); err != nil {
		return false, err
	}
	body, err := httpapi.ReadBody(c)
	if err != nil {
		return false, err
	}
	var change map[string]any // a struct would take other spellings of its members
	err = json.Unmarshal(body, &change)
	muted, ok := change["muted"].(bool)
	if err != nil || !ok || len(change) != 1 {
		return false, fault.New(fault.BadRequest, `the body must be {"muted": true} or {"muted": false}`)
	}
	return muted, nil
}

func (a *API) removePublisher(c *gin.Context) error {
	room, publisher := c.Param("room"), c.Param("publisher")
	var caller auth.Caller
	for _, track := range []string{"/audio", "/video"} {
		var err error
		if caller, err = a.authorize(c, auth.Admin, room, publisher+track); err != nil {
			return err
		}
	}
	if err := a.rooms.Remove(room, publisher); err != nil {
		return err
	}
	a.record(c, caller, audit.Removed, room, publisher)
	c.Header("Cache-Control", "no-store")
	c.Status(http.StatusNoContent)
	return nil
}

// authorize checks that the caller may do something in a room, and that there can be such a
// room; "" stands for no particular one, as it does for a publisher or one of its tracks.
func (a *API) authorize(c *gin.Context, scope auth.Scope, room, publisher string) (auth.Caller, error) {
	caller, err := a.auth.Who(c.Request)
	if err != nil {
		return caller, err
	}
	if _, err := caller.May(scope, room, publisher); err != nil || room == "" {
		return caller, err
	}
	return caller, rooms.ValidRoom(room)
}

// reader checks that the caller may read of a room, or of any room if that is empty, and
// returns how it sees the rooms. The check comes before the room is looked up, so that
// rooms that are forbidden and rooms that don't exist look the same.
func (a *API) reader(c *gin.Context, room string) (view, error) {
	caller, err := a.authorize(c, auth.Read, room, "")
	if err != nil {
		return view{}, err
	}
	return a.view(c, caller), nil
}

// view returns how the caller sees the rooms.
func (a *API) view(c *gin.Context, caller auth.Caller) view {
	return view{
		base:      httpapi.BaseURL(c),
		listeners: a.bridge.Listeners,
		sees:      func(room, publisher string) bool { return caller.Allows(auth.Read, room, publisher) },
	}
}

func answerJSON(c *gin.Context, v any) error {
	body, err := encode(v)
	if err != nil {
		return err
	}
	return httpapi.Answer(c, jsonType, body)
}

func encode(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, errors.Join(errors.New("encode the answer"), err)
	}
	return body, nil
}
