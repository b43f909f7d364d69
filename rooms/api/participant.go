package api

import (
	"net/http"

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
		Room: name, TokenRole: who.Role, Address: httpapi.Client(c), Who: who.Who(c.ClientIP(), httpapi.UserAgent(c)), Silent: !caller.Allows(auth.Speak, name, ""), Owns: func(publisher string) bool { return caller.Allows(auth.Publish, name, publisher) },
		Lease: lease, ParticipantChange: change,
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
	if who, err := caller.May(auth.Read, name, ""); err == nil && who.Role != "" && change.Role != nil && *change.Role != who.Role {
		return fault.New(fault.Forbidden, "the token is for the role %q, not for %q: leave role out", who.Role, clip(*change.Role))
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
// one of his that may do no less.
func (a *API) prolong(caller auth.Caller, room, secret string) {
	who, err := caller.May(auth.Read, room, "")
	if err != nil {
		return
	}
	held, silent, err := a.rooms.LeaseOf(room, secret)
	if lease, ok := held.(*auth.Lease); ok && err == nil && (silent || caller.Allows(auth.Speak, room, "")) {
		lease.Renew(who)
	}
}

// own shows a participant himself: all that he says, but not that a publisher speaks which he
// may not see.
func (a *API) own(c *gin.Context, caller auth.Caller, room string, info rooms.ParticipantInfo) ([]byte, error) {
	p := a.view(c, caller).participant(room, info)
	p.Publishers = info.Publishers
	return encode(p)
}

// readParticipant reads what a participant says of himself and, if there can be others yet,
// does to them: a JSON object with no other members. The error is a fault.
func readParticipant(c *gin.Context, accept string, others bool) (change rooms.ParticipantChange, err error) {
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
	if err := readObject(c, accept, members); err != nil {
		return change, err
	}
	if publishers != nil {
		change.Publishers = *publishers
	}
	return change, nil
}
