// What is in a room, or in all of them, kept up to date for components.
import { Known, follow, returning } from '../client/events.ts';
import type { Refused } from '../client/http.ts';
import { MOVING, Pause } from '../client/retry.ts';
import type { Gateway, Participant, Publisher, Room, Track } from '../client/rooms.ts';
import { Store } from './store.ts';

const RECENT = 15_000; // ms; a gateway that is away for no longer may be another one, which its clients come back to
const PERIOD = 2_000; // ms between questions for readings that flow, which make no event

// A View is what is known. Its rooms are changed in place: a new View says that they were.
export interface View {
  state: 'asking' | 'open' | 'lost'; // lost: what is known may be old
  refused?: Refused | undefined; // why, if the gateway says so
  rooms: Room[]; // by name
}

export interface FeedOptions {
  room?: string; // all rooms without
  readings?: boolean; // keep bit rates, loss and ages fresh, too, while somebody looks
}

// A Feed follows the gateway from start to stop.
export class Feed {
  readonly store = new Store<View>({ state: 'asking', rooms: [] });
  #gateway: Gateway;
  #options: FeedOptions;
  #known = new Known();
  #told = false; // of a first snapshot
  #stop: AbortController | undefined;
  #away = 0; // since when the rooms are elsewhere, or the gateway is not heard; 0: they are known
  #before: Room[] = []; // what was there before; stays for a moment
  #settle: ReturnType<typeof setTimeout> | undefined;

  // onMove tells that the room is elsewhere, where everybody has to come again.
  constructor(gateway: Gateway, options: FeedOptions = {}, private readonly onMove = () => {}) {
    this.#gateway = gateway;
    this.#options = options;
  }

  start(): void {
    if (this.#stop) return;
    const { signal } = (this.#stop = new AbortController());
    void follow(this.#gateway.events(this.#options.room), {
      token: this.#gateway.token,
      signal,
      onEvent: (event) => {
        if (event.type === 'snapshot') this.#anew();
        if (event.type === 'room-moved') {
          this.#away = performance.now();
          this.onMove();
        }
        if (event.type === 'participant-left') this.#forget(event.participant.name);
        if (this.#known.take(event)) this.#tell({ state: 'open', refused: undefined });
      },
      onState: (state, refused) => {
        // A stream that goes on where it broke off begins with nothing if nothing has happened; the
        // first one with a snapshot, before which nothing is known.
        if (state === 'open' && !this.#told) return;
        if (state === 'lost' && this.store.value.state !== 'lost') this.#away = performance.now();
        this.#tell({ state, refused });
      },
    });
    if (this.#options.readings) void this.#read(signal);
  }

  stop(): void {
    this.#stop?.abort();
    this.#stop = undefined;
    clearTimeout(this.#settle);
  }

  // anew keeps what was there for a moment, where all are about to come back.
  #anew(): void {
    this.#told = true;
    const recent = this.#away && performance.now() - this.#away < RECENT;
    this.#away = 0;
    clearTimeout(this.#settle);
    this.#before = recent ? [...this.#known.rooms.values()] : [];
    if (!recent) return;
    this.#settle = setTimeout(() => {
      this.#before = [];
      this.#tell({});
    }, MOVING);
  }

  #forget(name: string): void {
    this.#before = this.#before.map((room) => ({ ...room, participants: (room.participants ?? []).filter((p) => p.name !== name) }));
  }

  #tell(what: Partial<View>): void {
    const all = new Map(this.#known.rooms);
    for (const before of this.#before) all.set(before.name, returning(all.get(before.name), before));
    const rooms = [...all.values()].sort((a, b) => compare(a.name, b.name));
    const view = { ...this.store.value, ...what, rooms };
    this.store.set(view.state === 'lost' ? { ...view, rooms: rooms.map(hushed) } : view);
  }

  // One request at a time, and none while nobody looks.
  async #read(signal: AbortSignal): Promise<void> {
    const pause = new Pause();
    const look = () => document.hidden || pause.wake();
    document.addEventListener('visibilitychange', look);
    while (!signal.aborted) {
      await pause.of(PERIOD, signal);
      const { room } = this.#options;
      if (signal.aborted || document.hidden || this.store.value.state !== 'open') continue;
      if (room !== undefined && !this.#known.rooms.has(room)) continue;
      try {
        const rooms = room === undefined ? await this.#gateway.rooms(signal) : [await this.#gateway.room(room, signal)];
        for (const r of rooms) this.#flow(r);
        this.#tell({});
      } catch {
        // The events say what is wrong.
      }
    }
    document.removeEventListener('visibilitychange', look);
  }

  // flow takes readings of what the events have told; what else changed they tell.
  #flow(fresh: Room): void {
    const room = this.#known.rooms.get(fresh.name);
    if (!room) return;
    [room.viewers, room.listeners] = [fresh.viewers, fresh.listeners];
    const tracks = new Map(fresh.publishers.flatMap((p) => p.tracks.map((t) => [t.id, t] as const)));
    for (const t of room.publishers.flatMap((p) => p.tracks)) {
      const now = tracks.get(t.id);
      if (!now) continue;
      const { bitrate, fps, loss, rttMs, packetAgeMs, keyframeAgeMs, path } = now;
      Object.assign(t, { bitrate, fps, loss, rttMs, packetAgeMs, keyframeAgeMs, path });
    }
  }
}

// hushed is a room of which nobody knows who speaks now.
function hushed(room: Room): Room {
  const hush = <T extends { speaking: boolean }>(all: readonly T[] = []) => all.map((one) => ({ ...one, speaking: false }));
  return { ...room, publishers: hush(room.publishers), participants: hush(room.participants) };
}

// Numbers in names count as numbers: console-2 comes before console-10.
export function compare(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true });
}

// TEST is how publishers of the connection test are called; they are nobody's camera.
export const TEST = 'connection-test-';

export function publishers(room: Room | undefined): Publisher[] {
  return (room?.publishers ?? []).filter((p) => !p.name.startsWith(TEST)).sort((a, b) => compare(a.name, b.name));
}

export function participants(room: Room | undefined): Participant[] {
  return [...(room?.participants ?? [])].sort((a, b) => a.since.localeCompare(b.since) || a.id.localeCompare(b.id));
}

// open reports whether there is anybody or anything in a room but a connection test.
export function open(room: Room): boolean {
  return publishers(room).length > 0 || participants(room).length > 0;
}

export function video(publisher: Publisher): Track | undefined {
  return publisher.tracks.find((t) => t.kind === 'video');
}

// pictures are the room's video tracks in an order that does not jump: by publisher.
export function pictures(room: Room | undefined): Track[] {
  return publishers(room).flatMap((p) => video(p) ?? []);
}

// watchers are the participants who watch a track, by name.
export function watchers(room: Room | undefined, track: Track): Participant[] {
  return participants(room).filter((p) => track.watchers?.includes(p.id));
}
