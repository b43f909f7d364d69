import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Participant, Publisher, Room } from '../client/rooms.ts';
import { publishers as names } from './name.ts';
import { seats } from './seats.ts';

const person = (id: string, publishers: string[], more: Partial<Participant> = {}) =>
  ({ id, name: id.toUpperCase(), since: id, publishers, speaking: false, privacy: false, ...more }) as Participant;
const publisher = (name: string, ...kinds: string[]) =>
  ({ name, label: '', muted: false, speaking: false, tracks: kinds.map((kind) => ({ id: `${name}/${kind}`, kind, state: 'live', session: 's' })) }) as unknown as Publisher;
const room = (...publishers: Publisher[]) => ({ publishers }) as unknown as Room;
const told = (...of: Parameters<typeof seats>) => seats(...of).map((s) => `${s.kind} ${s.key} ${s.track?.id ?? '-'}${s.mine ? ' mine' : ''}`);

test('everybody has a seat, with or without a picture, and screens are beside their owners', () => {
  const people = [person('a', names('meeting')), person('b', names('meeting-2')), person('c', [])];
  const live = room(publisher('meeting-2-screen', 'video'), publisher('meeting-2', 'audio'), publisher('meeting', 'audio'), publisher('meeting-camera', 'video'));
  assert.deepEqual(told(live, people, 'b'), [
    'person meeting meeting-camera/video',
    'person meeting-2 - mine',
    'screen meeting-2-screen meeting-2-screen/video mine',
    'person c -',
  ]);
});

test('stations and encoders are seen as what they are', () => {
  const people = [person('h', ['hospital', 'console', 'hospital-screen']), person('t', ['technician'])];
  const live = room(
    publisher('hospital', 'audio'), publisher('console', 'video'), publisher('hospital-screen', 'video'), publisher('technician', 'audio', 'video'),
    publisher('obs', 'audio', 'video'), publisher('gantry', 'video'), publisher('old', 'data'),
  );
  assert.deepEqual(told(live, people, undefined), [
    'person hospital -',
    'screen hospital-screen hospital-screen/video',
    'camera console console/video',
    'person technician technician/video',
    'camera gantry gantry/video',
    'person obs obs/video',
  ]);
});

test('what is left of somebody is one seat', () => {
  assert.deepEqual(told(room(publisher('meeting', 'audio'), publisher('meeting-camera', 'video')), [], undefined), ['person meeting meeting-camera/video']);
});

test('what two claim is the first one’s', () => {
  const people = [person('a', ['x']), person('b', ['x'])];
  assert.deepEqual(told(room(publisher('x', 'audio', 'video')), people, undefined), ['person x x/video', 'person b -']);
});
