// How cameras and voices are called for the gateway (docs/STATIONS.md, Names).
import type { Participant, Publisher } from '../client/rooms.ts';
import { spell } from '../ui/names.ts';

const LONGEST = 64;

// publisherName is what a camera that people call "MRI Console" publishes under: mri-console.
// It is empty where nothing of a name can be spelt.
export function publisherName(name: string): string {
  return spell(name)
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/-{2,}/g, '-')
    .replace(/^[-.]+|[-.]+$/g, '')
    .slice(0, LONGEST);
}

// taken tells the publishers' names that somebody else has in a room: others' sources that
// are sent by somebody, and what others say is theirs.
export function taken(publishers: readonly Publisher[], people: readonly Participant[], me: string | undefined, mine: ReadonlySet<string>): Set<string> {
  const out = new Set<string>();
  for (const p of publishers) if (!mine.has(p.name) && p.tracks.some((t) => t.state !== 'gone' && t.session)) out.add(p.name);
  for (const p of people) if (p.id !== me) for (const name of p.publishers) out.add(name);
  return out;
}

// voiceName is the first free of hospital, hospital-2, hospital-3…. before is the one that
// this page had before it was loaded again: that is its own still, unless somebody says
// that it is his.
export function voiceName(station: string, publishers: readonly Publisher[], people: readonly Participant[], me: string | undefined, before: string | undefined): string {
  const used = taken(publishers, people, me, new Set(before ? [before] : []));
  if (before && !used.has(before)) return before;
  for (let n = 1; ; n++) {
    const name = n === 1 ? station : `${station}-${n}`;
    if (!used.has(name)) return name;
  }
}

// yields reports whether a station gives its voice's name up: of two that took it at the same
// time, the later does.
export function yields(voice: string, me: Participant, others: readonly Participant[]): boolean {
  return others.some((p) => p.publishers.includes(voice) && `${p.since} ${p.id}` < `${me.since} ${me.id}`);
}
