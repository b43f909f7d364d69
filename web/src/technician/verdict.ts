// What a tile says of its picture: of what the player knows (one's own leg) and what the
// gateway knows (the publisher's).
import type { Participant, Track } from '../client/rooms.ts';
import type { PlayerState } from '../media/player.ts';
import type { State } from '../ui/state.tsx';
import { w } from './words.ts';

// So long after the last picture the gateway knows, too, whether anything comes from the
// camera (it says stalled after 2 s).
const KNOWN = 3_000; // ms

export interface Facts {
  player: { state: PlayerState; words: string; detail: string; age: number; hasPicture: boolean };
  track: Track | undefined; // undefined: the room has none of that name any more
  goneFor: number; // ms, where the room has none
  silentFor: number; // ms for which nothing has come from the camera, as the gateway says; 0 while something does
  gateway: boolean; // it answers: what it says of the track is what is
  privacy: Participant | undefined; // who has paused it
}

export interface Verdict {
  state: State;
  words?: string;
  detail?: string;
  age: number; // ms
  hasPicture: boolean;
}

// judge never calls a picture live that is not: where facts disagree, the worse one counts.
export function judge({ player, track, goneFor, silentFor, gateway, privacy }: Facts): Verdict {
  if (privacy) return { state: 'paused', words: w.privacy(privacy.name), detail: w.privacyMore, age: 0, hasPicture: false };
  if (!track) return { state: 'gone', words: w.gone, detail: w.goneMore, age: goneFor, hasPicture: false };
  const { state, words, detail, age, hasPicture } = player;
  const asItIs: Verdict = { state, words, detail, age, hasPicture };
  // What moves though the camera sends nothing is old: a joiner is shown the last second.
  if (silentFor && (state === 'live' || state === 'frozen')) {
    const old = { age: Math.max(age, silentFor), hasPicture };
    if (!track.session) return { state: 'ended', words: w.left, detail: w.legs.left, ...old };
    return { state: 'frozen', words: w.frozenPicture, detail: w.legs.camera, ...old };
  }
  if (state === 'live') return { state, age: 0, hasPicture };
  if (state !== 'frozen') return gateway || state === 'busy' || state === 'refused' ? asItIs : { ...asItIs, detail: w.legs.gateway };
  if (!gateway) return { ...asItIs, detail: w.legs.gateway };
  return { ...asItIs, detail: age < KNOWN ? w.legs.moment : w.legs.own };
}
