import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { Clock, settle } from '../testing/clock.ts';
import { FakeGateway, problem, silent, unreachable, type Asked } from '../testing/gateway.ts';
import { FakePeer, FakeTrack } from '../testing/peer.ts';
import { Refused } from './http.ts';
import { links, servers, type Session } from './session.ts';
import { play, stereo } from './whep.ts';
import { preferred, publish, type Publication } from './whip.ts';

const clock = Clock.install();
FakePeer.install();
const page = new EventTarget(); // what the session hears of the page
Object.assign(globalThis, {
  addEventListener: page.addEventListener.bind(page),
  removeEventListener: page.removeEventListener.bind(page),
});

const ENDPOINT = 'https://gateway.example/whep/mri-2/console';
const ANSWER = 'v=0\r\na=ice-ufrag:remote\r\na=ice-pwd:remotesecret\r\nm=audio 9\r\na=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 5000 typ host\r\na=end-of-candidates\r\n';
const FRAGMENT = 'a=ice-ufrag:newer\r\na=ice-pwd:newersecret\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 udp 1 192.0.2.9 5000 typ host\r\n';

const created = (headers: Record<string, string> = {}) =>
  new Response(ANSWER, { status: 201, headers: { 'Content-Type': 'application/sdp', Location: '/sessions/s3cret', ETag: '"a"', ...headers } });

let gateway: FakeGateway;
let patch: (asked: Asked) => Response | Promise<Response>;

beforeEach(() => {
  patch = () => new Response(null, { status: 204 });
  gateway = FakeGateway.install((asked) => {
    if (asked.method === 'POST') return created();
    if (asked.method === 'PATCH') return patch(asked);
    return new Response('', { status: 200 });
  });
});

const open = (options: Partial<Parameters<typeof play>[1]> = {}): Promise<Session> => play(ENDPOINT, { kinds: ['audio', 'video'], token: 't0ken', onTrack: () => {}, ...options });

test('the offer is posted as SDP with the token, and asks for stereo', async () => {
  const session = await open();
  const [post] = gateway.asked;
  assert.equal(post?.method, 'POST');
  assert.equal(post.url, ENDPOINT);
  assert.equal(post.headers['Content-Type'], 'application/sdp');
  assert.equal(post.headers.Authorization, 'Bearer t0ken');
  assert.match(post.body, /a=fmtp:111 .*;stereo=1\r\n/);
  assert.deepEqual(session.kinds, ['audio', 'video']);
  session.close();
});

test('without a token there is no Authorization', async () => {
  const session = await open({ token: '' });
  assert.equal('Authorization' in gateway.asked[0]!.headers, false);
  session.close();
});

test('a refusal has status, detail and how long to wait, and leaves no connection', async () => {
  gateway.answer = () => problem(409, 'no publisher "console"', { 'Retry-After': '2' });
  await assert.rejects(open(), (err) => err instanceof Refused && err.status === 409 && err.detail === 'no publisher "console"' && err.retryAfter === 2_000);
  assert.equal(FakePeer.last.connectionState, 'closed');
  assert.equal(gateway.of('DELETE').length, 0);
});

test('a POST that is not answered ends after ten seconds', async () => {
  gateway.answer = silent;
  const failed = assert.rejects(open(), { name: 'TimeoutError' });
  await clock.advance(10_000);
  await failed;
});

test('an answer that breaks off in the middle is none: after ten seconds, or with who waits for it', async () => {
  gateway.answer = (asked, signal) =>
    asked.method === 'POST' ? new Response(new ReadableStream({ start: (c) => signal.addEventListener('abort', () => c.error(signal.reason)) }), created()) : new Response('');
  const late = assert.rejects(open(), { name: 'TimeoutError' });
  await clock.advance(10_000);
  await late;
  const abort = new AbortController();
  const left = assert.rejects(open({ signal: abort.signal }), { name: 'AbortError' });
  await settle();
  abort.abort();
  await left;
});

test('who stops waiting for the answer has no session, and one that was made is deleted', async () => {
  const abort = new AbortController();
  let answer: (res: Response) => void = () => {};
  gateway.answer = (asked) => (asked.method === 'POST' ? new Promise((resolve) => (answer = resolve)) : new Response(''));
  const failed = assert.rejects(open({ signal: abort.signal }));
  await settle();
  answer(created());
  queueMicrotask(() => abort.abort());
  await failed;
  assert.equal(gateway.of('DELETE').length, 1);
});

test('a 307 to another origin is followed with the token, and the session is where it led', async () => {
  const other = 'https://other.example/whep/mri-2/console';
  gateway.answer = ({ method, url, headers }) => {
    if (method === 'DELETE') return new Response('');
    if (url === other && headers.Authorization) return created({ Location: 'https://other.example/sessions/x' });
    // As fetch follows: the answer is the other's, to a request without the token.
    const res = problem(401, 'no token');
    Object.defineProperties(res, { redirected: { value: true }, url: { value: other } });
    return res;
  };
  (await open()).close();
  assert.equal(gateway.of('DELETE')[0]?.url, 'https://other.example/sessions/x');
});

test('a session that is named under the public address is asked under the address in use, below its path', async () => {
  gateway.answer = ({ method }) => (method === 'POST' ? created({ Location: 'https://public.example/base/sessions/x' }) : new Response(''));
  const session = await play('http://10.0.0.5:8080/proxy/whep/mri-2/console', { kinds: ['video'], onTrack: () => {} });
  session.close();
  assert.equal(gateway.of('DELETE')[0]?.url, 'http://10.0.0.5:8080/proxy/sessions/x');
});

test('servers for gathering come from the answer', async () => {
  gateway.answer = ({ method }) =>
    method === 'POST' ? created({ Link: '<turn:turn.example?transport=udp>; rel="ice-server"; username="u"; credential="c"; credential-type="password", <stun:stun.example>; rel="ice-server"' }) : new Response('');
  const session = await open();
  assert.deepEqual(FakePeer.last.configuration.iceServers, [{ urls: 'turn:turn.example?transport=udp', username: 'u', credential: 'c' }, { urls: 'stun:stun.example' }]);
  session.close();
});

test('candidates of a moment go in one PATCH with the ETag, and their end is told', async () => {
  const session = await open();
  const peer = FakePeer.last;
  peer.gather('candidate:1 1 udp 1 10.0.0.1 1000 typ host');
  peer.gather('candidate:2 1 udp 1 10.0.0.2 1000 typ host');
  await clock.advance(20);
  peer.gather(null);
  await clock.advance(0);
  const [first, second] = gateway.of('PATCH');
  assert.equal(first?.headers['If-Match'], '"a"');
  assert.equal(first.headers['Content-Type'], 'application/trickle-ice-sdpfrag');
  assert.equal(
    first.body,
    'a=ice-ufrag:local0\r\na=ice-pwd:secret0\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n' +
      'a=candidate:1 1 udp 1 10.0.0.1 1000 typ host\r\na=candidate:2 1 udp 1 10.0.0.2 1000 typ host\r\n',
  );
  assert.match(second?.body ?? '', /a=mid:0\r\na=end-of-candidates\r\n$/);
  session.close();
});

test('candidates that come too fast for the gateway go again when it says', async () => {
  const session = await open();
  patch = () => problem(429, 'slow down', { 'Retry-After': '3' });
  FakePeer.last.gather('candidate:1 1 udp 1 10.0.0.1 1000 typ host');
  await clock.advance(20);
  patch = () => new Response(null, { status: 204 });
  await clock.advance(2_900);
  assert.equal(gateway.of('PATCH').length, 1);
  await clock.advance(100);
  assert.equal(gateway.of('PATCH')[1]?.body, gateway.of('PATCH')[0]?.body);
  session.close();
});

test('a gateway that asks for candidates again without a wait gets them once a second', async () => {
  const session = await open();
  patch = () => problem(429, 'slow down', { 'Retry-After': '0' });
  FakePeer.last.gather('candidate:1 1 udp 1 10.0.0.1 1000 typ host');
  await clock.advance(20 + 3_000);
  assert.equal(gateway.of('PATCH').length, 4);
  session.close();
});

test('a lost connection restarts ICE: new credentials both ways, a new ETag, the old candidates gone', async () => {
  patch = ({ body }) => (/local1/.test(body) ? new Response(FRAGMENT, { status: 200, headers: { ETag: '"b"' } }) : new Response(null, { status: 204 }));
  const session = await open();
  const peer = FakePeer.last;
  peer.become('connected');
  peer.become('disconnected');
  await clock.advance(499);
  assert.equal(gateway.of('PATCH').length, 0, 'it may come back by itself');
  await clock.advance(1);
  const [restart] = gateway.of('PATCH');
  assert.equal(restart?.headers['If-Match'], '"a"');
  assert.match(restart.body, /a=ice-ufrag:local1\r\na=ice-pwd:secret1/);
  assert.match(peer.remote[1] ?? '', /a=ice-ufrag:newer\r\na=ice-pwd:newersecret\r\n/);
  assert.doesNotMatch(peer.remote[1] ?? '', /candidate/);
  assert.deepEqual(peer.added, [{ candidate: 'candidate:1 1 udp 1 192.0.2.9 5000 typ host', sdpMid: '0' }]);
  peer.become('connected');
  peer.gather('candidate:3 1 udp 1 10.0.0.3 1000 typ host');
  await clock.advance(20_000);
  assert.equal(gateway.of('PATCH')[1]?.headers['If-Match'], '"b"');
  assert.equal(session.restarts, 1);
  session.close();
});

test('a restart whose answer was lost is asked for again without an ETag', async () => {
  patch = ({ headers }) => (headers['If-Match'] === '*' ? new Response(FRAGMENT, { status: 200, headers: { ETag: '"c"' } }) : problem(412, 'another ICE session'));
  const session = await open();
  FakePeer.last.become('connected');
  FakePeer.last.become('failed');
  await clock.advance(0);
  assert.deepEqual(gateway.of('PATCH').map((a) => a.headers['If-Match']), ['"a"', '*']);
  assert.equal(session.restarts, 1);
  session.close();
});

test('a restart is tried until the gateway is reached, and given up after eight seconds', async () => {
  patch = unreachable;
  const session = await open();
  FakePeer.last.become('connected');
  FakePeer.last.become('failed');
  await clock.advance(7_999);
  assert.equal(gateway.of('PATCH').length, 8);
  await clock.advance(1);
  assert.equal(await session.ended, 'lost');
  assert.equal(gateway.of('DELETE').length, 1, 'the gateway shall not keep what nobody uses');
});

test('a session that the gateway does not restart is lost', async () => {
  patch = () => problem(422, 'no restart here');
  const session = await open();
  FakePeer.last.become('connected');
  FakePeer.last.become('failed');
  await clock.advance(0);
  assert.equal(await session.ended, 'lost');
});

test('a session that never connects ends after ten seconds', async () => {
  const session = await open();
  await clock.advance(10_000);
  assert.equal(await session.ended, 'unreachable');
});

test('DTLS that the gateway closes ends the session', async () => {
  const session = await open();
  FakePeer.last.become('connected');
  gateway.answer = () => new Response('', { headers: { 'Sightline-Ended': 'replaced' } });
  FakePeer.last.transport.become('closed');
  assert.equal(await session.ended, 'closed');
  assert.equal(await session.cause, 'replaced');
});

test('a session that the gateway has forgotten ends when it is asked for', async () => {
  const session = await open();
  gateway.answer = () => problem(404, 'no such session');
  await session.check();
  assert.equal(await session.ended, 'closed');
  assert.equal(await session.cause, 'unknown');
});

test('a session that does not connect is asked for: its gateway may be another by now', async () => {
  const session = await open();
  await clock.advance(4_000);
  assert.equal(gateway.of('GET').length, 2);
  gateway.answer = () => problem(404, 'no such session');
  await clock.advance(2_000);
  assert.equal(await session.ended, 'closed');
  await clock.advance(10_000);
  assert.equal(gateway.of('GET').length, 3);
});

test('the DELETE outlives the page, and is sent once', async () => {
  const session = await open();
  page.dispatchEvent(new Event('pagehide'));
  session.close();
  page.dispatchEvent(new Event('pagehide'));
  await settle();
  const deletes = gateway.of('DELETE');
  assert.equal(deletes.length, 1);
  assert.equal(deletes[0]?.url, 'https://gateway.example/sessions/s3cret');
  assert.equal(deletes[0]?.keepalive, true);
  assert.equal(deletes[0]?.headers.Authorization, 'Bearer t0ken');
  assert.equal(await session.ended, 'stopped');
});

test('a session that is over leaves no timer', async () => {
  const before = clock.pending;
  const session = await open();
  FakePeer.last.gather('candidate:1 1 udp 1 10.0.0.1 1000 typ host');
  session.close();
  await settle();
  assert.equal(clock.pending, before);
});

// ---- WHIP ----

const track = (kind: string) => new FakeTrack(kind) as unknown as MediaStreamTrack;

async function publishing(options: Parameters<typeof publish>[1]): Promise<Publication> {
  return publish('https://gateway.example/whip/mri-2/console', options);
}

test('a publication sends its tracks in one stream, H.264 first, within its limits', async () => {
  const publication = await publishing({ audio: track('audio'), video: track('video'), maxBitrate: 1_200_000, maxFramerate: 24 });
  const [audio, video] = FakePeer.last.transceivers;
  assert.equal(audio?.init.direction, 'sendonly');
  assert.equal(video?.init.direction, 'sendonly');
  assert.equal(audio.init.streams?.[0], video.init.streams?.[0]);
  assert.deepEqual(video.preferences?.map((c) => c.mimeType), ['video/H264', 'video/VP8', 'video/AV1', 'video/rtx']);
  assert.deepEqual(video.sender.parameters.encodings, [{ maxBitrate: 1_200_000, maxFramerate: 24 }]);
  assert.doesNotMatch(gateway.asked[0]!.body, /stereo=1/);
  publication.close();
});

test('tracks and limits change without a request', async () => {
  const publication = await publishing({ video: track('video') });
  const other = track('video');
  const before = gateway.asked.length;
  await publication.replace('video', other);
  await publication.limit({ maxBitrate: 300_000 });
  assert.equal(FakePeer.last.transceivers[0]?.sender.track, other);
  assert.equal(FakePeer.last.transceivers[0]?.sender.parameters.encodings[0]?.maxBitrate, 300_000);
  await assert.rejects(publication.replace('audio', track('audio')));
  assert.equal(gateway.asked.length, before);
  publication.close();
});

test('a publication without tracks is none', async () => {
  await assert.rejects(publishing({}));
  assert.equal(gateway.asked.length, 0);
});

test('a publisher learns where it hears the others', async () => {
  gateway.answer = ({ method }) => (method === 'POST' ? created({ Link: '<https://gateway.example/whep/mri-2/~mix?for=console>; rel="urn:sightline:return-audio"' }) : new Response(''));
  const publication = await publishing({ audio: track('audio') });
  assert.equal(publication.returnAudio, 'https://gateway.example/whep/mri-2/~mix?for=console');
  publication.close();
});

// ---- parts ----

test('links are read whatever their parameters', () => {
  assert.deepEqual(servers(links('<stun:a>; rel="ice-server", <https://b>; rel="x", <turns:c>;rel=ice-server;username="u,;"; credential="p"')), [
    { urls: 'stun:a' },
    { urls: 'turns:c', username: 'u,;', credential: 'p' },
  ]);
  assert.deepEqual(links(null), []);
});

test('stereo is asked for once', () => {
  const sdp = 'a=rtpmap:109 opus/48000/2\r\na=fmtp:109 minptime=10;stereo=1\r\n';
  assert.equal(stereo(sdp), sdp);
});

test('codecs that are not wanted stay as they were', () => {
  const all = ['video/VP8', 'video/rtx', 'video/h264'].map((mimeType) => ({ mimeType }));
  assert.deepEqual(preferred(all, []), all);
  assert.equal(preferred(all, ['H264'])[0]?.mimeType, 'video/h264');
});
