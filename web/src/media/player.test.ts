import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { Clock, settle } from '../testing/clock.ts';
import { FakeGateway, problem } from '../testing/gateway.ts';
import { FakePeer, FakeTrack } from '../testing/peer.ts';
import { Player } from './player.ts';

const clock = Clock.install();
FakePeer.install();
const page = new EventTarget();
Object.assign(globalThis, {
  addEventListener: page.addEventListener.bind(page),
  removeEventListener: page.removeEventListener.bind(page),
  document: { hidden: false, createElement: () => ({ getContext: () => ({ drawImage() {} }), setAttribute() {}, style: {}, remove() {} }) },
  getComputedStyle: () => ({ objectFit: 'contain', filter: 'none' }),
});

// A Screen is a video element, as far as the player needs one.
class Screen {
  srcObject: unknown = null;
  videoWidth = 0;
  videoHeight = 360;
  muted = false;
  paused = false;
  over: object | undefined; // what stands before the picture
  #shown: ((now: number) => void)[] = [];

  requestVideoFrameCallback(f: (now: number) => void): void {
    this.#shown.push(f);
  }

  after(canvas: { remove: () => void }): void {
    this.over = canvas;
    canvas.remove = () => (this.over = undefined);
  }

  async frame(): Promise<void> {
    this.videoWidth = 640;
    for (const f of this.#shown.splice(0)) f(clock.now);
    await settle();
  }

  // frames shows one each 100 ms.
  async frames(ms: number): Promise<void> {
    for (; ms > 0; ms -= 100) {
      await this.frame();
      await clock.advance(100);
    }
  }
}

let gateway: FakeGateway;
let post: () => Response;
let get: () => Response;
let screen: Screen;
let player: Player;
let states: string[];

beforeEach(async () => {
  post = () => new Response('v=0\r\na=ice-ufrag:r\r\na=ice-pwd:r\r\n', { status: 201, headers: { Location: '/sessions/x', ETag: '"a"' } });
  get = () => new Response('');
  gateway = FakeGateway.install((asked) => (asked.method === 'POST' ? post() : asked.method === 'GET' ? get() : new Response('')));
  screen = new Screen();
  player = new Player(screen as unknown as HTMLVideoElement, 'https://gateway.example/whep/mri-2/console', ['video']);
  states = [];
  player.addEventListener('state', () => states.at(-1) === `${player.state}: ${player.words}` || states.push(`${player.state}: ${player.words}`));
  void player.run();
  await settle();
  await connect();
  await screen.frames(1_000);
  assert.equal(player.state, 'live');
  states = [];
});

async function connect(): Promise<void> {
  FakePeer.last.ontrack?.({ track: new FakeTrack('video') });
  FakePeer.last.become('connected');
  await settle();
}

test('a picture whose room moves quickly is live all the time', async () => {
  FakePeer.last.transport.become('closed');
  await clock.advance(300);
  assert.equal(gateway.of('POST').length, 2);
  const stood = screen.srcObject;
  await connect();
  assert.notEqual(screen.srcObject, stood);
  assert.ok(screen.over, 'the last picture stands until there is a new one');
  await screen.frames(500);
  assert.equal(screen.over, undefined);
  assert.deepEqual(new Set(states), new Set(['live: Live']));
  player.stop();
});

test('a viewer who is earlier than his publisher keeps the last picture, and asks again soon', async () => {
  const found = post;
  post = () => problem(409, 'not live', { 'Retry-After': '2' });
  FakePeer.last.transport.become('closed');
  await clock.advance(1_200);
  assert.ok(gateway.of('POST').length >= 3, `asked ${gateway.of('POST').length - 1} times in 1.2 s`);
  await clock.advance(1_000);
  assert.deepEqual(states.at(-1), 'reconnecting: Moving');
  assert.ok(screen.srcObject && player.hasPicture);
  post = found;
  await clock.advance(2_000);
  await connect();
  await screen.frames(500);
  assert.equal(states.at(-1), 'live: Live');
  assert.ok(!states.some((s) => /frozen|ended|waiting/.test(s)), states.join(', '));
  player.stop();
});

test('a camera that does not come back has stopped', async () => {
  post = () => problem(409, 'not live', { 'Retry-After': '2' });
  FakePeer.last.transport.become('closed');
  await clock.advance(4_000);
  assert.equal(states.at(-1), 'reconnecting: Reconnecting', 'after 3 s it is no longer just moving');
  await clock.advance(4_000);
  assert.equal(player.state, 'ended');
  assert.equal(screen.srcObject, null);
  player.stop();
});

test('a camera whose picture stood still for long before its end has stopped at once', async () => {
  await clock.advance(10_000);
  assert.equal(player.state, 'frozen');
  post = () => problem(409, 'not live', { 'Retry-After': '2' });
  FakePeer.last.transport.become('closed');
  await clock.advance(300);
  assert.equal(player.state, 'ended');
  player.stop();
});

test('a gateway that has died is asked each second, and another one in its place knows nothing of the session', async () => {
  await clock.advance(1_750 + 2_000);
  assert.equal(gateway.of('GET').length, 3);
  get = () => new Response('', { status: 404 });
  await clock.advance(1_000 + 300);
  assert.equal(gateway.of('POST').length, 2);
  player.stop();
});

test('sessions that the gateway ends before anything is shown begin more and more rarely', async () => {
  FakePeer.last.transport.become('closed');
  for (const end = clock.now + 30_000; clock.now < end; await clock.advance(10)) {
    if (FakePeer.last.connectionState !== 'new') continue;
    await connect();
    FakePeer.last.transport.become('closed');
  }
  const posts = gateway.of('POST').length;
  assert.ok(posts <= 15, `${posts} sessions in 30 s`);
  player.stop();
});

test('a picture that goes on at another endpoint is live all the time, if the new session is quick', async () => {
  const other = 'https://gateway.example/whep/mri-2/console?participant=2';
  player.redirect(other);
  await clock.advance(300);
  assert.deepEqual(gateway.of('POST').map((a) => a.url).slice(1), [other]);
  assert.equal(gateway.of('DELETE').length, 1);
  await connect();
  await screen.frames(500);
  assert.deepEqual(new Set(states), new Set(['live: Live']));
  player.redirect(`${other}2`);
  await clock.advance(2_500);
  assert.equal(player.state, 'reconnecting', 'a slow one is told');
  player.stop();
});
