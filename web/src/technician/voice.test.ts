import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Participant, Room } from '../client/rooms.ts';
import { pick, taken } from './voice.ts';

const person = (id: string, since: string, ...publishers: string[]) => ({ id, since, publishers }) as unknown as Participant;
const room = (publishers: string[], ...participants: Participant[]) => ({ publishers: publishers.map((name) => ({ name })), participants }) as unknown as Room;
const me = person('me', '5');

test('the first free name is taken', () => {
  assert.equal(pick(undefined, me, ''), 'technician');
  assert.equal(pick(room(['technician', 'technician-3']), me, ''), 'technician-2');
  assert.equal(pick(room([], person('a', '1', 'technician', 'technician-screen')), me, ''), 'technician-2');
});

test('who comes back takes his own name, but not one that somebody else has by now', () => {
  assert.equal(pick(room(['technician', 'technician-2']), me, 'technician-2'), 'technician-2');
  assert.equal(pick(room(['technician']), me, 'technician'), 'technician');
  assert.equal(pick(room(['technician'], person('a', '1', 'technician')), me, 'technician'), 'technician-2');
});

test('of two with the same name the later one gives it up', () => {
  assert.equal(taken(room([], person('a', '4', 'technician')), me, 'technician'), true);
  assert.equal(taken(room([], person('a', '6', 'technician')), me, 'technician'), false);
  assert.equal(taken(room([], person('a', '5', 'technician')), me, 'technician'), true);
  assert.equal(taken(room([], person('z', '5', 'technician')), me, 'technician'), false);
  assert.equal(taken(room([], person('me', '5', 'technician')), me, 'technician'), false);
});
