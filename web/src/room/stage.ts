// Who is on the speakers' stage. All times are milliseconds of performance.now().
import type { Participant } from '../client/rooms.ts';

export const SETTLED = 400; // who makes a noise for less does not come onto the stage

export interface Speaker {
  key: string;
  speaking: boolean;
}

// A Stage keeps its places: whoever is on it stays where he is until he leaves the room, or
// has been silent for longer than all others on it when somebody else speaks.
export class Stage {
  #places: string[] = [];
  #began = new Map<string, number>(); // of those who speak
  #spoke = new Map<string, number>(); // when somebody spoke last

  // take returns the keys on the stage, by place, and in how many milliseconds to ask again
  // though nothing has changed. People are all who may be on it, in the order in which free
  // places are for them.
  take(people: readonly Speaker[], size: number, now: number): { places: readonly string[]; again?: number } {
    const there = new Set(people.map((p) => p.key));
    for (const map of [this.#began, this.#spoke]) for (const key of map.keys()) if (!there.has(key)) map.delete(key);
    for (const { key, speaking } of people) {
      if (!speaking) this.#began.delete(key);
      else if (!this.#began.has(key)) this.#began.set(key, now);
      if (speaking) this.#spoke.set(key, now);
    }

    const places: (string | undefined)[] = this.#places.map((key) => (there.has(key) ? key : undefined));
    while (places.filter(Boolean).length > size) places.splice(places.indexOf(this.#quietest(places) ?? places.at(-1)), 1);
    // Free places are for those who spoke last; among those who never did, for the first.
    const off = () => people.filter((p) => !places.includes(p.key)).sort((a, b) => this.#last(b.key) - this.#last(a.key));
    for (let i = 0; i < Math.max(size, places.length); i++) if (places[i] === undefined) places[i] = off()[0]?.key;
    this.#places = places.filter((key) => key !== undefined);

    let again: number | undefined;
    for (const { key, speaking } of people) {
      if (!speaking || this.#places.includes(key)) continue;
      const left = (this.#began.get(key) ?? now) + SETTLED - now;
      if (left > 0) {
        again = Math.min(again ?? left, left);
        continue;
      }
      const quietest = this.#quietest(this.#places);
      if (quietest !== undefined) this.#places[this.#places.indexOf(quietest)] = key;
    }
    return { places: this.#places, ...(again === undefined ? {} : { again }) };
  }

  // quietest is who has been silent for the longest time of those who don't speak now.
  #quietest(places: readonly (string | undefined)[]): string | undefined {
    const silent = places.filter((key) => key !== undefined && !this.#began.has(key)) as string[];
    return silent.reduce<string | undefined>((a, b) => (a !== undefined && this.#last(a) <= this.#last(b) ? a : b), undefined);
  }

  #last(key: string): number {
    return this.#spoke.get(key) ?? -1;
  }
}

// hands are the ids of those who have raised one, in the order of that, which the gateway knows.
export function hands(people: readonly Pick<Participant, 'id' | 'hand' | 'handSince'>[]): readonly string[] {
  const at = ({ handSince }: { handSince: string | null }) => Date.parse(handSince ?? '') || 0;
  return people.filter((p) => p.hand).sort((a, b) => at(a) - at(b)).map((p) => p.id);
}
