// The station at /{room}/technician.
import type { JSX } from 'preact';

import type { Track } from '../client/rooms.ts';
import { gateway, here } from '../ui/page.ts';
import { PlayerTile } from '../ui/picture.tsx';
import { roleName } from '../ui/people.tsx';
import { pictures, type View } from '../ui/room.ts';
import { words } from '../ui/strings.ts';
import { Station, type Place } from './station.tsx';

export function Technician(): JSX.Element {
  return <Station role="technician">{(place) => <Pictures {...place} />}</Station>;
}

function Pictures({ room, view, people, me }: Place): JSX.Element {
  const tracks = pictures(room);
  if (!tracks.length) return <Empty view={view} />;
  // Who pauses everything says so of himself.
  const paused = (t: Track) => people.some((p) => p.privacy && p.publishers.includes(t.publisher));
  return (
    <div class="tiles">
      <h2 class="unseen">{words.station.pictures}</h2>
      {me &&
        tracks.map((t) => (
          <PlayerTile
            key={t.publisher}
            label={t.label || t.publisher}
            sub={roleName(t.role)}
            src={gateway.whep(here.room, t.publisher, 'video', { participant: me.id })}
            token={gateway.token}
            track={t}
            paused={paused(t) ? words.station.privacy : undefined}
            muted
          />
        ))}
    </div>
  );
}

function Empty({ view }: { view: View }): JSX.Element | null {
  if (view.state !== 'open') return null;
  return (
    <div class="empty">
      <strong>{words.station.noPictures}</strong>
      <p>{words.station.noPicturesMore}</p>
    </div>
  );
}
