package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// keeping returns an Auth that runs until the test ends, with some names revoked.
func keeping(t *testing.T) (*Auth, func(name string)) {
	a := New(Config{Warning: Defaults().Warning})
	var mu sync.Mutex
	var revoked []string
	a.keeper.revoked = func(id Identity) bool {
		mu.Lock()
		defer mu.Unlock()
		return slices.Contains(revoked, id.Name)
	}
	t.Cleanup(running(t, a))
	return a, func(name string) {
		mu.Lock()
		revoked = append(revoked, name)
		mu.Unlock()
		a.keeper.wake()
	}
}

// running runs a until stop is called.
func running(t *testing.T, a *Auth) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = a.Run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

func person(name string, life time.Duration) Identity {
	return Identity{Name: name, Kind: JWT, ID: name + "-1", Expires: time.Now().Add(life).Round(0)}
}

// told returns a function for Warn, and what it was told, with times since the bubble began.
func told() (func(Ending), func() []string) {
	began := time.Now()
	var mu sync.Mutex
	var out []string
	return func(e Ending) {
			mu.Lock()
			defer mu.Unlock()
			out = append(out, fmt.Sprintf("%s in %s after %s", e.Reason, time.Until(e.At), time.Since(began)))
		}, func() []string {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(out)
		}
}

func TestLeaseEndsWhenItsIdentityExpiresAfterAWarning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := keeping(t)
		l := a.Keep(person("x", 2*time.Minute))
		warn, said := told()
		l.Warn(warn)
		began := time.Now()
		expired, revoked := errors.New("e"), errors.New("r")
		ctx, stop := l.Bind(t.Context(), expired, revoked)
		defer stop()
		<-ctx.Done()
		if got := time.Since(began); got != 2*time.Minute || context.Cause(ctx) != expired || l.Err() != ErrExpired {
			t.Errorf("ended after %s by %v (%v), want after 2m by %v", got, context.Cause(ctx), l.Err(), expired)
		}
		synctest.Wait()
		if got, want := said(), []string{"expired in 30s after 1m30s"}; !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}

func TestRevocationEndsLeasesAtOnceAndNoOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, revoke := keeping(t)
		warn, said := told()
		var leases []*Lease
		for range 20 {
			l := a.Keep(person("x", time.Hour))
			l.Warn(warn)
			leases = append(leases, l)
		}
		static := a.Keep(Identity{Name: "x", Kind: Static})
		other := a.Keep(person("y", time.Hour))
		defer other.Release()
		revoke("x")
		synctest.Wait()
		for i, l := range append(leases, static) {
			if l.Err() != ErrRevoked {
				t.Errorf("lease %d: got %v, want %v", i, l.Err(), ErrRevoked)
			}
		}
		if got := said(); len(got) != 20 || got[0] != "revoked in 0s after 0s" {
			t.Errorf("told %q, want 20 revocations at once", got)
		}
		if other.Err() != nil {
			t.Errorf("another's lease ended: %v", other.Err())
		}
		late := a.Keep(person("x", time.Hour)) // asked for before, begun after
		synctest.Wait()
		if late.Err() != ErrRevoked {
			t.Errorf("a late lease: got %v, want %v", late.Err(), ErrRevoked)
		}
	})
}

func TestNewerTokenOfTheSameNameProlongs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := keeping(t)
		l := a.Keep(person("x", time.Minute))
		warn, said := told()
		l.Warn(warn)
		time.Sleep(40 * time.Second) // of the bubble
		for _, tt := range []struct {
			name string
			id   Identity
			want bool
		}{
			{"another's", person("y", time.Hour), false},
			{"of the same name, but another kind", Identity{Name: "x", Kind: Static}, false},
			{"older", person("x", 10*time.Second), false},
			{"of another role", Identity{Name: "x", Kind: person("x", 0).Kind, Role: "hospital", Expires: time.Now().Add(time.Hour)}, false},
			{"newer", person("x", time.Minute), true},
		} {
			if got := l.Renew(tt.id); got != tt.want {
				t.Errorf("%s: renewed %t, want %t", tt.name, got, tt.want)
			}
		}
		began := time.Now()
		ctx, stop := l.Bind(t.Context(), ErrExpired, ErrRevoked)
		defer stop()
		<-ctx.Done()
		if got := time.Since(began); got != time.Minute {
			t.Errorf("ended %s after the newer token came, want 1m", got)
		}
		want := []string{"expired in 30s after 30s", "expired in 30s after 1m10s"}
		if got := said(); !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
		if l.Renew(person("x", time.Hour)) {
			t.Error("a lease that has ended was renewed")
		}
	})
}

func TestReleasedLeasesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, revoke := keeping(t)
		l := a.Keep(person("x", time.Hour))
		ctx, stop := l.Bind(t.Context(), ErrExpired, ErrRevoked)
		stop()
		l.Release()
		l.Release()
		revoke("x")
		synctest.Wait()
		if errors.Is(context.Cause(ctx), ErrRevoked) || len(a.keeper.leases) != 0 {
			t.Errorf("%v, %d leases, want none", context.Cause(ctx), len(a.keeper.leases))
		}
		open := New(Config{}).Keep(Identity{})
		open.Warn(func(Ending) { t.Error("an open gateway warned") })
		if open.Err() != nil || open.Renew(Identity{}) {
			t.Error("the lease of an open gateway has an end")
		}
		open.Release()
	})
}
