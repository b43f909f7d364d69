// Under which name one publishes (docs/STATIONS.md, Names).
import type { Participant, Room } from '../client/rooms.ts';
import { others } from '../ui/voice.ts';

const BASE = 'technician';

// pick returns a name that nobody else has. before is one's own of before: a session of
// it that is still in the room is one's own, and is taken over. past are the ids that this page had before.
export function pick(room: Room | undefined, me: Participant | undefined, before: string, past: ReadonlySet<string>): string {
  const theirs = new Set(others(room?.participants ?? [], me?.id, past).flatMap((p) => p.publishers));
  if (before && !theirs.has(before)) return before;
  for (const p of room?.publishers ?? []) if (p.name !== before) theirs.add(p.name);
  let name = BASE;
  for (let n = 2; theirs.has(name); n++) name = `${BASE}-${n}`;
  return name;
}

// taken reports whether somebody who was here earlier has the name: two who came at the
// same moment may have picked the same.
export function taken(room: Room | undefined, me: Participant | undefined, name: string, past: ReadonlySet<string>): boolean {
  return others(room?.participants ?? [], me?.id, past).some((p) => me && p.publishers[0] === name && (p.since < me.since || (p.since === me.since && p.id < me.id)));
}
