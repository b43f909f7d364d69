import assert from 'node:assert/strict';
import { test } from 'node:test';

import { FakeGateway, problem } from '../testing/gateway.ts';
import { Refused, own } from './http.ts';
import { Gateway } from './rooms.ts';

const gateway = new Gateway('https://gateway.example/base', 't0ken');

test('URLs are below the gateway’s root, and take names as they are', () => {
  assert.equal(gateway.whip('mri-2', 'console', { label: 'Console & more', role: 'hospital' }), 'https://gateway.example/base/whip/mri-2/console?label=Console+%26+more&role=hospital');
  assert.equal(gateway.whep('mri-2', 'console', 'video', { participant: 'p1' }), 'https://gateway.example/base/whep/mri-2/console/video?participant=p1');
  assert.equal(gateway.mix('mri-2', { for: 'hospital' }), 'https://gateway.example/base/whep/mri-2/~mix?for=hospital');
  assert.equal(gateway.events('a/b'), 'https://gateway.example/base/api/rooms/a%2Fb/events');
  assert.equal(gateway.events(), 'https://gateway.example/base/api/events');
});

test('questions carry the token, and changes are JSON', async () => {
  const fake = FakeGateway.install(({ url }) => new Response(url.endsWith('/api/rooms') ? '{"rooms":[{"name":"mri-2"}]}' : '{}'));
  assert.deepEqual(await gateway.rooms(), [{ name: 'mri-2' }]);
  await gateway.mute('mri-2', 'console', true);
  assert.equal(fake.asked[0]?.headers.Authorization, 'Bearer t0ken');
  assert.deepEqual(
    fake.of('PATCH').map((a) => [a.url.replace('https://gateway.example/base/api/rooms/mri-2/', ''), a.headers['Content-Type'], a.body]),
    [
      ['publishers/console', 'application/json', '{"muted":true}'],
    ],
  );
});

test('until when somebody is known is told by this machine’s clock, be it right or wrong', async () => {
  const answer = (headers: HeadersInit) => () => new Response('{"who":{"expires":"2026-01-01T10:30:00Z"}}', { headers });
  FakeGateway.install(answer({ Date: 'Thu, 01 Jan 2026 10:00:00 GMT' }));
  const left = Date.parse((await gateway.me()).who!.expires!) - Date.now();
  assert.ok(Math.abs(left - 1_800_000) < 2_000, `${left} ms are left, want half an hour`);
  FakeGateway.install(answer({}));
  assert.equal((await gateway.me()).who!.expires, '2026-01-01T10:30:00Z');
});

test('an answer without a body is no error, and a refusal is one', async () => {
  FakeGateway.install(() => new Response(null, { status: 204 }));
  assert.equal(await gateway.end('mri-2', 'console'), undefined);
  FakeGateway.install(() => problem(403, 'the token lacks the scope'));
  await assert.rejects(gateway.end('mri-2', 'console'), (err) => err instanceof Refused && err.status === 403);
});

test('what a request has made is asked for under the address in use', () => {
  const base = 'http://10.0.0.5:8080/proxy/api/rooms/mri-2/participants';
  assert.equal(own('https://public.example/api/rooms/mri-2/participants/S3', base), 'http://10.0.0.5:8080/proxy/api/rooms/mri-2/participants/S3');
  assert.equal(own('/proxy/api/rooms/mri-2/participants/S3', base), 'http://10.0.0.5:8080/proxy/api/rooms/mri-2/participants/S3');
  assert.equal(own(null, base), undefined);
});
