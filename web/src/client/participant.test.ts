import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { Clock, settle } from '../testing/clock.ts';
import { FakeGateway, problem, unreachable, type Asked } from '../testing/gateway.ts';
import { Participation } from './participant.ts';
import type { Participant, Self } from './rooms.ts';

const clock = Clock.install();
const page = new EventTarget();
Object.assign(globalThis, {
  addEventListener: page.addEventListener.bind(page),
  removeEventListener: page.removeEventListener.bind(page),
});

const ROOM = 'https://gateway.example/api/rooms/mri-2/participants';
const self: Self = { name: 'Dr. Berg', role: 'technician', microphone: 'on', camera: 'off', hand: false, privacy: false, call: '', publishers: ['desk'] };

let gateway: FakeGateway;
let entered: number;
let patch: (asked: Asked) => Response | Promise<Response>;
let states: string[];
let ids: string[];

const says = (id: number, status: number) =>
  new Response(JSON.stringify({ ...self, id: `p${id}` }), { status, headers: { 'Content-Type': 'application/json', Location: `/api/participants/secret-${id}` } });

beforeEach(() => {
  entered = 0;
  states = [];
  ids = [];
  patch = () => says(entered, 200);
  gateway = FakeGateway.install((asked) => {
    if (asked.method === 'POST') return says(++entered, 201);
    if (asked.method === 'PATCH') return patch(asked);
    return new Response(null, { status: 204 });
  });
});

async function enter(): Promise<Participation> {
  const p = new Participation(ROOM, self, {
    token: 't0ken',
    onState: (s, err) => states.push(err ? `${s} ${err.status}` : s),
    onChange: (p: Participant) => ids.at(-1) === p.id || ids.push(p.id),
  });
  p.enter();
  await settle();
  return p;
}

test('a participant enters with what he is, and is kept alive every three seconds', async () => {
  const p = await enter();
  assert.deepEqual(JSON.parse(gateway.asked[0]!.body), self);
  assert.equal(p.participant?.id, 'p1');
  await clock.advance(9_000);
  const beats = gateway.of('PATCH');
  assert.equal(beats.length, 3);
  assert.equal(beats[0]?.url, 'https://gateway.example/api/participants/secret-1');
  assert.equal(beats[0]?.body, '{}');
  assert.equal(beats[0]?.headers.Authorization, 'Bearer t0ken');
  p.leave();
});

test('a change is told at once, and what changes meanwhile goes together', async () => {
  const p = await enter();
  let answer: (res: Response) => void = () => {};
  patch = () => new Promise((resolve) => (answer = resolve));
  p.change({ hand: true });
  await settle();
  p.change({ microphone: 'off' });
  p.change({ microphone: 'on', hand: false });
  await settle();
  assert.deepEqual(gateway.of('PATCH').map((a) => JSON.parse(a.body)), [{ hand: true }]);
  patch = () => says(1, 200);
  answer(says(1, 200));
  await settle();
  assert.deepEqual(gateway.of('PATCH').map((a) => JSON.parse(a.body)), [{ hand: true }, { microphone: 'on', hand: false }]);
  p.leave();
});

test('a participant whom the gateway has forgotten enters anew as what he is now', async () => {
  const p = await enter();
  p.change({ camera: 'on' });
  await settle();
  patch = () => problem(404, 'no such participant');
  await clock.advance(3_000);
  assert.equal(JSON.parse(gateway.of('POST')[1]!.body).camera, 'on');
  assert.deepEqual(ids, ['p1', 'p2']);
  patch = () => says(2, 200);
  await clock.advance(3_000);
  assert.equal(gateway.of('PATCH').at(-1)?.url, 'https://gateway.example/api/participants/secret-2');
  p.leave();
});

test('a change that did not arrive is told again', async () => {
  const p = await enter();
  patch = unreachable;
  p.change({ hand: true });
  await settle();
  assert.deepEqual(states, ['in', 'out']);
  patch = () => says(1, 200);
  await clock.advance(500);
  assert.deepEqual(gateway.of('PATCH').map((a) => a.body), ['{"hand":true}', '{"hand":true}']);
  assert.deepEqual(states, ['in', 'out', 'in']);
  p.leave();
});

test('a change that the gateway does not want is not told again', async () => {
  const p = await enter();
  patch = ({ body }) => (body === '{}' ? says(1, 200) : problem(400, 'name: too long'));
  p.change({ name: 'x'.repeat(1000) });
  await clock.advance(3_000);
  assert.equal(gateway.of('PATCH').at(-1)?.body, '{}');
  assert.deepEqual(states, ['in']);
  p.leave();
});

test('who is refused hears why, and tries again when the gateway says', async () => {
  gateway.answer = () => problem(403, 'the token is for another role', { 'Retry-After': '20' });
  const p = await enter();
  assert.deepEqual(states, ['out 403']);
  await clock.advance(19_000);
  assert.equal(gateway.asked.length, 1);
  await clock.advance(1_000);
  assert.equal(gateway.asked.length, 2);
  p.leave();
});

test('who leaves, or closes the page, is gone at once', async () => {
  for (const leave of [(p: Participation) => p.leave(), () => page.dispatchEvent(new Event('pagehide'))]) {
    const p = await enter();
    leave(p);
    const gone = gateway.of('DELETE').at(-1)!;
    assert.equal(gone.url, `https://gateway.example/api/participants/secret-${entered}`);
    assert.equal(gone.keepalive, true);
    const asked = gateway.asked.length;
    await clock.advance(30_000);
    assert.equal(gateway.asked.length, asked);
    p.leave();
  }
});

test('who leaves while entering is not left in the room', async () => {
  let answer: (res: Response) => void = () => {};
  gateway.answer = (asked) => (asked.method === 'POST' ? new Promise((resolve) => (answer = resolve)) : new Response(null, { status: 204 }));
  const p = await enter();
  p.leave();
  answer(says(1, 201));
  await settle();
  assert.equal(gateway.of('DELETE').length, 1);
});

test('a page that the browser has kept is in the room again', async () => {
  const p = await enter();
  page.dispatchEvent(new Event('pagehide'));
  page.dispatchEvent(Object.assign(new Event('pageshow'), { persisted: true }));
  await settle();
  assert.equal(gateway.of('POST').length, 2);
  p.leave();
  page.dispatchEvent(Object.assign(new Event('pageshow'), { persisted: true }));
  await settle();
  assert.equal(gateway.of('POST').length, 2);
});

test('the call of another is answered, and his hand lowered, by the own URL', async () => {
  const p = await enter();
  await p.answer('p7');
  await p.lower('p8');
  assert.deepEqual(gateway.of('PATCH').map((a) => [a.url, JSON.parse(a.body)]), [
    ['https://gateway.example/api/participants/secret-1', { answer: 'p7' }],
    ['https://gateway.example/api/participants/secret-1', { lower: 'p8' }],
  ]);
  patch = () => problem(409, 'not in the room');
  await assert.rejects(p.lower('p9'), { status: 409 });
  p.leave();
});

test('a hand that another has lowered stays down where the participant enters anew', async () => {
  const p = await enter();
  p.change({ hand: true });
  await settle();
  p.hurry(); // the gateway says that it is down
  await settle();
  patch = () => problem(404, 'no such participant');
  p.hurry();
  await settle();
  assert.equal(JSON.parse(gateway.of('POST')[1]!.body).hand, false);
  p.leave();
});
