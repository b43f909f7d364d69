package rooms

import (
	"cmp"
	"crypto/rand"
	"crypto/subtle"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"sightline/internal/audit"
	"sightline/internal/fault"
	"sightline/internal/quota"
)

// A Device is what the camera or the microphone of a participant does.
type Device string

const (
	On   Device = "on"
	Off  Device = "off"
	None Device = "none" // he has none
)

const (
	// callTimeout is when a call that nobody has answered ends by itself.
	callTimeout = time.Minute

	// maxVoices is how many publishers a participant may say are his.
	maxVoices = 16
)

// ParticipantInfo is a person in a room as the room API shows it.
type ParticipantInfo struct {
	ID    string // public
	Name  string // for people
	Role  string // "" if he has none
	Since time.Time

	Microphone, Camera Device
	Hand               bool      // raised
	HandSince          time.Time // when it was raised; zero if it is not
	Privacy            bool      // all that he sends is paused
	Call               string    // the role that he calls; "": none
	Publishers         []string  // the names under which he publishes, as he says, of those under which he may; not to be changed

	Speaking  bool // the first of Publishers is, see Registry.SetSpeaking
	Listening bool // see Registry.SetListening
}

// A ParticipantChange is what a participant says: nil is what stays as it is.
type ParticipantChange struct {
	Name, Role         *string
	Microphone, Camera *Device
	Hand, Privacy      *bool
	Call               *string
	Publishers         []string

	// By ID, another one in the room whose call is answered, or whose hand is lowered.
	Answer, Lower *string
}

// An EnterRequest says who wants to be in a room.
type EnterRequest struct {
	Room      string
	TokenRole string     // he can have no other; "": any
	Address   netip.Addr // where he comes from, as limits count it; invalid: uncounted
	Who       audit.Who
	Silent    bool                        // he may not be heard: his microphone can't be on
	Owns      func(publisher string) bool // whether he may publish under a name; nil: any. It does not block
	Lease     Lease                       // nil: for ever
	ParticipantChange
}

// A Lease is how long somebody may be a participant. Its methods are called under the registry's
// lock: they don't block, and don't call the registry.
type Lease interface {
	Err() error // why he may not any more; its text stands in the log
	Release()   // he is gone
}

// A participant is a person in a room. It is guarded by Registry.mu.
type participant struct {
	room    *room
	secret  string
	address netip.Addr
	info    ParticipantInfo // but for Speaking
	bound   bool            // to his role
	who     audit.Who
	silent  bool // see EnterRequest
	owns    func(publisher string) bool
	seen    time.Time // when he was last heard of
	lease   Lease     // nil: none
	called  time.Time // since when info.Call is what it is
	changed bool      // since watchers were told of him
}

// Enter makes a participant of a room, which is open from then on, for as long as he is heard
// of: until Leave, or rooms.participant_timeout after the last Change. The secret is for him
// alone. He must have a name. With an error, the lease stays with the caller. The error is a fault: BadRequest for what can't be, Forbidden
// for a role that is not his token's and a microphone that may not be on, Unavailable at a limit.
func (r *Registry) Enter(req EnterRequest) (secret string, info ParticipantInfo, err error) {
	if err := ValidRoom(req.Room); err != nil {
		return "", info, err
	}
	change, err := req.checked()
	if err != nil {
		return "", info, err
	}
	if change.Name == nil {
		return "", info, fault.New(fault.BadRequest, "name: a participant must have one")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return "", info, errClosing()
	}
	now := time.Now()
	p := &participant{
		secret: rand.Text(), address: req.Address, bound: req.TokenRole != "", silent: req.Silent, owns: req.Owns, seen: now, lease: req.Lease,
		info: ParticipantInfo{ID: rand.Text()[:12], Role: req.TokenRole, Since: now, Microphone: None, Camera: None, Publishers: []string{}},
	}
	if change.Role != nil && *change.Role == "" {
		change.Role = nil
	}
	if err := p.may(change); err != nil {
		return "", info, err
	}
	if n := r.config.MaxParticipantsPerAddress; req.Address.IsValid() &&
		r.enteredFromLocked(req.Address)+r.elsewhere.Of(maxParticipantsPerAddress, req.Address.String()) >= n {
		return "", info, limit("participants from this address", "max_participants_per_address", n)
	}
	if p.room, err = r.enterLocked(req.Room); err != nil {
		return "", info, err
	}
	if len(p.room.participants) >= r.config.MaxParticipants {
		return "", info, limit("participants in the room", "max_participants", r.config.MaxParticipants)
	}
	p.apply(change, now)
	p.who = req.Who
	p.room.participants[p.info.ID] = p
	r.recordParticipant(audit.Entered, p, now)
	r.openLocked(p.room, now)
	r.log.Info("participant entered", "room", req.Room, "participant", p.info.ID, "role", p.info.Role)
	r.tellParticipantLocked(p, now)
	return p.secret, p.infoLocked(), nil
}

// enteredFromLocked returns how many participants of all rooms have come from an address.
func (r *Registry) enteredFromLocked(address netip.Addr) (n int) {
	for _, m := range r.rooms {
		for _, p := range m.participants {
			if p.address == address {
				n++
			}
		}
	}
	return n
}

const maxParticipantsPerAddress = "rooms.max_participants_per_address"

// Held adds to use the participants from each address, as far as other nodes of a cluster should
// know of them.
func (r *Registry) Held(use quota.Use) {
	r.mu.Lock()
	from := make(map[netip.Addr]int)
	for _, m := range r.rooms {
		for _, p := range m.participants {
			from[p.address]++
		}
	}
	r.mu.Unlock()
	for address, n := range from {
		if address.IsValid() && quota.Notable(n, r.config.MaxParticipantsPerAddress) {
			use.Add(maxParticipantsPerAddress, address.String(), n)
		}
	}
}

// Elsewhere says what clients hold at other nodes: it counts for their limits here.
func (r *Registry) Elsewhere(use quota.Use) { r.elsewhere.Set(use) }

// Change says that a participant is still there, and what is new. All of that happens or
// nothing. The error is a fault: NotFound if there is no such participant any more, Conflict
// if one of whom it speaks is not in the room, and otherwise as of Enter.
func (r *Registry) Change(room, secret string, change ParticipantChange) (ParticipantInfo, error) {
	change, err := change.checked()
	if err != nil {
		return ParticipantInfo{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p, err := r.participantLocked(room, secret)
	if err != nil {
		return ParticipantInfo{}, err
	}
	if err := p.may(change); err != nil {
		return ParticipantInfo{}, err
	}
	called, err := p.room.other(change.Answer)
	if err != nil {
		return ParticipantInfo{}, err
	}
	raised, err := p.room.other(change.Lower)
	if err != nil {
		return ParticipantInfo{}, err
	}
	now := time.Now()
	p.seen = now
	before := p.info
	p.apply(change, now)
	if p.info.Name != before.Name || p.info.Role != before.Role {
		r.recordParticipant(audit.Renamed, p, now)
	}
	if called != nil && called.info.Call != "" {
		called.info.Call, called.changed = "", true
	}
	if raised != nil && raised.info.Hand {
		raised.info.Hand, raised.info.HandSince, raised.changed = false, time.Time{}, true
	}
	return p.infoLocked(), nil
}

// LeaseOf returns the lease of a participant, nil if he has none, and whether he may not be heard. The
// error is a fault.NotFound if there is no such participant any more.
func (r *Registry) LeaseOf(room, secret string) (lease Lease, silent bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, err := r.participantLocked(room, secret)
	if err != nil {
		return nil, false, err
	}
	return p.lease, p.silent, nil
}

// Leave ends a participant. The error is a fault.NotFound if there is no such one any more.
func (r *Registry) Leave(room, secret string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, err := r.participantLocked(room, secret)
	if err != nil {
		return err
	}
	r.partLocked(p, "left", time.Now())
	return nil
}

// Participants returns who is in a room, in the order of entering. The error is a
// fault.NotFound if the room is not open.
func (r *Registry) Participants(room string) ([]ParticipantInfo, error) {
	m, err := r.Room(room)
	return m.Participants, err
}

// SetListening says which participants of a room, by ID, listen to its mix: all of them.
// IDs that nobody in the room has mean nothing. It keeps nothing of ids.
func (r *Registry) SetListening(room string, ids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.rooms[room]
	if m == nil {
		return
	}
	for id, p := range m.participants {
		if listens := slices.Contains(ids, id); listens != p.info.Listening {
			p.info.Listening, p.changed = listens, true
		}
	}
}

// checked returns the change as it is taken, or a fault.BadRequest that says what can't be.
func (c ParticipantChange) checked() (ParticipantChange, error) {
	if c.Name != nil {
		name := Label(*c.Name)
		if name == "" {
			return c, fault.New(fault.BadRequest, "name: must have 1 to %d characters that can be printed", maxLabel)
		}
		c.Name = &name
	}
	err := cmp.Or(validRole(c.Role), validRole(c.Call), c.Microphone.valid("microphone"), c.Camera.valid("camera"))
	if err != nil {
		return c, err
	}
	if len(c.Publishers) > maxVoices {
		return c, fault.New(fault.BadRequest, "publishers: must be at most %d names, got %d", maxVoices, len(c.Publishers))
	}
	for _, name := range c.Publishers {
		if err := ValidName(name); err != nil {
			return c, err
		}
	}
	c.Publishers = slices.Clone(c.Publishers) // nil stays nil
	return c, nil
}

func validRole(role *string) error {
	if role == nil {
		return nil
	}
	return ValidRole(*role)
}

func (d *Device) valid(member string) error {
	if d == nil || *d == On || *d == Off || *d == None {
		return nil
	}
	return fault.New(fault.BadRequest, "%s: must be %q, %q or %q, got %q", member, On, Off, None, shown(string(*d)))
}

// may returns a fault.Forbidden for what the participant's token does not let him be or do.
func (p *participant) may(c ParticipantChange) error {
	if p.bound && c.Role != nil && *c.Role != p.info.Role {
		return fault.New(fault.Forbidden, "the token is for the role %q, not for %q: leave role out", p.info.Role, *c.Role)
	}
	if p.silent && c.Microphone != nil && *c.Microphone == On {
		return fault.New(fault.Forbidden, "the token does not let its bearer be heard: microphone must be %q or %q, got %q", Off, None, On)
	}
	return nil
}

func (p *participant) apply(c ParticipantChange, now time.Time) {
	i, before := &p.info, p.info
	set(&i.Name, c.Name)
	set(&i.Role, c.Role)
	set(&i.Microphone, c.Microphone)
	set(&i.Camera, c.Camera)
	set(&i.Hand, c.Hand)
	set(&i.Privacy, c.Privacy)
	set(&i.Call, c.Call)
	if c.Publishers != nil { // not of others: a guest must not have their pictures taken for paused
		i.Publishers = slices.DeleteFunc(c.Publishers, func(name string) bool { return p.owns != nil && !p.owns(name) })
	}
	if i.Call != before.Call {
		p.called = now
	}
	switch {
	case !i.Hand:
		i.HandSince = time.Time{}
	case !before.Hand:
		i.HandSince = now
	}
	p.changed = p.changed || !reflect.DeepEqual(*i, before)
}

// set makes *old what *value is, if there is one.
func set[T any](old, value *T) {
	if value != nil {
		*old = *value
	}
}

// participantLocked finds who has the secret.
func (r *Registry) participantLocked(room, secret string) (*participant, error) {
	if m := r.rooms[room]; m != nil {
		for _, p := range m.participants {
			if subtle.ConstantTimeCompare([]byte(p.secret), []byte(secret)) == 1 {
				return p, nil
			}
		}
	}
	return nil, fault.New(fault.NotFound, "there is no such participant (any more): enter the room again")
}

// other finds the participant with an ID; nil for none.
func (m *room) other(id *string) (*participant, error) {
	if id == nil {
		return nil, nil
	}
	if p := m.participants[*id]; p != nil {
		return p, nil
	}
	return nil, fault.New(fault.Conflict, "participant %q is not in the room (any more)", shown(*id))
}

// partLocked ends a participant, and his room if nothing else is in it.
func (r *Registry) partLocked(p *participant, cause string, now time.Time) {
	info := p.infoLocked()
	delete(p.room.participants, info.ID)
	r.dismissLocked(p, cause, now)
	r.emitLocked(Event{Type: ParticipantLeft, Room: p.room.name, Time: now, Participant: &info})
	r.tidyLocked(p.room)
}

// dismissLocked lets go of what a participant has, who is in no room any more.
func (r *Registry) dismissLocked(p *participant, cause string, now time.Time) {
	r.recordLeft(p, cause, now)
	if p.lease != nil {
		p.lease.Release()
	}
	r.log.Info("participant left", "room", p.room.name, "participant", p.info.ID, "role", p.info.Role,
		"cause", cause, "stayed", now.Sub(p.info.Since).Round(time.Millisecond))
}

// sweepParticipantsLocked ends whose lease has ended, who has not been heard of, and calls that nobody answers.
func (r *Registry) sweepParticipantsLocked(m *room, now time.Time) {
	for _, p := range m.participants {
		if p.lease != nil && p.lease.Err() != nil {
			r.partLocked(p, p.lease.Err().Error(), now)
		} else if now.Sub(p.seen) >= r.config.ParticipantTimeout.D() {
			r.partLocked(p, "timeout", now)
		} else if p.info.Call != "" && now.Sub(p.called) >= callTimeout {
			p.info.Call, p.changed = "", true
		}
	}
}

// tellParticipantLocked makes an event of a participant who has changed.
func (r *Registry) tellParticipantLocked(p *participant, now time.Time) {
	p.changed = false
	info := p.infoLocked()
	r.emitLocked(Event{Type: ParticipantChanged, Room: p.room.name, Time: now, Participant: &info})
}

func (p *participant) infoLocked() ParticipantInfo {
	info := p.info
	if len(info.Publishers) > 0 {
		voice := p.room.publishers[info.Publishers[0]]
		info.Speaking = voice != nil && voice.speaking
	}
	return info
}

// participantsLocked returns who is in the room, in the order of entering.
func (m *room) participantsLocked() []ParticipantInfo {
	out := make([]ParticipantInfo, 0, len(m.participants))
	for _, p := range m.participants {
		out = append(out, p.infoLocked())
	}
	slices.SortFunc(out, func(a, b ParticipantInfo) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// watchersLocked returns which participants play the track, by ID.
func (e *trackEntry) watchersLocked(m *room) []string {
	var out []string
	for id := range e.watchers {
		if m.participants[id] != nil {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// watchLocked counts n sessions more, or less, of a participant.
func (e *trackEntry) watchLocked(id string, n int) {
	if id == "" {
		return
	}
	if e.watchers == nil {
		e.watchers = make(map[string]int)
	}
	if e.watchers[id] += n; e.watchers[id] <= 0 {
		delete(e.watchers, id)
	}
}
