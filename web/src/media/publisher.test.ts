import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { Clock, settle } from '../testing/clock.ts';
import { FakeGateway, problem, silent, unreachable, type Asked } from '../testing/gateway.ts';
import { FakePeer, FakeTrack } from '../testing/peer.ts';
import { explain, preferred, remember } from './devices.ts';
import { Publisher, type PublisherOptions } from './publisher.ts';

const clock = Clock.install();
FakePeer.install();

// The machine's devices: plugged in by id.
class Machine extends EventTarget {
  plugged = new Map<string, string>(); // error by id, '' if it works
  opened: FakeTrack[] = [];
  asked: MediaStreamConstraints[] = [];

  getUserMedia = async (constraints: MediaStreamConstraints) => {
    this.asked.push(constraints);
    const [kind, wanted] = Object.entries(constraints)[0] as ['audio' | 'video', MediaTrackConstraints];
    const id = (wanted.deviceId as { exact: string } | undefined)?.exact ?? [...this.plugged.keys()][0];
    if (id === undefined) throw new DOMException('', 'NotFoundError');
    const error = this.plugged.get(id);
    if (error === undefined) throw Object.assign(new DOMException('', 'OverconstrainedError'), { constraint: 'deviceId' });
    if (error) throw new DOMException('', error);
    const track = Object.assign(new FakeTrack(kind, id), { label: `${kind} ${id}`, getSettings: () => ({ deviceId: id }), onended: null });
    this.opened.push(track);
    return { getTracks: () => [track] };
  };

  pull(id: string): void {
    this.plugged.delete(id);
    for (const t of this.opened) {
      if (t.id !== id || t.readyState === 'ended') continue;
      t.readyState = 'ended';
      (t as unknown as { onended: (() => void) | null }).onended?.();
    }
    this.dispatchEvent(new Event('devicechange'));
  }

  plug(id: string): void {
    this.plugged.set(id, '');
    this.dispatchEvent(new Event('devicechange'));
  }
}

const storage = new Map<string, string>();
const page = new EventTarget();
let machine: Machine;
let gateway: FakeGateway;
let post: (asked: Asked) => Response;
let remove: () => Response | Promise<Response>;
Object.assign(globalThis, {
  addEventListener: page.addEventListener.bind(page),
  removeEventListener: page.removeEventListener.bind(page),
  localStorage: { getItem: (k: string) => storage.get(k) ?? null, setItem: (k: string, v: string) => storage.set(k, v) },
  AudioContext: class {
    state = 'running';
    createMediaStreamSource = () => ({ connect() {}, disconnect() {} });
    createAnalyser = () => ({ fftSize: 0, getFloatTimeDomainData() {} });
    close = async () => {};
  },
});

beforeEach(() => {
  machine = new Machine();
  machine.plugged.set('cam-1', '').set('cam-2', '');
  storage.clear();
  Object.defineProperty(globalThis, 'navigator', { value: { mediaDevices: machine }, configurable: true });
  post = () => new Response('v=0\r\na=ice-ufrag:r\r\na=ice-pwd:r\r\n', { status: 201, headers: { Location: '/sessions/x', ETag: '"a"' } });
  remove = () => new Response('');
  gateway = FakeGateway.install((asked) => (asked.method === 'POST' ? post(asked) : asked.method === 'DELETE' ? remove() : new Response('')));
});

const ended = (cause: string) => () => new Response('', { headers: { 'Sightline-Ended': cause } });

async function start(options: Partial<PublisherOptions> = {}): Promise<{ publisher: Publisher; states: string[] }> {
  const publisher = new Publisher({ endpoint: 'https://gateway.example/whip/mri-2/console', source: 'camera', device: 'cam-1', ...options });
  const states: string[] = [];
  publisher.addEventListener('state', () => states.at(-1) === publisher.state || states.push(publisher.state));
  publisher.start();
  await settle();
  return { publisher, states };
}

test('a camera goes live within its limits, and can be paused', async () => {
  const { publisher, states } = await start({ quality: '1080p', frameRate: 15, maxBitrate: 2_000_000 });
  assert.deepEqual(machine.asked[0]?.video, { deviceId: { exact: 'cam-1' }, width: { ideal: 1920 }, height: { ideal: 1080 }, frameRate: { ideal: 15, max: 30 } });
  assert.deepEqual(FakePeer.last.transceivers[0]?.sender.parameters.encodings, [{ maxBitrate: 2_000_000, maxFramerate: 15 }]);
  FakePeer.last.become('connected');
  publisher.paused = true;
  assert.equal(machine.opened[0]?.enabled, false);
  publisher.paused = false;
  assert.equal(machine.opened[0]?.enabled, true);
  publisher.stop();
  assert.deepEqual(states, ['starting', 'connecting', 'live', 'paused', 'live', 'idle']);
  await settle();
  assert.equal(machine.opened[0]?.readyState, 'ended');
  assert.equal(gateway.of('DELETE').length, 1);
});

test('a session that connects before it is known is live, too', async (t) => {
  const answered = FakePeer.prototype.setRemoteDescription;
  t.after(() => (FakePeer.prototype.setRemoteDescription = answered));
  FakePeer.prototype.setRemoteDescription = async function (answer) {
    await answered.call(this, answer);
    this.become('connected');
  };
  const { publisher } = await start();
  assert.equal(publisher.state, 'live');
  publisher.stop();
});

test('a codec that encodes nothing is given up for another', async () => {
  let codec = 'H264';
  post = () => new Response(`v=0\r\na=ice-ufrag:r\r\na=ice-pwd:r\r\nm=video 9 UDP/TLS/RTP/SAVPF 102\r\na=rtpmap:102 ${codec}/90000\r\n`, { status: 201, headers: { Location: '/sessions/x', ETag: '"a"' } });
  const { publisher } = await start();
  const first = FakePeer.last;
  first.transceivers[0]!.sender.encoded = 0;
  await clock.advance(6_000); // it is not connected: nothing is known of the codec
  assert.equal(FakePeer.last, first);
  first.become('connected');
  codec = 'VP8';
  await clock.advance(6_500);
  assert.notEqual(FakePeer.last, first);
  assert.deepEqual(FakePeer.last.transceivers[0]?.preferences?.map((c) => c.mimeType), ['video/VP8', 'video/AV1', 'video/H264', 'video/rtx']);
  const second = FakePeer.last;
  second.become('connected');
  await clock.advance(20_000);
  assert.equal(FakePeer.last, second);
  publisher.stop();
});

test('a pause begins and ends with a keyframe, so that nobody is sent what was before', async () => {
  const { publisher } = await start();
  const shrink = () => FakePeer.last.transceivers[0]?.sender.parameters.encodings[0]?.scaleResolutionDownBy;
  FakePeer.last.become('connected');
  publisher.paused = true;
  await clock.advance(100);
  assert.equal(shrink(), undefined); // a frame of the room could still be on its way
  await clock.advance(100);
  assert.equal(shrink(), 4);
  publisher.paused = false;
  await settle();
  assert.equal(shrink(), 1);
  publisher.paused = true;
  publisher.paused = false;
  await clock.advance(500);
  assert.equal(shrink(), 1);
  publisher.stop();
});

test('a camera that is unplugged comes back in the same session, and no other takes its place', async () => {
  const { publisher, states } = await start();
  const lost: unknown[] = [];
  publisher.addEventListener('devicelost', (e) => lost.push((e as CustomEvent).detail));
  FakePeer.last.become('connected');
  machine.pull('cam-1');
  await clock.advance(12_000);
  assert.equal(publisher.state, 'device-lost');
  assert.deepEqual(lost, [{ device: 'cam-1', label: 'video cam-1', instead: undefined }]);
  machine.plug('cam-1');
  await settle();
  assert.equal(publisher.state, 'live');
  assert.equal(FakePeer.last.transceivers[0]?.sender.track, machine.opened[1]);
  assert.equal(gateway.of('POST').length, 1);
  assert.deepEqual(states, ['starting', 'connecting', 'live', 'device-lost', 'live']);
  publisher.stop();
});

test('a camera that nobody chose is kept to as well', async () => {
  const { publisher } = await start({ device: undefined });
  FakePeer.last.become('connected');
  machine.pull('cam-1');
  await clock.advance(6_000);
  assert.equal(publisher.state, 'device-lost');
  publisher.stop();
});

test('a microphone that is unplugged gives way to another', async () => {
  const { publisher } = await start({ source: 'microphone' });
  const lost: { instead?: string }[] = [];
  publisher.addEventListener('devicelost', (e) => lost.push((e as CustomEvent).detail));
  FakePeer.last.become('connected');
  machine.pull('cam-1');
  await settle();
  assert.equal(publisher.state, 'live');
  assert.deepEqual(lost.map((l) => l.instead), [undefined, 'audio cam-2']);
  assert.equal(preferred('audioinput', [{ deviceId: 'cam-1', label: '' }, { deviceId: 'cam-2', label: '' }])?.deviceId, 'cam-1', 'it is still the preferred one');
  publisher.stop();
});

test('another camera is shown without another session', async () => {
  const { publisher } = await start();
  FakePeer.last.become('connected');
  await publisher.replace('cam-2');
  assert.equal(FakePeer.last.transceivers[0]?.sender.track, machine.opened[1]);
  assert.equal(machine.opened[0]?.readyState, 'ended');
  await assert.rejects(publisher.replace('cam-9'));
  assert.equal(machine.opened[1]?.readyState, 'live');
  assert.equal(gateway.of('POST').length, 1);
  publisher.stop();
});

test('a device that is not allowed is a failure with advice', async () => {
  machine.plugged.set('cam-1', 'NotAllowedError');
  const { publisher } = await start();
  assert.equal(publisher.state, 'failed');
  assert.equal(publisher.trouble?.reason, 'denied');
  await clock.advance(60_000);
  assert.equal(machine.asked.length, 1);
  assert.equal(gateway.asked.length, 0);
});

test('a device that another program has is tried again', async () => {
  machine.plugged.set('cam-1', 'NotReadableError');
  const { publisher } = await start();
  assert.equal(publisher.state, 'device-lost');
  machine.plugged.set('cam-1', '');
  await clock.advance(5_000);
  FakePeer.last.become('connected');
  assert.equal(publisher.state, 'live');
  publisher.stop();
});

test('a session that is lost is followed by another, with the same camera', async () => {
  const { publisher, states } = await start();
  FakePeer.last.become('connected');
  FakePeer.last.transport.become('closed');
  await clock.advance(300);
  assert.equal(gateway.of('POST').length, 2);
  FakePeer.last.become('connected');
  assert.deepEqual(states.slice(-2), ['connecting', 'live'], 'no alarm: it is back in a moment');
  assert.equal(machine.opened.length, 1);
  publisher.stop();
});

test('however often the gateway ends a session of its own accord, the next one begins at once', async () => {
  for (const cause of [ended('moved'), ended('draining'), () => problem(404, 'no such session'), unreachable]) {
    remove = cause;
    const { publisher, states } = await start();
    for (let i = 0; i < 8; i++) {
      FakePeer.last.become('connected');
      await clock.advance(5_000);
      const before = gateway.of('POST').length;
      FakePeer.last.transport.become('closed');
      await clock.advance(300);
      assert.equal(gateway.of('POST').length, before + 1, `the ${i}th time`);
    }
    assert.ok(!states.includes('reconnecting'), states.join());
    publisher.stop();
  }
});

test('a gateway that dies before it is connected is noticed, each time', async () => {
  gateway.answer = (asked) => (asked.method === 'POST' ? post(asked) : problem(404, 'no such session'));
  const { publisher } = await start();
  for (let i = 1; i < 8; i++) {
    await clock.advance(2_000 + 300);
    assert.equal(gateway.of('POST').length, i + 1);
  }
  publisher.stop();
});

for (const [who, answer] of [['two who take a name from each other do so', ended('replaced')], ['who is not told why he loses it comes back', silent]] as const) {
  test(`${who} more and more rarely`, async () => {
    remove = answer;
    const { publisher } = await start();
    for (let i = 0; i < 8; i++) {
      FakePeer.last.become('connected');
      FakePeer.last.transport.become('closed');
      await clock.advance(10_000);
    }
    FakePeer.last.become('connected');
    const before = gateway.of('POST').length;
    FakePeer.last.transport.become('closed');
    await clock.advance(9_999);
    assert.equal(gateway.of('POST').length, before);
    if (answer !== silent) assert.equal(publisher.words, 'The name is taken');
    publisher.stop();
  });
}

test('who stops while a session begins leaves none behind', async (t) => {
  const peer = FakePeer.prototype.addTransceiver;
  t.after(() => (FakePeer.prototype.addTransceiver = peer));
  let set = () => {};
  FakePeer.prototype.addTransceiver = function (...args) {
    const transceiver = peer.apply(this, args);
    transceiver.sender.setParameters = () => new Promise((resolve) => (set = resolve));
    return transceiver;
  };
  const { publisher } = await start();
  publisher.stop();
  set();
  await settle();
  assert.equal(publisher.state, 'idle');
  assert.equal(FakePeer.last.connectionState, 'closed');
  assert.equal(gateway.of('DELETE').length, 1);
});

test('what is in the gateway’s place for a while ends no camera', async () => {
  post = () => new Response('404 page not found', { status: 404 });
  const { publisher } = await start();
  await clock.advance(60_000);
  assert.equal(publisher.state, 'reconnecting');
  publisher.stop();
});

test('what the gateway says is said to the user, and obeyed', async () => {
  for (const [status, state, again] of [[403, 'refused', false], [422, 'failed', false], [503, 'reconnecting', true], [409, 'reconnecting', true]] as const) {
    post = () => problem(status, 'the room is full', { 'Retry-After': '5' });
    const { publisher } = await start();
    assert.equal(publisher.state, state);
    assert.equal(publisher.detail, 'The room is full.');
    const before = gateway.of('POST').length;
    await clock.advance(4_900);
    assert.equal(gateway.of('POST').length, before);
    await clock.advance(100);
    assert.equal(gateway.of('POST').length, before + Number(again));
    publisher.stop();
  }
});

test('a stream that is given is published in place of a device, and is not stopped', async () => {
  const publisher = new Publisher({ endpoint: 'https://gateway.example/whip/mri-2/console', source: 'camera' });
  const tracks = [new FakeTrack('audio'), new FakeTrack('video')];
  publisher.stream = { getTracks: () => tracks } as unknown as MediaStream;
  publisher.start();
  await settle();
  assert.deepEqual(FakePeer.last.transceivers.map((t) => t.sender.track), tracks);
  assert.equal(machine.asked.length, 0);
  publisher.stop();
  assert.deepEqual(tracks.map((t) => t.readyState), ['live', 'live']);
});

test('every error of getUserMedia is explained', () => {
  for (const [name, reason, passes] of [
    ['NotAllowedError', 'denied', false], ['NotFoundError', 'missing', true], ['NotReadableError', 'busy', true], ['OverconstrainedError', 'unfit', false],
    ['SecurityError', 'insecure', false], ['AbortError', 'interrupted', true], ['OddError', 'unknown', true],
  ] as const) {
    const t = explain(new DOMException('', name), 'camera');
    assert.deepEqual([t.reason, t.passes], [reason, passes], name);
    assert.match(t.words, /camera/);
  }
});

test('the preferred device is known by its id, or by its name when ids have changed', () => {
  remember('videoinput', { deviceId: 'a', label: 'HD Camera' });
  const list = [{ deviceId: 'x', label: 'Other' }, { deviceId: 'y', label: 'HD Camera' }];
  assert.equal(preferred('videoinput', [...list, { deviceId: 'a', label: '' }])?.deviceId, 'a');
  assert.equal(preferred('videoinput', list)?.deviceId, 'y');
  assert.equal(preferred('audioinput', list), undefined);
});

test('a publisher in privacy stays in it when its room moves, and asks for no camera', async () => {
  const { publisher, states } = await start();
  FakePeer.last.become('connected');
  publisher.paused = true;
  await clock.advance(500);
  const answers = [() => problem(503, 'no node has the room', { 'Retry-After': '5' }), () => problem(404, 'not found'), post];
  post = (asked) => (answers.length > 1 ? answers.shift()! : answers[0]!)(asked);
  FakePeer.last.transport.become('closed');
  await clock.advance(300);
  assert.equal(gateway.of('POST').length, 2, 'it comes back within 300 ms');
  await clock.advance(2_000);
  assert.equal(gateway.of('POST').length, 4, 'and is not put off for long while the room moves');
  const [video] = FakePeer.last.transceivers;
  assert.equal((video?.sender.track as FakeTrack).enabled, false, 'before the first packet');
  FakePeer.last.become('connected');
  await clock.advance(200);
  assert.equal(publisher.state, 'paused');
  assert.equal(video?.sender.parameters.encodings[0]?.scaleResolutionDownBy, 4);
  assert.deepEqual(states.slice(-2), ['connecting', 'paused']);
  assert.equal(machine.asked.length, 1);
  assert.equal(machine.opened[0]?.readyState, 'live');
  publisher.stop();
});

test('a gateway that is not heard any more is asked for the session, and another one knows nothing of it', async () => {
  let known = true;
  let reports = 0;
  let speaks = true;
  gateway = FakeGateway.install((asked) => (asked.method === 'POST' ? post(asked) : new Response('', { status: known ? 200 : 404 })));
  const { publisher } = await start();
  FakePeer.last.getStats = async () => new Map([['r', { type: 'remote-inbound-rtp', timestamp: speaks ? ++reports : reports }]]);
  FakePeer.last.become('connected');
  await clock.advance(10_000);
  assert.equal(gateway.of('GET').length, 0, 'while it reports it is not asked');
  speaks = false;
  await clock.advance(10_000);
  const asked = gateway.of('GET').length;
  assert.ok(asked >= 6 && asked <= 8, `asked ${asked} times in 10 s of silence, want once a second from 2.5 s on`);
  assert.equal(gateway.of('POST').length, 1, 'it knows the session: all is well');
  known = false;
  await clock.advance(1_500);
  assert.equal(gateway.of('POST').length, 2);
  publisher.stop();
  await clock.advance(1_000);
});
