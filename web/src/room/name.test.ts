import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Participant, Publisher } from '../client/rooms.ts';
import { publishers, voice } from './name.ts';

const person = (id: string, name?: string) => ({ id, publishers: name ? publishers(name) : [] }) as unknown as Participant;
const live = (...names: string[]) => names.map((name) => ({ name }) as Publisher);

test('a name is taken once', () => {
  const [a, b, c] = [person('a', 'meeting'), person('b'), person('c', 'meeting-2')];
  assert.equal(voice(person('x'), [], [], false), 'meeting');
  assert.equal(voice(b, [a, b], [], false), 'meeting-2');
  assert.equal(voice(b, [a, b, c], [], false), 'meeting-3');
  assert.equal(voice(b, [a, b], live('meeting-2-camera'), false), 'meeting-3', 'an encoder has it');
});

test('of two who claim the same name it is his who entered first', () => {
  const [a, b] = [person('a', 'meeting'), person('b', 'meeting')];
  assert.equal(voice(a, [a, b], [], false), 'meeting');
  assert.equal(voice(b, [a, b], [], false), 'meeting-2');
});

test('who publishes keeps his name, also when all enter anew in another order', () => {
  const [a, b] = [person('a', 'meeting'), person('b', 'meeting-2')];
  assert.equal(voice(a, [b, a], live('meeting', 'meeting-2'), true), 'meeting');
  assert.equal(voice(a, [b, a], live('meeting'), false), 'meeting-3', 'that of one who is not gone yet');
});
