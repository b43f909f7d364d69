import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Participant, Room } from '../client/rooms.ts';
import { pick, taken } from './voice.ts';

const person = (id: string, since: string, ...publishers: string[]) => ({ id, since, publishers }) as unknown as Participant;
const room = (publishers: string[], ...participants: Participant[]) => ({ publishers: publishers.map((name) => ({ name })), participants }) as unknown as Room;
const me = person('me', '5');
const none = new Set<string>();

test('the first free name is taken', () => {
  assert.equal(pick(undefined, me, '', none), 'technician');
  assert.equal(pick(room(['technician', 'technician-3']), me, '', none), 'technician-2');
  assert.equal(pick(room([], person('a', '1', 'technician', 'technician-screen')), me, '', none), 'technician-2');
});

test('who comes back takes his own name, but not one that somebody else has by now', () => {
  assert.equal(pick(room(['technician', 'technician-2']), me, 'technician-2', none), 'technician-2');
  assert.equal(pick(room(['technician']), me, 'technician', none), 'technician');
  assert.equal(pick(room(['technician'], person('a', '1', 'technician')), me, 'technician', none), 'technician-2');
});

test('of two with the same name the later one gives it up', () => {
  assert.equal(taken(room([], person('a', '4', 'technician')), me, 'technician', none), true);
  assert.equal(taken(room([], person('a', '6', 'technician')), me, 'technician', none), false);
  assert.equal(taken(room([], person('a', '5', 'technician')), me, 'technician', none), true);
  assert.equal(taken(room([], person('z', '5', 'technician')), me, 'technician', none), false);
  assert.equal(taken(room([], person('me', '5', 'technician')), me, 'technician', none), false);
});

test('what one was here before is nobody else', () => {
  const past = new Set(['old']);
  assert.equal(taken(room([], person('old', '4', 'technician')), me, 'technician', past), false);
  assert.equal(pick(room(['technician'], person('old', '4', 'technician')), me, 'technician', past), 'technician');
});
