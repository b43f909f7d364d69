import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { Clock, settle } from '../testing/clock.ts';
import { FakeGateway, problem, unreachable } from '../testing/gateway.ts';
import { Known, follow, messages, returning, type RoomEvent } from './events.ts';
import { Refused } from './http.ts';
import type { Participant, Room, Track } from './rooms.ts';

const clock = Clock.install();
const URL = 'https://gateway.example/api/rooms/mri-2/events';

// A Stream is an answer that the test writes.
class Stream {
  #controller!: ReadableStreamDefaultController<Uint8Array>;
  response: Response;

  constructor(signal?: AbortSignal) {
    const body = new ReadableStream<Uint8Array>({ start: (c) => void (this.#controller = c) });
    this.response = new Response(body, { status: 200, headers: { 'Content-Type': 'text/event-stream' } });
    signal?.addEventListener('abort', () => this.#controller.error(signal.reason));
  }

  async write(text: string): Promise<void> {
    this.#controller.enqueue(new TextEncoder().encode(text));
    await settle();
  }

  async event(event: object & { id: string }): Promise<void> {
    await this.write(`id: ${event.id}\ndata: ${JSON.stringify(event)}\n\n`);
  }

  async end(): Promise<void> {
    this.#controller.close();
    await settle();
  }
}

let gateway: FakeGateway;
let streams: Stream[];
let stop: AbortController;
let told: RoomEvent[];
let states: string[];

beforeEach(() => {
  streams = [];
  told = [];
  states = [];
  stop = new AbortController();
  gateway = FakeGateway.install((_, signal) => {
    streams.push(new Stream(signal));
    return streams.at(-1)!.response;
  });
});

async function start(token?: string): Promise<void> {
  void follow(URL, {
    token,
    signal: stop.signal,
    onEvent: (e) => told.push(e),
    onState: (s, err) => states.push(err ? `${s} ${err.status}` : s),
  });
  await settle();
}

const snapshot = { type: 'snapshot', id: '1', time: '', room: 'mri-2', rooms: [] };
const speaking = { type: 'speaking', id: '2', time: '', room: 'mri-2', speakers: ['console'] };

test('events are told as they come, with the token', async () => {
  await start('t0ken');
  await streams[0]!.event(snapshot);
  await streams[0]!.event(speaking);
  assert.deepEqual(told, [snapshot, speaking]);
  assert.equal(gateway.asked[0]?.headers.Authorization, 'Bearer t0ken');
  assert.equal('Last-Event-ID' in gateway.asked[0]!.headers, false);
  stop.abort();
});

test('a stream that ends is taken up behind the last event, when the gateway wants', async () => {
  await start();
  await streams[0]!.write('retry: 2000\n\n');
  await streams[0]!.event(speaking);
  await streams[0]!.end();
  await clock.advance(1_999);
  assert.equal(streams.length, 1);
  await clock.advance(1);
  assert.equal(gateway.asked[1]?.headers['Last-Event-ID'], '2');
  assert.deepEqual(states, ['open', 'lost', 'open']);
  stop.abort();
});

test('silence of more than two pings is a dead connection', async () => {
  await start();
  await streams[0]!.event(snapshot);
  for (let i = 0; i < 4; i++) {
    await clock.advance(15_000);
    await streams[0]!.write(': ping\n\n');
  }
  assert.equal(streams.length, 1);
  await clock.advance(35_000 + 500);
  assert.equal(streams.length, 2);
  stop.abort();
});

test('a gateway that is not there is asked again, more and more rarely', async () => {
  gateway.answer = unreachable;
  await start();
  await clock.advance(500 + 1_000 + 2_000 + 4_000 + 4_000);
  assert.equal(gateway.asked.length, 6);
  stop.abort();
  await clock.advance(60_000);
  assert.equal(gateway.asked.length, 6);
});

test('a refusal is told, and its Retry-After obeyed', async () => {
  gateway.answer = () => problem(503, 'too many streams', { 'Retry-After': '7' });
  await start();
  await clock.advance(6_999);
  assert.deepEqual(states, ['lost 503']);
  assert.equal(gateway.asked.length, 1);
  await clock.advance(1);
  assert.equal(gateway.asked.length, 2);
  stop.abort();
});

test('who stops following hears nothing more, and leaves nothing behind', async () => {
  const before = clock.pending;
  await start();
  stop.abort();
  await settle();
  assert.equal(clock.pending, before);
  assert.deepEqual(states, ['open']);
});

test('an event stream is read however it is cut, and whatever its line ends are', async () => {
  const text = ': hello\r\n\r\nid: 7\r\ndata: {"a":\r\ndata: 1}\r\n\r\nretry: 50\r\n\r\ndata:x\n\nignored: y\ndata: unfinished';
  for (const size of [1, 2, 3, 1000]) {
    const bytes = new TextEncoder().encode(text);
    const body = new ReadableStream<Uint8Array>({
      start(c) {
        for (let i = 0; i < bytes.length; i += size) c.enqueue(bytes.slice(i, i + size));
        c.close();
      },
    });
    const got = [];
    for await (const m of messages(body)) got.push(m);
    assert.deepEqual(got, [{ id: '7', data: '{"a":\n1}' }, { data: '', retry: 50 }, { data: 'x' }], `in pieces of ${size}`);
  }
});

test('a room is known from its snapshot and every event since', () => {
  const known = new Known();
  const track = (kind: string, more: object = {}) =>
    ({ id: `console/${kind}`, room: 'mri-2', publisher: 'console', kind, label: '', role: 'hospital', whep: `/whep/mri-2/console/${kind}`, watch: '', muted: false, ...more }) as Track;
  const take = (e: object) => known.take({ id: '', time: '', room: 'mri-2', ...e } as RoomEvent);
  const room = () => known.rooms.get('mri-2')!;

  take({ type: 'snapshot', rooms: [] });
  take({ type: 'room' });
  take({ type: 'track', track: track('audio') });
  take({ type: 'track', track: track('video', { label: 'Console' }) });
  assert.deepEqual(room().publishers.map((p) => [p.name, p.label, p.whip, p.tracks.length]), [['console', 'Console', '/whip/mri-2/console', 2]]);
  take({ type: 'track', track: track('audio', { muted: true }) });
  assert.equal(room().publishers[0]?.muted, true);
  take({ type: 'participant', participant: { id: 'p', publishers: ['console'], hand: false } as unknown as Participant });
  take({ type: 'participant', participant: { id: 'p', publishers: ['console'], hand: true } as unknown as Participant });
  take({ type: 'speaking', speakers: ['console'] });
  assert.equal(room().publishers[0]?.speaking, true);
  assert.deepEqual(room().participants?.map((p) => [p.hand, p.speaking]), [[true, true]]);
  take({ type: 'participant-left', participant: { id: 'p' } as Participant });
  assert.deepEqual(room().participants, []);
  take({ type: 'track-removed', track: track('audio') });
  assert.equal(room().publishers[0]?.tracks.length, 1);
  take({ type: 'track-removed', track: track('video') });
  assert.deepEqual(room().publishers, []);
  take({ type: 'room-closed' });
  assert.equal(known.rooms.size, 0);
  take({ type: 'snapshot', rooms: [{ name: 'ct-1' } as Room] });
  assert.deepEqual([...known.rooms.keys()], ['ct-1']);
});

test('a refusal is an error with the gateway’s words', async () => {
  const err = await Refused.from(problem(403, 'the token is for other rooms'));
  assert.deepEqual([err.status, err.message, err.kind, err.retryAfter], [403, 'the token is for other rooms', 'test', undefined]);
  assert.equal((await Refused.from(new Response('<html>', { status: 502 }))).message, 'status 502');
});

test('a stream that ends before it has said anything is opened more and more rarely', async () => {
  gateway.answer = () => new Response('', { headers: { 'Content-Type': 'text/event-stream' } });
  await start();
  await clock.advance(500 + 1_000 + 2_000 + 4_000 + 4_000);
  assert.equal(gateway.asked.length, 6);
  stop.abort();
});

test('the page of something in between is no stream', async () => {
  gateway.answer = () => new Response('<h1>Sign in to the guest network</h1>', { headers: { 'Content-Type': 'text/html' } });
  await start();
  await clock.advance(500 + 1_000 + 2_000);
  assert.equal(gateway.asked.length, 4);
  assert.deepEqual(states, ['lost 200', 'lost 200', 'lost 200', 'lost 200']);
  assert.deepEqual(told, []);
  stop.abort();
});

test('a stream whose room has moved is taken up at once, and nobody is told that it was lost', async () => {
  await start();
  await streams[0]!.write('retry: 2000\n\n');
  await streams[0]!.event(snapshot);
  await streams[0]!.write(`retry: 100\nid: 3\ndata: ${JSON.stringify({ type: 'room-moved', id: '3', time: '', room: 'mri-2', reason: 'drained' })}\n\n`);
  await streams[0]!.end();
  gateway.answer = unreachable;
  await clock.advance(100);
  assert.deepEqual(states, ['open', 'lost'], 'it is lost if the room is not found');
  gateway.answer = (_, signal) => {
    streams.push(new Stream(signal));
    return streams.at(-1)!.response;
  };
  await clock.advance(500);
  assert.equal(streams.length, 2);
  await streams[1]!.event({ ...snapshot, id: '9' });
  assert.deepEqual(told.map((e) => e.type), ['snapshot', 'room-moved', 'snapshot']);
  stop.abort();
});

test('what has not come back after a move stays as it was, and what has come back is what it is', () => {
  const track = (publisher: string, state: string, session: string) => ({ id: `${publisher}/video`, publisher, state, session }) as Track;
  const publisher = (name: string, ...tracks: Track[]) => ({ name, label: name, tracks }) as unknown as Room['publishers'][number];
  const person = (name: string, id: string) => ({ name, id }) as Participant;
  const before = { name: 'r', publishers: [publisher('a', track('a', 'live', '1')), publisher('b', track('b', 'live', '2')), publisher('c', track('c', 'connecting', '3'))], participants: [person('Anna', '1'), person('Ben', '2')] } as Room;
  assert.equal(returning(undefined, before), before);
  const now = { name: 'r', publishers: [publisher('a', track('a', 'connecting', '4')), publisher('b', track('b', 'stalled', '5'))], participants: [person('Ben', '7')] } as Room;
  const got = returning(now, before);
  assert.deepEqual(got.publishers.map((p) => p.tracks.map((t) => [t.id, t.state, t.session])), [[['a/video', 'live', '4']], [['b/video', 'stalled', '5']], [['c/video', 'connecting', '3']]]);
  assert.deepEqual(got.participants?.map((p) => [p.name, p.id]), [['Ben', '7'], ['Anna', '1']]);
  assert.deepEqual(now.publishers.length, 2, 'what is known is not changed');
});
