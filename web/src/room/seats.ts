// What there is to see in a meeting: people, screens, and cameras that are nobody's face.
import type { Participant, Publisher, Room, Track } from '../client/rooms.ts';
import { publishers } from '../ui/room.ts';
import { camera, screen } from './name.ts';
import { words } from './strings.ts';

export interface Seat {
  key: string; // stays when somebody enters anew
  kind: 'person' | 'screen' | 'camera';
  mine: boolean;
  label: string;
  of: string; // whose it is, where the label does not say so
  person?: Participant | undefined;
  voice?: Publisher | undefined; // where a person is heard
  track?: Track | undefined; // what is to be seen
  speaking: boolean;
  muted: boolean; // by the room
  privacy: boolean;
}

// seats returns them in an order that does not jump: people as they entered, each with what
// he shows, then publishers that are nobody's, such as encoders
// and what is left of somebody whose page has died.
export function seats(room: Room | undefined, people: readonly Participant[], me: string | undefined): Seat[] {
  const all = new Map(publishers(room).map((p) => [p.name, p]));
  const out: Seat[] = [];
  const take = (name: string) => {
    const p = all.get(name);
    all.delete(name);
    return p;
  };
  const keys = new Set<string>();
  for (const person of people) {
    const name = person.publishers[0] ?? '';
    const mine = person.id === me;
    const voice = take(name);
    const face = video(voice) ?? video(take(camera(name)));
    const key = name && !keys.has(name) ? name : person.id;
    keys.add(key);
    out.push({ key, kind: 'person', mine, label: person.name, of: '', person, voice, track: face, speaking: person.speaking, muted: voice?.muted ?? false, privacy: person.privacy });
    for (const other of new Set([screen(name), ...person.publishers.slice(1)])) {
      const p = take(other);
      const track = video(p);
      if (!p || !track) continue;
      const shared = other.endsWith('-screen');
      out.push({
        key: other, kind: shared ? 'screen' : 'camera', mine, person, track, speaking: false, muted: false, privacy: person.privacy,
        label: shared ? (mine ? words.yourScreen : words.screenOf(person.name)) : p.label || other, of: shared ? '' : person.name,
      });
    }
  }
  for (const p of [...all.values()]) {
    if (all.get(p.name) !== p) continue; // taken
    const track = video(p) ?? video(take(camera(p.name)));
    const heard = p.tracks.some((t) => t.kind === 'audio' && t.session && t.state !== 'gone');
    if (!track && !heard) continue;
    const kind = heard ? 'person' : p.name.endsWith('-screen') ? 'screen' : 'camera';
    out.push({ key: p.name, kind, mine: false, label: p.label || p.name, of: '', voice: heard ? p : undefined, track, speaking: p.speaking, muted: p.muted, privacy: false });
  }
  return out;
}

// video is a picture that can be played: none before the first frame, nor once its session
// has ended, though the gateway keeps its place for a while.
function video(p: Publisher | undefined): Track | undefined {
  return p?.tracks.find((t) => t.kind === 'video' && t.session && (t.state === 'live' || t.state === 'stalled'));
}
