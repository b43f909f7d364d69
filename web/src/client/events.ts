// What happens in a room, or in all of them: the gateway's server-sent events (docs/API.md).
//
// The stream is read with fetch, with and without a token: EventSource can't send one, and
// hides why it was refused and for how long.
import { Refused, ask } from './http.ts';
import { Backoff, Pause } from './retry.ts';
import type { Participant, Room, Track } from './rooms.ts';

const SILENCE = 35_000; // ms; the gateway says something every 15 s, or the connection is dead

interface Base {
  id: string;
  time: string;
  room: string;
}

export type RoomEvent = Base &
  (
    | { type: 'snapshot'; rooms: Room[] }
    | { type: 'track' | 'track-removed'; track: Track }
    | { type: 'room' | 'room-closed' }
    | { type: 'room-moved'; reason: string } // to another gateway, where a stream goes on with a snapshot
    | { type: 'speaking'; speakers: string[] }
    | { type: 'participant' | 'participant-left'; participant: Participant }
    | { type: 'session-ending'; ending: { session?: string; publisher?: string; participant?: string; reason: 'expired' | 'revoked'; at: string } }
  );

export interface FollowOptions {
  token?: string | undefined;
  signal: AbortSignal; // ends it
  onEvent(event: RoomEvent): void;
  // open: what was told is what is. lost: it may be old, and err says why if the gateway
  // has refused.
  // A room that has moved is lost only if it is not found again at once.
  onState?(state: 'open' | 'lost', err?: Refused): void;
}

// follow tells every event at url until signal is aborted, over reconnections: they go on
// behind the last event, or with a snapshot.
export async function follow(url: string, { token, signal, onEvent, onState }: FollowOptions): Promise<void> {
  const backoff = new Backoff([500, 1_000, 2_000, 4_000]);
  const pause = new Pause();
  const hurry = () => pause.wake();
  globalThis.addEventListener?.('online', hurry);
  let last = ''; // id
  while (!signal.aborted) {
    let asked: number | undefined;
    let refused: Refused | undefined;
    let moved = false;
    const connection = new AbortController();
    const stop = () => connection.abort(signal.reason);
    signal.addEventListener('abort', stop);
    let silence: ReturnType<typeof setTimeout> | undefined;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => connection.abort(), SILENCE);
    };
    heard();
    try {
      const headers: Record<string, string> = { Accept: 'text/event-stream' };
      if (last) headers['Last-Event-ID'] = last;
      const res = await ask(url, token, { headers, signal: connection.signal, timeout: Infinity });
      // A page with 200 is that of something in between, such as a guest network's.
      const isStream = /^text\/event-stream\b/i.test(res.headers.get('Content-Type') ?? '');
      if (res.status !== 200 || !res.body || !isStream) throw await Refused.from(res);
      onState?.('open');
      for await (const message of messages(res.body, heard)) {
        backoff.reset();
        if (message.id) last = message.id;
        if (message.retry !== undefined) asked = message.retry;
        const event = parse(message.data);
        if (!event || signal.aborted) continue;
        moved = event.type === 'room-moved';
        onEvent(event);
      }
    } catch (err) {
      if (err instanceof Refused) [refused, asked] = [err, err.retryAfter];
    }
    clearTimeout(silence);
    signal.removeEventListener('abort', stop);
    connection.abort();
    if (signal.aborted) break;
    if (!moved) onState?.('lost', refused);
    await pause.of(backoff.next(asked), signal);
  }
  globalThis.removeEventListener?.('online', hurry);
}

function parse(data: string): RoomEvent | undefined {
  if (!data) return undefined;
  try {
    return JSON.parse(data) as RoomEvent;
  } catch {
    return undefined; // of a later gateway, or garbage: the next snapshot puts it right
  }
}

interface Message {
  id?: string;
  data: string;
  retry?: number; // ms
}

// messages reads an event stream (HTML, section 9.2.6), heard at each piece of it.
export async function* messages(body: ReadableStream<Uint8Array>, heard: () => void = () => {}): AsyncGenerator<Message> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  let message: Message = { data: '' };
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      rest += decoder.decode(value, { stream: true });
      // A CR at the end may be the first half of a CRLF.
      const lines = rest.split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop() ?? '';
      for (const line of lines) {
        if (line === '') {
          if (message.data || message.id || message.retry !== undefined) yield { ...message, data: message.data.replace(/\n$/, '') };
          message = { data: '' };
          continue;
        }
        const [, field, content = ''] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
        if (field === 'data') message.data += `${content}\n`;
        else if (field === 'id') message.id = content;
        else if (field === 'retry' && /^\d+$/.test(content)) message.retry = Number(content);
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

// Known is what the events have told: rooms by name. Readings that flow, such as bit
// rates, are in no event and therefore as old as the track's last one.
export class Known {
  readonly rooms = new Map<string, Room>();

  // take applies an event and returns whether anything may have changed.
  take(event: RoomEvent): boolean {
    if (event.type === 'snapshot') {
      this.rooms.clear();
      for (const room of event.rooms) this.rooms.set(room.name, room);
      return true;
    }
    if (event.type === 'room-closed') return this.rooms.delete(event.room);
    if (event.type === 'room-moved') return false; // the next snapshot tells what is there
    const room = this.#room(event.room, event.time);
    switch (event.type) {
      case 'track':
        this.#put(room, event.track);
        break;
      case 'track-removed':
        for (const p of room.publishers) if (p.name === event.track.publisher) p.tracks = p.tracks.filter((t) => t.id !== event.track.id);
        room.publishers = room.publishers.filter((p) => p.tracks.length);
        break;
      case 'speaking':
        for (const p of room.publishers) p.speaking = event.speakers.includes(p.name);
        for (const p of room.participants ?? []) p.speaking = event.speakers.includes(p.publishers[0] ?? '');
        break;
      case 'participant':
        room.participants = [...(room.participants ?? []).filter((p) => p.id !== event.participant.id), event.participant];
        break;
      case 'participant-left':
        room.participants = (room.participants ?? []).filter((p) => p.id !== event.participant.id);
        break;
    }
    return true;
  }

  #room(name: string, since: string): Room {
    let room = this.rooms.get(name);
    if (!room) {
      room = { name, since, viewers: 0, listeners: 0, mix: '', publishers: [], participants: [] };
      this.rooms.set(name, room);
    }
    return room;
  }

  #put(room: Room, track: Track): void {
    let publisher = room.publishers.find((p) => p.name === track.publisher);
    if (!publisher) {
      const pair = track.whep.replace(/\/(audio|video)$/, '');
      publisher = {
        name: track.publisher, label: track.label, role: track.role, session: track.session, client: track.client, since: track.since,
        muted: false, speaking: false, whip: pair.replace('/whep/', '/whip/'), whep: pair, returnAudio: '',
        watch: track.watch.replace(/\/(audio|video)$/, ''), tracks: [],
      };
      room.publishers.push(publisher);
    }
    const { label, role, session, client } = track;
    Object.assign(publisher, { label, role, session, client });
    if (track.kind === 'audio') publisher.muted = track.muted;
    const at = publisher.tracks.findIndex((t) => t.id === track.id);
    if (at < 0) publisher.tracks.push(track);
    else publisher.tracks[at] = track;
  }
}

// returning is a room that was elsewhere a moment ago, as it is to be shown: with what was there and
// has not come back yet. A track that is there again, but has no picture, is what it was.
export function returning(now: Room | undefined, before: Room): Room {
  if (!now) return before;
  const lacks = <T extends { name: string }>(all: readonly T[]) => (old: T) => !all.some((a) => a.name === old.name);
  const publishers = now.publishers.map((p) => {
    const was = before.publishers.find((b) => b.name === p.name)?.tracks ?? [];
    const tracks = p.tracks.map((t) => {
      const old = was.find((o) => o.id === t.id);
      return old && t.state === 'connecting' ? { ...old, session: t.session } : t;
    });
    return { ...p, tracks: [...tracks, ...was.filter((o) => !tracks.some((t) => t.id === o.id))] };
  });
  const people = now.participants ?? [];
  return {
    ...now,
    publishers: [...publishers, ...before.publishers.filter(lacks(now.publishers))],
    participants: [...people, ...(before.participants ?? []).filter(lacks(people))],
  };
}
