import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Participant, Publisher } from '../client/rooms.ts';
import { others } from '../ui/voice.ts';
import { find, load, moved, save, withCamera, type Kept, type KeptCamera } from './kept.ts';
import { publisherName, taken, voiceName, yields } from './naming.ts';

const camera = (device: string, deviceLabel: string, name: string): KeptCamera => ({ device, deviceLabel, name, quality: '', bitrate: 0 });
const kept = (...cameras: KeptCamera[]): Kept => ({ cameras, rooms: { 'mri-2': { cameras: cameras.map(({ device }) => ({ device, on: true })), microphone: true, privacy: false } } });

test('a camera keeps its name over a reload, and a new name takes the place of the old', () => {
  const shelf = new Map<string, string>();
  const storage = { getItem: (k: string) => shelf.get(k) ?? null, setItem: (k: string, v: string) => void shelf.set(k, v) };
  assert.deepEqual(load(storage), { cameras: [], rooms: {} });
  save(withCamera(kept(camera('a', 'C920', 'Console'), camera('b', 'Brio', 'Gantry')), camera('a', 'C920', 'Injector')), storage);
  const back = load(storage);
  assert.deepEqual(back.cameras.map((c) => c.name), ['Injector', 'Gantry']);
  assert.equal(find(back, 'a', '')?.name, 'Injector');
  assert.equal(back.rooms['mri-2']?.cameras.length, 2);
});

test('what is broken is as nothing', () => {
  for (const text of ['', 'null', '[]', '{"cameras":1,"rooms":2}', '{"cameras":[null,{"device":1}]}', '{']) {
    assert.deepEqual(load({ getItem: () => text, setItem() {} }).cameras, [], text);
  }
  assert.deepEqual(load({ getItem: () => { throw new Error('forbidden'); }, setItem() {} }), { cameras: [], rooms: {} });
});

test('a device with another id is known by its own name, if only one has that', () => {
  const one = kept(camera('old', 'C920', 'Console'));
  assert.equal(find(one, 'new', 'C920')?.name, 'Console');
  assert.equal(find(one, 'new', 'Brio'), undefined);
  assert.equal(find(one, 'new', ''), undefined);
  assert.equal(find(kept(camera('x', 'C920', 'Console'), camera('y', 'C920', 'Gantry')), 'new', 'C920'), undefined);
  const now = moved(one, [{ deviceId: 'new', label: 'C920' }]);
  assert.deepEqual([now.cameras[0]?.device, now.rooms['mri-2']?.cameras[0]?.device], ['new', 'new']);
  // The old one is plugged in still: the new one is another of the same make.
  assert.equal(moved(one, [{ deviceId: 'old', label: 'C920' }, { deviceId: 'new', label: 'C920' }]), one);
  assert.equal(moved(one, [{ deviceId: 'n1', label: 'C920' }, { deviceId: 'n2', label: 'C920' }]), one);
});

test('names are spelt as the gateway takes them', () => {
  for (const [name, want] of [
    ['Console', 'console'], ['MRI Console 2', 'mri-console-2'], ['Röntgen', 'roentgen'], ['  a / b ', 'a-b'], ['.hidden.', 'hidden'], ['日本', ''], ['', ''], ['x'.repeat(70), 'x'.repeat(64)],
  ] as const) assert.equal(publisherName(name), want, name);
});

const source = (name: string, state = 'live', session = 's') => ({ name, tracks: [{ state, session }] }) as unknown as Publisher;
const person = (id: string, ...publishers: string[]) => ({ id, publishers }) as unknown as Participant;

test('a voice has the first name that nobody else has', () => {
  assert.equal(voiceName('hospital', [], [], undefined, undefined), 'hospital');
  assert.equal(voiceName('hospital', [source('hospital')], [], undefined, undefined), 'hospital-2');
  assert.equal(voiceName('hospital', [source('hospital', 'gone')], [], undefined, undefined), 'hospital');
  assert.equal(voiceName('hospital', [source('hospital', 'stalled', '')], [], undefined, undefined), 'hospital');
  assert.equal(voiceName('hospital', [], [person('p', 'hospital', 'console')], undefined, undefined), 'hospital-2');
  assert.equal(voiceName('hospital', [source('hospital'), source('hospital-2')], [person('p', 'hospital-3')], undefined, undefined), 'hospital-4');
  // A page that is loaded again has its voice still, unless another page says so.
  assert.equal(voiceName('hospital', [source('hospital')], [], undefined, 'hospital'), 'hospital');
  assert.equal(voiceName('hospital', [source('hospital')], [person('p', 'hospital')], undefined, 'hospital'), 'hospital-2');
  assert.equal(voiceName('hospital', [source('hospital')], [person('me', 'hospital')], 'me', 'hospital'), 'hospital');
});

test('own sources are not taken', () => {
  assert.deepEqual([...taken([source('console'), source('obs')], [person('p', 'desk'), person('me', 'gantry')], 'me', new Set(['console']))], ['obs', 'desk']);
});

test('a voice is given up to who had it first, but not to what this page was before a restart of the gateway', () => {
  const at = (id: string, since: string, ...publishers: string[]) => ({ id, since, publishers }) as unknown as Participant;
  const [was, me, other] = [at('was', '10:00', 'hospital'), at('me', '10:05', 'hospital'), at('other', '10:03', 'hospital')];
  assert.equal(yields('hospital', me, others([was, me], 'me', new Set(['was']))), false);
  assert.equal(yields('hospital', me, others([was, me, other], 'me', new Set(['was']))), true);
  assert.equal(yields('hospital', other, others([me, other], 'other', new Set())), false);
  assert.deepEqual(others([was, me, other], 'me', new Set(['was'])).map((p) => p.id), ['other']);
});
