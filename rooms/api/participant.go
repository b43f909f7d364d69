package api

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"sightline/internal/auth"
	"sightline/internal/fault"
	"sightline/internal/httpapi"
	"sightline/rooms"
)

// registerParticipants adds the routes of participants. The last element of a participant's
// own URL is his secret: who has it is him.
func (a *API) registerParticipants(r gin.IRouter) {
	const all, own = "/api/rooms/:room/participants", "/api/rooms/:room/participants/:secret"
	list := httpapi.Handle(a.listParticipants)
	r.GET(all, list)
	r.HEAD(all, list)
	r.POST(all, httpapi.Handle(a.enterRoom))
	r.OPTIONS(all, options("Accept-Post", "GET, HEAD, OPTIONS, POST"))
	r.PATCH(own, httpapi.Handle(a.changeParticipant))
	r.DELETE(own, httpapi.Handle(a.leaveRoom))
	r.OPTIONS(own, options("Accept-Patch", "DELETE, OPTIONS, PATCH"))
	r.POST(own+"/leave", httpapi.Handle(a.leaveRoom))
}

func (a *API) listParticipants(c *gin.Context) error {
	name := c.Param("room")
	v, err := a.reader(c, name)
	if err != nil {
		return err
	}
	infos, err := a.rooms.Participants(name)
	if err != nil {
		return err
	}
	return answerJSON(c, participantList{Room: name, Participants: v.participants(name, infos)})
}

// enterRoom makes a participant. Who may read of a room may be in it.
func (a *API) enterRoom(c *gin.Context) error {
	name := c.Param("room")
	caller, err := a.auth.Who(c.Request)
	if err != nil {
		return err
	}
	who, err := caller.May(auth.Read, name, "")
	if err != nil {
		return err
	}
	if err := a.ledger.Admit(); err != nil {
		return err
	}
	change, err := readParticipant(c, "Accept", false)
	if err != nil {
		return err
	}
	lease := a.auth.Keep(who)
	secret, info, err := a.rooms.Enter(rooms.EnterRequest{
		Room: name, TokenRole: who.Role, Address: httpapi.Client(c), Who: who.Who(c.ClientIP(), httpapi.UserAgent(c)), Silent: !caller.Allows(auth.Speak, name, ""), Lease: lease, ParticipantChange: change,
	})
	if err != nil {
		lease.Release()
		return err
	}
	lease.Warn(func(e auth.Ending) {
		a.rooms.TellEnding(name, rooms.EndingInfo{Participant: info.ID, Reason: e.Reason, At: e.At})
	})
	body, err := a.own(c, caller, name, info)
	if err != nil {
		return err
	}
	c.Header("Location", a.view(c, caller).url("api", "rooms", name, "participants", secret))
	c.Header("Accept-Patch", jsonType)
	c.Data(http.StatusCreated, jsonType, body)
	return nil
}

// changeParticipant takes what a participant says, be it only that he is still there.
func (a *API) changeParticipant(c *gin.Context) error {
	name := c.Param("room")
	caller, err := a.self(c, name)
	if err != nil {
		return err
	}
	change, err := readParticipant(c, "Accept-Patch", true)
	if err != nil {
		return err
	}
	info, err := a.rooms.Change(name, c.Param("secret"), change)
	if err != nil {
		return err
	}
	a.prolong(caller, name, c.Param("secret"))
	body, err := a.own(c, caller, name, info)
	if err != nil {
		return err
	}
	httpapi.Routine(c) // a heartbeat, mostly
	c.Data(http.StatusOK, jsonType, body)
	return nil
}

// leaveRoom answers DELETE, and POST of whatever body: a page that is being closed can send
// nothing else for sure (navigator.sendBeacon).
func (a *API) leaveRoom(c *gin.Context) error {
	name := c.Param("room")
	if _, err := a.self(c, name); err != nil {
		return err
	}
	if err := a.rooms.Leave(name, c.Param("secret")); err != nil {
		return err
	}
	c.Status(http.StatusNoContent)
	return nil
}

// self checks a request to a participant's own URL, which is a capability: no token is asked
// for, but one that comes along has to be right, as with the sessions of WHIP and WHEP.
func (a *API) self(c *gin.Context, room string) (auth.Caller, error) {
	if len(c.Request.Header.Values("Authorization")) > 0 {
		return a.authorize(c, auth.Read, room, "")
	}
	caller, err := a.auth.Who(c.Request)
	if err != nil {
		caller = auth.Caller{} // he is who has the secret, and sees nothing of others
	}
	return caller, rooms.ValidRoom(room)
}

// prolong lets a participant stay for as long as the caller's token allows, if that is a newer
// one of his.
func (a *API) prolong(caller auth.Caller, room, secret string) {
	who, err := caller.May(auth.Read, room, "")
	if err != nil {
		return
	}
	if held, err := a.rooms.LeaseOf(room, secret); err == nil {
		if lease, ok := held.(*auth.Lease); ok {
			lease.Renew(who)
		}
	}
}

// own shows a participant himself: all that he says, but not that a publisher speaks which he
// may not see.
func (a *API) own(c *gin.Context, caller auth.Caller, room string, info rooms.ParticipantInfo) ([]byte, error) {
	p := a.view(c, caller).participant(room, info)
	p.Publishers = info.Publishers
	return encode(p)
}

// A setter reads the value of one member of a JSON object.
type setter func(json.RawMessage) error

// into returns a setter of a field, whose value must be what it says.
func into[T any](field **T, what string) setter {
	return func(raw json.RawMessage) error {
		var v *T
		if err := json.Unmarshal(raw, &v); err != nil || v == nil { // null
			return fault.New(fault.BadRequest, "must be %s", what)
		}
		*field = v
		return nil
	}
}

// readParticipant reads what a participant says of himself and, if there can be others yet,
// does to them: a JSON object with no other members. The error is a fault.
func readParticipant(c *gin.Context, accept string, others bool) (change rooms.ParticipantChange, err error) {
	if err := httpapi.CheckType(c, jsonType, accept); err != nil {
		return change, err
	}
	body, err := httpapi.ReadBody(c)
	if err != nil {
		return change, err
	}
	const text, flag, id = "a text", "true or false", "the id of a participant"
	var publishers *[]string
	members := map[string]setter{
		"name": into(&change.Name, text), "role": into(&change.Role, text), "call": into(&change.Call, text),
		"microphone": into(&change.Microphone, text), "camera": into(&change.Camera, text),
		"hand": into(&change.Hand, flag), "privacy": into(&change.Privacy, flag),
		"publishers": into(&publishers, "a list of names"),
	}
	if others {
		members["answer"], members["lower"] = into(&change.Answer, id), into(&change.Lower, id)
	}
	var object map[string]json.RawMessage // a struct would take other spellings of its members
	if err := json.Unmarshal(body, &object); err != nil || object == nil {
		return change, fault.New(fault.BadRequest, "the body must be a JSON object")
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		set := members[name]
		if set == nil {
			return change, fault.New(fault.BadRequest, "there is no member %q, only %s", clip(name), strings.Join(slices.Sorted(maps.Keys(members)), ", "))
		}
		if err := set(object[name]); err != nil {
			return change, fault.New(fault.BadRequest, "%s: %w", name, err)
		}
	}
	if publishers != nil {
		change.Publishers = *publishers
	}
	return change, nil
}

// clip bounds what an error repeats.
func clip(s string) string {
	const longest = 64
	if len(s) > longest {
		return strings.ToValidUTF8(s[:longest], "") + "…"
	}
	return s
}
