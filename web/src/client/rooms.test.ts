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
  await gateway.lowerHand('mri-2', 'p1');
  await gateway.answer('mri-2', 'p1');
  assert.equal(fake.asked[0]?.headers.Authorization, 'Bearer t0ken');
  assert.deepEqual(
    fake.of('PATCH').map((a) => [a.url.replace('https://gateway.example/base/api/rooms/mri-2/', ''), a.headers['Content-Type'], a.body]),
    [
      ['publishers/console', 'application/json', '{"muted":true}'],
      ['participants/p1', 'application/json', '{"hand":false}'],
      ['participants/p1', 'application/json', '{"call":""}'],
    ],
  );
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
