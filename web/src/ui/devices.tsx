// Choosing devices: which there are, and which is preferred on this machine. What opens
// them, and says why one can't be had, is in media/devices.ts.
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';

import { Devices, explain, open, preferred, remember, type DeviceKind, type Trouble } from '../media/devices.ts';
import { note } from './diagnostics.ts';
import { Select } from './field.tsx';
import { speakBy } from './sounds.ts';
import { Store, useStore } from './store.ts';
import { words } from './strings.ts';

export interface DeviceList {
  all: Record<DeviceKind, MediaDeviceInfo[]>;
  chosen: Record<DeviceKind, string>; // ids; an empty one leaves it to the system
}

const KINDS: readonly DeviceKind[] = ['audioinput', 'videoinput', 'audiooutput'];

export const deviceList = new Store<DeviceList>({
  all: { audioinput: [], videoinput: [], audiooutput: [] },
  chosen: { audioinput: '', videoinput: '', audiooutput: '' },
});

let devices: Devices | undefined;

// refreshDevices looks again: names are told once a device has been allowed.
export async function refreshDevices(): Promise<void> {
  if (!devices) {
    devices = new Devices();
    devices.addEventListener('change', () => {
      note('devices changed');
      void refreshDevices();
    });
  }
  const [all, chosen] = [{ ...deviceList.value.all }, { ...deviceList.value.chosen }];
  for (const kind of KINDS) {
    // These two stand for others in the list.
    all[kind] = (await devices.list(kind)).filter((d) => d.deviceId !== 'default' && d.deviceId !== 'communications');
    chosen[kind] = preferred(kind, all[kind])?.deviceId ?? '';
  }
  const was = deviceList.value;
  const same = KINDS.every((k) => chosen[k] === was.chosen[k] && all[k].map(key).join() === was.all[k].map(key).join());
  if (!same) deviceList.set({ all, chosen });
  speakBy(chosen.audiooutput);
}

const key = (d: MediaDeviceInfo) => `${d.deviceId} ${d.label}`;

export function chooseDevice(kind: DeviceKind, deviceId: string): void {
  const label = deviceList.value.all[kind].find((d) => d.deviceId === deviceId)?.label ?? '';
  remember(kind, { deviceId, label });
  deviceList.patch({ chosen: { ...deviceList.value.chosen, [kind]: deviceId } });
  if (kind === 'audiooutput') speakBy(deviceId);
}

// useDevices keeps the list fresh.
export function useDevices(): DeviceList {
  useEffect(() => void refreshDevices(), []);
  return useStore(deviceList);
}

// Where a browser can't choose a loudspeaker, the system does.
export const canChooseSpeaker = 'setSinkId' in HTMLMediaElement.prototype;

// "(046d:0825)" says nothing to people.
export function deviceName({ label, kind }: MediaDeviceInfo, i: number): string {
  return label.replace(/ \([0-9a-f]{4}:[0-9a-f]{4}\)$/i, '') || words.devices.number[kind](i + 1);
}

export function DevicePickers({ only = KINDS, disabled }: { only?: readonly DeviceKind[]; disabled?: boolean }): JSX.Element {
  const { all, chosen } = useDevices();
  return (
    <div class="pickers">
      {only.map((kind) => {
        if (kind === 'audiooutput' && !canChooseSpeaker) return null;
        const usual = all[kind].length || kind === 'audiooutput' ? words.devices.usual : words.devices.none[kind];
        const options = [{ value: '', label: usual }];
        all[kind].forEach((d, i) => d.deviceId && options.push({ value: d.deviceId, label: deviceName(d, i) }));
        return <Select key={kind} label={words.devices[kind]} value={chosen[kind]} options={options} onChange={(id) => chooseDevice(kind, id)} disabled={disabled || options.length < 2} />;
      })}
    </div>
  );
}

export interface Opened {
  microphone?: MediaStreamTrack | undefined;
  camera?: MediaStreamTrack | undefined;
  microphoneTrouble?: Trouble | undefined;
  cameraTrouble?: Trouble | undefined;
}

// openBoth opens the chosen microphone and camera. Where both are wanted the browser asks
// once; where that fails each is opened alone, as one without the other is better than
// nothing.
export async function openBoth(want: { microphone: boolean; camera: boolean }): Promise<Opened> {
  const out: Opened = {};
  if (want.microphone && want.camera) await askOnce();
  await refreshDevices();
  const { audioinput, videoinput } = deviceList.value.chosen;
  if (want.microphone) {
    try {
      out.microphone = await open('microphone', { device: audioinput || undefined });
    } catch (err) {
      note('microphone', `${(err as Error).name}: ${(err as Error).message}`);
      out.microphoneTrouble = explain(err, 'microphone');
    }
  }
  if (want.camera) {
    try {
      out.camera = await open('camera', { device: videoinput || undefined });
    } catch (err) {
      note('camera', `${(err as Error).name}: ${(err as Error).message}`);
      out.cameraTrouble = explain(err, 'camera');
    }
  }
  return out;
}

async function askOnce(): Promise<void> {
  if (await allowed()) return;
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
    for (const track of stream.getTracks()) track.stop();
  } catch {
    // Each alone tells why.
  }
}

// allowed reports whether the browser gives devices without asking.
export async function allowed(): Promise<boolean> {
  try {
    const states = await Promise.all(['camera', 'microphone'].map((name) => navigator.permissions.query({ name: name as PermissionName })));
    return states.every((s) => s.state === 'granted');
  } catch {
    return false; // not told: ask by a button, not at once
  }
}
