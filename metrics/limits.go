package metrics

// limits are the keys of the configuration that label refusals: a closed set, all of which
// are there from the start.
var limits = []string{
	"http.rate_limit", "http.token_rate_limit", "http.session_rate_limit", "http.max_wrong_tokens",
	"http.max_body", "http.body_timeout",
	"http.max_sessions_per_address", "http.max_sessions_per_token", "http.max_setups", "http.max_setups_per_address",
	"ice.max_candidates", "ice.max_ssrcs", "ice.max_rtcp",
	"rooms.max_rooms", "rooms.max_publishers", "rooms.max_viewers", "rooms.max_viewers_per_track",
	"rooms.max_participants", "rooms.max_participants_per_address",
	"bridge.max_listeners", "api.max_streams", "api.max_streams_per_address",
	"auth.max_revocations", "auth.max_invitations", "auth.oidc.max_sessions",
}

// collectRefusals adds up what the gateway's parts have refused.
func collectRefusals(w writer, parts ...map[string]uint64) {
	all := make(map[string]uint64, len(limits))
	for _, part := range parts {
		for limit, n := range part {
			all[limit] += n
		}
	}
	collectClosed(w, refusals, limits, all)
}
