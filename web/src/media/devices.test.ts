import assert from 'node:assert/strict';
import { test } from 'node:test';

import { settle } from '../testing/clock.ts';
import { Devices, open, video } from './devices.ts';

class Machine extends EventTarget {
  there = [{ kind: 'videoinput', deviceId: 'a', label: '' }, { kind: 'audiooutput', deviceId: 's', label: '' }];
  enumerateDevices = async () => this.there.map((d) => ({ ...d }));
}

function install(mediaDevices: unknown): void {
  Object.defineProperty(globalThis, 'navigator', { value: { mediaDevices }, configurable: true });
}

test('what comes and goes is told, and names as soon as they are known', async () => {
  const machine = new Machine();
  install(machine);
  const devices = new Devices();
  const changes: string[][] = [];
  devices.addEventListener('change', (e) => {
    const { added, removed } = (e as CustomEvent<Record<'added' | 'removed', MediaDeviceInfo[]>>).detail;
    changes.push([...added.map((d) => `+${d.deviceId}`), ...removed.map((d) => `-${d.deviceId}`)]);
  });
  assert.deepEqual((await devices.list('videoinput')).map((d) => d.deviceId), ['a']);
  machine.there = [{ kind: 'videoinput', deviceId: 'b', label: 'HD Camera' }, machine.there[1]!];
  machine.dispatchEvent(new Event('devicechange'));
  await settle();
  assert.deepEqual(changes, [['+b', '-a']]);
  machine.dispatchEvent(new Event('devicechange')); // browsers tell more than happens
  await settle();
  assert.equal(changes.length, 1);
  assert.deepEqual((await devices.list('videoinput')).map((d) => d.label), ['HD Camera']);
  devices.close();
});

test('a page without devices has none, and says why', async () => {
  install(undefined);
  assert.deepEqual(await new Devices().list('audioinput'), []);
  await assert.rejects(open('camera'), { name: 'SecurityError' });
});

test('a quality that is not known is 720p', () => {
  assert.deepEqual(video({ quality: '4k' }).height, { ideal: 720 });
  assert.equal('deviceId' in video({}), false);
});
