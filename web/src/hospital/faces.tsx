// The cameras of those who help from afar.
import type { JSX } from 'preact';

import type { Participant, Publisher, Track } from '../client/rooms.ts';
import type { Place } from '../pages/station.tsx';
import { choices } from '../ui/choices.ts';
import { gateway, here } from '../ui/page.ts';
import { PlayerTile } from '../ui/picture.tsx';
import { publishers, video } from '../ui/room.ts';
import { useStore } from '../ui/store.ts';
import { words } from './words.ts';

export interface Face {
  person: Participant;
  source: Publisher;
  track: Track;
}

// faces are the pictures that technicians show of themselves, in the order in which they
// entered: those that can be played, but not what is left of a session that has ended.
export function faces(sources: readonly Publisher[], others: readonly Participant[]): Face[] {
  return others
    .filter((p) => p.role === 'technician')
    .flatMap((person) =>
      person.publishers.flatMap((name) => {
        const source = sources.find((s) => s.name === name);
        const track = source && video(source);
        return source && track?.session && (track.state === 'live' || track.state === 'stalled') ? [{ person, source, track }] : [];
      }),
    );
}

export function Faces({ place: { room, me }, others }: { place: Place; others: readonly Participant[] }): JSX.Element | null {
  const soundOnly = useStore(choices, (c) => c.audioOnly);
  const all = faces(publishers(room), others);
  if (!all.length || soundOnly || !me) return null;
  const w = words.faces;
  return (
    <section class="card faces" aria-labelledby="faces">
      <h2 id="faces">{w.title}</h2>
      {all.map(({ person, source, track }) => (
        <PlayerTile
          key={source.name}
          label={person.name}
          src={gateway.whep(here.room, source.name, 'video', { participant: me.id })}
          token={gateway.token}
          track={track}
          speaking={person.speaking}
          {...(person.privacy ? { paused: w.paused } : {})}
        />
      ))}
    </section>
  );
}
