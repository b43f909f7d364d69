import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { enter, remember, remembered } from './order.ts';

const kept = new Map<string, string>();
Object.assign(globalThis, { localStorage: { getItem: (k: string) => kept.get(k) ?? null, setItem: (k: string, v: string) => void kept.set(k, v) } });
beforeEach(() => kept.clear());

const at = (name: string, since = '1') => ({ name, since });

test('who is new comes last, and nobody moves', () => {
  assert.deepEqual(enter(['b', 'a'], [at('c')], ['c', 'a', 'b']), ['b', 'a', 'c']);
});

test('those who are there at the beginning stand as they were remembered, then by age', () => {
  assert.deepEqual(enter([], [at('new', '9'), at('old', '2'), at('b', '5'), at('a', '7')], ['b', 'a']), ['b', 'a', 'old', 'new']);
});

test('an order is remembered by room', () => {
  remember('mri-2', ['b', 'a']);
  remember('ct-1', ['x']);
  remember('mri-2', ['a', 'c']);
  assert.deepEqual(remembered('mri-2'), ['a', 'c', 'b']);
  assert.deepEqual(remembered('ct-1'), ['x']);
  assert.deepEqual(remembered('other'), []);
});

test('a room may be called as something that every object has', () => {
  for (const room of ['constructor', '__proto__']) {
    assert.deepEqual(remembered(room), []);
    remember(room, ['b', 'a']);
    assert.deepEqual(remembered(room), ['b', 'a']);
  }
});

test('a forbidden or broken storage is none', () => {
  kept.set('sightline.order', '[1');
  assert.deepEqual(remembered('mri-2'), []);
});
