import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Desk, VOICE, bitrates, bounds, qualities } from './desk.ts';
import type { Kept } from './kept.ts';

const shelf = new Map<string, string>();
Object.assign(globalThis, { localStorage: { getItem: (k: string) => shelf.get(k) ?? null, setItem: (k: string, v: string) => void shelf.set(k, v) } });

const limits = { maxBitrate: 1_200_000, frameRate: 24, quality: '720p', width: 1280, height: 720, muteFrom: 6 };

// What attach needs of a <sightline-publisher>.
class FakeElement extends EventTarget {
  state = 'live';
  words = '';
  detail = '';
  trouble = undefined;
  paused = false;
  started = 0;
  start(): void {
    this.started++;
  }
}

const attach = (desk: Desk, id: string): FakeElement => {
  const element = new FakeElement();
  desk.attach(id, element as never);
  return element;
};

test('privacy pauses all that is there, and all that comes, until it is ended', () => {
  shelf.clear();
  const desk = new Desk('mri-2', true);
  const [console, voice] = [attach(desk, 'cam-1'), attach(desk, VOICE)];
  assert.deepEqual([console.paused, voice.paused], [false, false]);
  desk.privacy(true);
  const later = attach(desk, 'cam-2');
  assert.deepEqual([console.paused, voice.paused, later.paused], [true, true, true]);
  desk.microphone(false);
  desk.microphone(true);
  assert.equal(voice.paused, true);
  // A page that is loaded again is private still; another room is not.
  assert.equal(new Desk('mri-2', true).now.privacy, true);
  assert.equal(new Desk('mri-3', true).now.privacy, false);
  desk.microphone(false);
  desk.privacy(false);
  assert.deepEqual([console.paused, voice.paused, later.paused], [false, true, false]);
});

test('cameras and their names are there again when the page is', () => {
  shelf.clear();
  const desk = new Desk('mri-2', false);
  desk.add('cam-1', 'C920', 'Console');
  desk.add('cam-2', 'Brio', 'Gantry');
  desk.change('cam-1', { on: false, quality: '480p' });
  desk.change('cam-2', { name: 'Injector 2' });
  const again = new Desk('mri-2', true).now;
  assert.deepEqual(again.cameras.map((c) => [c.name, c.publisher, c.on, c.quality]), [['Console', 'console', false, '480p'], ['Injector 2', 'injector-2', true, '']]);
  assert.equal(again.microphone, false); // as it was here, whatever the lobby says
  desk.remove('cam-1');
  assert.deepEqual(new Desk('mri-2', true).now.cameras.map((c) => c.name), ['Injector 2']);
  assert.equal(desk.known('cam-1', 'C920')?.name, 'Console');
});

test('what the page keeps may be broken', () => {
  const kept = { cameras: [], rooms: { r: { cameras: [{ device: 'x', on: true }], microphone: 'yes', privacy: 'no' } } } as unknown as Kept;
  assert.deepEqual(new Desk('r', true, kept).now.cameras, []);
  assert.equal(new Desk('r', true, kept).now.privacy, false);
});

test('a microphone that has given up is tried again when it is wanted', () => {
  shelf.clear();
  const desk = new Desk('mri-2', false);
  assert.equal(desk.now.asked, false);
  const voice = attach(desk, VOICE);
  voice.state = 'failed';
  voice.dispatchEvent(new Event('statechange'));
  desk.microphone(true);
  assert.equal(voice.started, 1);
  assert.equal(desk.now.asked, true);
});

test('cameras stay within the limits of the gateway, and below with data to be saved', () => {
  assert.deepEqual(qualities(limits), ['720p', '480p', '360p']);
  assert.deepEqual(bitrates(limits), [1_200_000, 600_000, 300_000]);
  assert.deepEqual(bounds({ quality: '', bitrate: 0 }, limits, false), { quality: '720p', maxBitrate: 1_200_000, frameRate: 24 });
  assert.deepEqual(bounds({ quality: '1080p', bitrate: 9e9 }, limits, false), { quality: '720p', maxBitrate: 1_200_000, frameRate: 24 });
  assert.deepEqual(bounds({ quality: '360p', bitrate: 300_000 }, limits, true), { quality: '360p', maxBitrate: 300_000, frameRate: 24 });
  assert.deepEqual(bounds({ quality: '', bitrate: 0 }, limits, true), { quality: '480p', maxBitrate: 500_000, frameRate: 24 });
});
