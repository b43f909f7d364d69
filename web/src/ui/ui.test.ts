import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Participant, Publisher, Room } from '../client/rooms.ts';
import { clean } from './clean.ts';
import { duration, grade, list, percent, quality, rate } from './format.ts';
import { fault, spell } from './names.ts';
import { roleName } from './people.tsx';
import { TEST, compare, open, participants, pictures } from './room.ts';
import { Store } from './store.ts';
import { keepVoice, keptVoice } from './voice.ts';

test('what people write becomes a name that the gateway takes', () => {
  for (const [text, want] of [
    ['MRI-2', 'MRI-2'],
    ['  MRI 2 ', 'MRI-2'],
    ['Röntgen  Süd', 'Roentgen-Sued'],
    ['Salle né 3', 'Salle-ne-3'],
  ] as const) {
    assert.equal(spell(text), want);
    assert.equal(fault(spell(text)), '', `${spell(text)} is refused`);
  }
});

test('what can’t be a name is refused with the reason', () => {
  for (const [name, reason] of [
    ['', 'Give'],
    ['a/b', '“/” can’t be'],
    ['MRI#2', '“#” can’t be'],
    ['磁', '“磁” can’t be'],
    ['.hidden', 'dot'],
    ['a'.repeat(65), '64 characters'],
    ['whip', 'gateway itself'],
    ['favicon.ico', 'gateway itself'],
  ] as const) {
    assert.match(fault(name, ['api', 'whip', 'favicon.ico']), new RegExp(reason), `${name}: ${fault(name)}`);
  }
  assert.equal(fault('whip2', ['whip']), '');
});

test('numbers are what people read', () => {
  assert.deepEqual([0, 950, 1_234_000, 33_000].map(rate), ['', '1 kbit/s', '1.2 Mbit/s', '33 kbit/s']);
  assert.deepEqual([0, 1_900, 119_000, 121_000, 8e6].map(duration), ['0 s', '1 s', '119 s', '2 min', '2 h']);
  assert.deepEqual([0, 0.0004, 0.01, 0.0344, 0.5].map(percent), ['0 %', 'under 0.1 %', '1 %', '3.4 %', '50 %']);
  assert.deepEqual([[], ['A'], ['A', 'B'], ['A', 'B', 'C']].map(list), ['', 'A', 'A and B', 'A, B and C']);
});

test('loss has a mark above 1, 3 and 5 %', () => {
  assert.deepEqual([undefined, null, 0, 0.01, 0.011, 0.03, 0.031, 0.05, 0.051, 1].map(grade), [0, 0, 0, 0, 1, 1, 2, 2, 3, 3]);
  assert.equal(quality({ connected: false }), 'lost');
  assert.equal(quality({ loss: 0.02, rttMs: 20 }), 'fair');
  assert.equal(quality({ loss: 0, rttMs: 500 }), 'poor');
  assert.equal(quality({ loss: 0.01, rttMs: 200 }), 'good');
});

test('the diagnostics have no token and no address of a session', () => {
  const dirty = {
    text: 'GET https://g/whep/r/c?token=abc&x=1 Authorization: Bearer s3cret',
    session: 'https://g/sessions/XYZ789/more',
    person: ['https://g/api/rooms/r/participants/ABCDEF'],
    page: 'https://g/r#token=s3%2Bcret',
    raw: 's3+cret',
    number: 3,
    none: null,
  };
  const text = JSON.stringify(clean(dirty, 's3+cret'));
  for (const secret of ['abc', 's3cret', 'XYZ789', 'ABCDEF', 's3+cret', 's3%2Bcret']) assert.ok(!text.includes(secret), `${secret} is in ${text}`);
  assert.ok(text.includes('"number":3') && text.includes('"none":null') && text.includes('&x=1'));
});

function room(publishers: string[], people: [string, string][] = []): Room {
  return {
    name: 'r', since: '', viewers: 0, listeners: 0, mix: '',
    publishers: publishers.map((name) => ({ name, tracks: [{ publisher: name, kind: 'audio' }, { publisher: name, kind: 'video' }] }) as unknown as Publisher),
    participants: people.map(([id, since]) => ({ id, since }) as Participant),
  };
}

test('pictures keep their order, whatever comes and goes', () => {
  const names = (r: Room) => pictures(r).map((t) => t.publisher);
  assert.deepEqual(names(room(['gantry', 'console-10', 'console-2'])), ['console-2', 'console-10', 'gantry']);
  assert.deepEqual(names(room(['console-10', 'gantry'])), ['console-10', 'gantry']);
  assert.ok(compare('a', 'b') < 0);
});

test('people are in the order of entering', () => {
  const r = room([], [['b', '2026-01-01T00:00:02Z'], ['a', '2026-01-01T00:00:01Z'], ['c', '2026-01-01T00:00:02Z']]);
  assert.deepEqual(participants(r).map((p) => p.id), ['a', 'b', 'c']);
});

test('a connection test is no camera and opens no room', () => {
  assert.equal(open(room([`${TEST}x1`])), false);
  assert.deepEqual(pictures(room([`${TEST}x1`])), []);
  assert.equal(open(room([`${TEST}x1`, 'console'])), true);
  assert.equal(open(room([], [['a', '']])), true);
});

test('a store tells of changes only, and nobody who has left', () => {
  const store = new Store({ a: 1, b: 2 });
  let told = 0;
  const leave = store.subscribe(() => told++);
  store.set(store.value);
  assert.equal(told, 0);
  store.patch({ a: 3 });
  assert.deepEqual(store.value, { a: 3, b: 2 });
  assert.equal(told, 1);
  leave();
  store.patch({ a: 4 });
  assert.equal(told, 1);
});

// A participant may call any role, such as "constructor".
test('a role that is no word of ours is called as it is', () => {
  assert.equal(roleName('hospital'), 'Hospital');
  for (const role of ['radiologist', 'constructor', 'toString', '__proto__']) assert.equal(roleName(role), role);
});

test('a voice’s name is kept for its station and room, if the browser keeps anything', () => {
  const storage = (get: () => unknown) => Object.defineProperty(globalThis, 'sessionStorage', { configurable: true, get });
  storage(() => {
    throw new DOMException('forbidden', 'SecurityError'); // as for a person who has forbidden all cookies
  });
  keepVoice('hospital', 'mri', 'hospital-2');
  assert.equal(keptVoice('hospital', 'mri'), '');
  const shelf = new Map<string, string>();
  storage(() => ({ getItem: (k: string) => shelf.get(k) ?? null, setItem: (k: string, v: string) => void shelf.set(k, v) }));
  keepVoice('hospital', 'mri', 'hospital-2');
  assert.equal(keptVoice('hospital', 'mri'), 'hospital-2');
  assert.equal(keptVoice('technician', 'mri'), '');
  assert.equal(keptVoice('hospital', 'ct'), '');
});
