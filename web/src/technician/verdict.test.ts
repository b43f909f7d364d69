import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Participant, Track } from '../client/rooms.ts';
import { judge, type Facts } from './verdict.ts';
import { w } from './words.ts';

const track = (state: string, session = 's') => ({ state, session }) as unknown as Track;
const live: Facts['player'] = { state: 'live', words: 'Live', detail: '', age: 0, hasPicture: true };
const frozen = (age: number): Facts['player'] => ({ state: 'frozen', words: 'Picture frozen', detail: 'Nothing new has come from the camera.', age, hasPicture: true });
const facts = (f: Partial<Facts>): Facts => ({ player: live, track: track('live'), goneFor: 0, silentFor: 0, gateway: true, privacy: undefined, ...f });

test('a picture that moves is live', () => {
  assert.equal(judge(facts({})).state, 'live');
});

test('a frozen picture keeps being seen as old, with its age', () => {
  const v = judge(facts({ player: frozen(1_700) }));
  assert.deepEqual([v.state, v.age, v.hasPicture, v.detail], ['frozen', 1_700, true, w.legs.moment]);
});

test('whose leg has stopped is told apart', () => {
  const detail = (f: Partial<Facts>) => judge(facts({ player: frozen(4_000), ...f })).detail;
  assert.equal(detail({ track: track('stalled'), silentFor: 4_000 }), w.legs.camera);
  assert.equal(detail({ track: track('live') }), w.legs.own);
  assert.equal(detail({ gateway: false }), w.legs.gateway);
});

test('a gateway that refuses does answer', () => {
  const player = { ...frozen(1_000), state: 'refused', words: 'Not allowed', detail: 'This link needs a valid access token.' } as Facts['player'];
  assert.equal(judge(facts({ player, gateway: false })).detail, 'This link needs a valid access token.');
});

test('what moves though the camera sends nothing is old', () => {
  const v = judge(facts({ track: track('stalled'), silentFor: 9_000 }));
  assert.deepEqual([v.state, v.age, v.hasPicture, v.detail], ['frozen', 9_000, true, w.legs.camera]);
});

test('who has ended his session has left, and what is shown is old from then on', () => {
  const v = judge(facts({ track: track('stalled', ''), silentFor: 100 }));
  assert.deepEqual([v.state, v.words, v.age, v.hasPicture], ['ended', w.left, 100, true]);
});

test('privacy is never called frozen, and shows nothing', () => {
  const v = judge(facts({ player: frozen(60_000), privacy: { name: 'Anna Berg' } as Participant }));
  assert.deepEqual([v.state, v.hasPicture, v.age], ['paused', false, 0]);
  assert.match(v.words ?? '', /Anna Berg/);
});

test('a camera that is gone is not live, whatever the player still believes', () => {
  const v = judge(facts({ track: undefined, goneFor: 5_000 }));
  assert.deepEqual([v.state, v.hasPicture, v.age], ['gone', false, 5_000]);
});
