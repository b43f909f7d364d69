package cluster

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"sightline/internal/fault"
)

// Whatever comes is read or refused, and what is read is what would be sent.
func FuzzFrames(f *testing.F) {
	f.Add(request{7, time.Second, []byte("data")}.marshal())
	f.Add(frame{7, frameMessage, 1, []byte("data")}.marshal())
	f.Add(frame{7, framePing, 1, nil}.marshal())
	f.Add(marshalAnswer([]byte("data"), nil))
	f.Add(marshalAnswer(nil, fault.New(fault.Conflict, "no").After(time.Second).With("limit", "x")))
	f.Add(marshalAnswer(nil, errors.New("disk full")))
	f.Add([]byte(`{"kind":"conflict","retry_after":-1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, ok := parseRequest(data); ok {
			if r.budget < 0 || r.budget > maxBudget || len(r.data) > maxData {
				t.Errorf("got %s, %d bytes", r.budget, len(r.data))
			}
			if again, ok := parseRequest(r.marshal()); !ok || again.number != r.number || again.budget != r.budget || !bytes.Equal(again.data, r.data) {
				t.Errorf("got %v, then %v", r, again)
			}
		}
		if m, ok := parseFrame(data); ok && !bytes.Equal(m.marshal(), data) {
			t.Errorf("got %v", m)
		}
		answer, err := parseAnswer(data)
		var problem *fault.Error
		switch {
		case err == nil && !bytes.Equal(marshalAnswer(answer, nil), data):
			t.Errorf("got %q", answer)
		case errors.As(err, &problem) && (!kinds[problem.Kind] || problem.RetryAfter < 0 || problem.RetryAfter > time.Hour):
			t.Errorf("got %#v", problem)
		}
	})
}
