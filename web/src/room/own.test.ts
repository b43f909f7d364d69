import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Track } from '../client/rooms.ts';
import { idle, shown, type Told } from './own.ts';

const track = (state: string) => ({ state }) as Track;

test('one’s own camera is live if the gateway gets something of it', () => {
  const live: Told = { state: 'live', words: 'Live', detail: '' };
  assert.deepEqual(shown(live, undefined), live);
  assert.deepEqual(shown(live, track('live')), live);
  assert.deepEqual(shown(live, track('stalled')), { state: 'stalled', words: 'Nothing comes', detail: '' });
  assert.deepEqual(shown({ state: 'paused', words: 'Paused', detail: '' }, track('stalled')).state, 'paused');
});

test('one’s own camera starts, or is off where it does not', () => {
  assert.deepEqual(shown(idle), { state: 'starting', words: 'Starting', detail: '' });
  assert.equal(shown({ state: 'refused', words: '', detail: '' }).state, 'off');
});
