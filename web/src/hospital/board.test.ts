import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Participant, Room } from '../client/rooms.ts';
import { cameras, others } from './board.tsx';
import type { Decided, Report } from './desk.ts';

const decided = {
  cameras: ['console', 'gantry'].map((publisher) => ({ device: publisher, publisher, name: publisher, on: true })),
  privacy: false, hearing: true, screen: false,
} as unknown as Decided;
const reports = new Map(['console', 'gantry'].map((device) => [device, { state: 'live' } as Report]));

const room = (state: string) =>
  ({ publishers: [{ name: 'console', tracks: [{ kind: 'video', state, watchers: ['berg'] }] }, { name: 'gantry', tracks: [{ kind: 'video', state: 'live' }] }] }) as unknown as Room;

test('a camera of which nothing comes is not live, whatever the browser thinks', () => {
  assert.equal(cameras({ decided, reports, room: room('live') }).title, '2 cameras live');
  const now = cameras({ decided, reports, room: room('stalled') });
  assert.deepEqual([now.tone, now.title, now.more], ['alarm', 'console: no picture', '1 other camera live']);
});

test('who watches is not known while the gateway does not answer', () => {
  const berg = { id: 'berg', name: 'Dr. Berg' } as Participant;
  const told = (known: boolean) => others({ decided, hearing: { state: 'live', blocked: false, level: undefined }, room: room('live'), known, people: [berg] });
  assert.deepEqual([told(true).tone, told(true).title], ['good', 'Dr. Berg watches']);
  assert.deepEqual([told(false).tone, told(false).title], ['none', 'Not known who is here']);
});
