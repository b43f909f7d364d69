package rtc

import "errors"

// An End is why a session ended: the cause that Session.Run returns, and that the
// context given to Run is cancelled with. Its text is the word for metric labels.
type End string

func (e End) Error() string { return string(e) }

// The causes. The first group is the gateway's own doing, or asked of it.
const (
	Deleted  End = "deleted"  // DELETE of the session
	Replaced End = "replaced" // another session took the publisher's name over
	Removed  End = "removed"  // ended through the room API
	Moved    End = "moved"    // its room is on another node now
	Draining End = "draining" // the gateway shuts down
	Expired  End = "expired"  // what it was begun with has expired
	Revoked  End = "revoked"  // what it was begun with has been revoked
	Gone     End = "gone"     // the track that it played has ended
	Codec    End = "codec"    // the track's new codec is none that the viewer can take

	CrowdedOut End = "crowded-out" // not connected yet, it gave its place to a newer session

	PeerClosed     End = "peer-closed"     // DTLS close_notify or a fatal alert
	ConsentExpired End = "consent-expired" // RFC 7675: no response for 30 s
	Unreached      End = "unreached"       // not one ICE check of the client came
	SetupTimeout   End = "setup-timeout"   // checks came, but no path or no DTLS in time
	DTLSFailed     End = "dtls-failed"     // the handshake failed: wrong certificate, no common profile
	Failed         End = "error"           // the gateway's own failure
)

var ends = []End{Deleted, Replaced, Removed, Moved, Draining, Expired, Revoked, Gone, Codec, CrowdedOut, PeerClosed, ConsentExpired, Unreached, SetupTimeout, DTLSFailed, Failed}

// Ends returns all causes, for metrics that want to show zeros.
func Ends() []End { return ends }

// Cause returns the word for why a session ended, out of Ends.
func Cause(err error) string {
	var e End
	if errors.As(err, &e) {
		return string(e)
	}
	return string(Failed)
}

// Detail is what Cause does not say of err; "" if it says all.
func Detail(err error) string {
	if _, all := err.(End); err == nil || all { // wrapped, it has more to say
		return ""
	}
	return err.Error()
}
