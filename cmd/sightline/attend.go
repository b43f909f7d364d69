package main

import (
	"context"
	"errors"

	"sightline/internal/bridge"
	"sightline/rooms"
)

// attend lets the bridge find out who speaks in every room, until ctx is done: the audit log wants
// to know it though nobody listens.
func attend(ctx context.Context, registry *rooms.Registry, mixer *bridge.Bridge) error {
	w, err := registry.Watch("", 0)
	if err != nil {
		return err
	}
	defer w.Close()
	attended := make(map[string]func()) // how to leave, by room
	defer func() {
		for _, leave := range attended {
			leave()
		}
	}()
	for {
		e, err := w.Next(ctx)
		switch {
		case ctx.Err() != nil || errors.Is(err, rooms.ErrClosed):
			return nil
		case err != nil:
			return err
		case e.Type != rooms.SnapshotEvent && e.Type != rooms.RoomOpened && e.Type != rooms.RoomClosed && e.Type != rooms.RoomMoved:
			continue
		}
		open := make(map[string]bool)
		for _, m := range registry.Rooms() {
			open[m.Name] = true
			if attended[m.Name] == nil {
				attended[m.Name] = mixer.Attend(m.Name)
			}
		}
		for name, leave := range attended {
			if !open[name] || e.Type == rooms.RoomMoved && e.Room == name {
				leave()
				delete(attended, name)
			}
		}
	}
}
