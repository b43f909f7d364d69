// Under which names a person of the meeting publishes.
import type { Participant, Publisher } from '../client/rooms.ts';

const STATION = 'meeting';

// voice returns the name that is a participant's to publish under: the one that he claims
// if nobody else has it, else the next that is free. mine says that he has published under
// it, so that a publisher of that name is himself.
//
// Of two who claim the same, it is his who entered first; the gateway tells all of them the
// same order, so they agree.
export function voice(me: Participant, people: readonly Participant[], publishers: readonly Publisher[], mine: boolean): string {
  const claimed = me.publishers[0];
  const earlier = people.slice(0, Math.max(0, people.findIndex((p) => p.id === me.id)));
  const claims = (all: readonly Participant[]) => new Set(all.filter((p) => p.id !== me.id).flatMap((p) => p.publishers));
  const live = new Set(publishers.map((p) => p.name));
  const others = (name: string, all: Set<string>) => [name, camera(name), screen(name)].some((n) => all.has(n));
  if (claimed && !others(claimed, claims(earlier)) && (mine || !others(claimed, live))) return claimed;
  const taken = new Set([...claims(people), ...live]);
  for (let n = 1; ; n++) {
    const name = n === 1 ? STATION : `${STATION}-${n}`;
    if (!others(name, taken)) return name;
  }
}

// The microphone is a publisher of its own, so that neither camera nor screen ever disturbs
// what is said.
export const camera = (voice: string) => `${voice}-camera`;
export const screen = (voice: string) => `${voice}-screen`;
export const publishers = (voice: string) => [voice, camera(voice), screen(voice)];
