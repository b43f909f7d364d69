// The devices of this machine: which there are, which are wanted, and why one can't be had.
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';

import { Select } from './field.tsx';
import { note } from './diagnostics.ts';
import { speakBy } from './sounds.ts';
import { Store, useStore } from './store.ts';
import { words } from './strings.ts';

export type DeviceKind = 'microphone' | 'camera' | 'speaker';

export interface DeviceInfo {
  id: string;
  label: string; // "Camera 1" as long as the browser keeps it back
}

const kinds: Record<DeviceKind, MediaDeviceKind> = { microphone: 'audioinput', camera: 'videoinput', speaker: 'audiooutput' };

export const devices = new Store<Record<DeviceKind, DeviceInfo[]>>({ microphone: [], camera: [], speaker: [] });

// Preferred are ids; an empty one is the browser's choice.
const KEY = 'sightline.devices';
export const preferred = new Store<Record<DeviceKind, string>>(load());

function load(): Record<DeviceKind, string> {
  const none = { microphone: '', camera: '', speaker: '' };
  try {
    return { ...none, ...(JSON.parse(localStorage.getItem(KEY) ?? '{}') as object) };
  } catch {
    return none;
  }
}

export function prefer(kind: DeviceKind, id: string): void {
  preferred.patch({ [kind]: id });
  if (kind === 'speaker') speakBy(id);
  try {
    localStorage.setItem(KEY, JSON.stringify(preferred.value));
  } catch {
    // It holds as long as the page.
  }
}

export async function refresh(): Promise<void> {
  const all = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
  const of = (kind: DeviceKind): DeviceInfo[] =>
    all
      .filter((d) => d.kind === kinds[kind] && d.deviceId !== 'default' && d.deviceId !== 'communications')
      .map((d, i) => ({ id: d.deviceId, label: d.label.replace(/ \([0-9a-f]{4}:[0-9a-f]{4}\)$/, '') || words.devices.number[kind](i + 1) }));
  devices.set({ microphone: of('microphone'), camera: of('camera'), speaker: of('speaker') });
}

let watching = false;

// useDevices keeps the list of devices fresh.
export function useDevices(): Record<DeviceKind, DeviceInfo[]> {
  useEffect(() => {
    void refresh();
    if (watching) return;
    watching = true;
    speakBy(preferred.value.speaker);
    navigator.mediaDevices?.addEventListener('devicechange', () => {
      note('devicechange');
      void refresh();
    });
  }, []);
  return useStore(devices);
}

// Firefox before 116 and Safari can't choose a loudspeaker: the system does.
const canChooseSpeaker = 'setSinkId' in HTMLMediaElement.prototype;

export function DevicePickers({ only, disabled }: { only?: readonly DeviceKind[]; disabled?: boolean }): JSX.Element {
  const all = useDevices();
  const wanted = useStore(preferred);
  return (
    <div class="pickers">
      {(only ?? (['microphone', 'camera', 'speaker'] as const)).map((kind) => {
        if (kind === 'speaker' && !canChooseSpeaker) return null;
        const there = all[kind].some((d) => d.id === wanted[kind] && d.id);
        const options = [{ value: '', label: all[kind].length || kind === 'speaker' ? words.devices.usual : words.devices.none[kind] }];
        for (const d of all[kind]) if (d.id) options.push({ value: d.id, label: d.label });
        if (wanted[kind] && !there && all[kind].some((d) => d.id)) options.push({ value: wanted[kind], label: words.devices.unplugged });
        return (
          <Select
            key={kind}
            label={words.devices[kind]}
            value={options.some((o) => o.value === wanted[kind]) ? wanted[kind] : ''}
            options={options}
            onChange={(id) => prefer(kind, id)}
            disabled={disabled || options.length < 2}
          />
        );
      })}
    </div>
  );
}

// A Fault is why a device can't be had, and what to do about it.
export interface Fault {
  title: string;
  todo: string;
}

// explain puts what getUserMedia has thrown into plain words.
export function explain(err: unknown, kind: 'microphone' | 'camera'): Fault {
  const w = words.faults;
  const the = words.devices.the[kind];
  if (!isSecureContext || !navigator.mediaDevices) return w.insecure(the);
  const { name, message } = err as Error;
  switch (name) {
    case 'NotAllowedError':
    case 'PermissionDeniedError':
    case 'SecurityError':
      if (/system/i.test(message)) return w.system(the);
      if (/dismiss/i.test(message)) return w.dismissed(the);
      return w.denied(the);
    case 'NotFoundError':
    case 'DevicesNotFoundError':
      return w.missing(the);
    case 'NotReadableError':
    case 'TrackStartError':
    case 'AbortError':
      return w.busy(the);
    case 'OverconstrainedError':
      return w.unable(the);
  }
  return w.other(the, message || name);
}

export interface Opened {
  microphone?: MediaStreamTrack | undefined;
  camera?: MediaStreamTrack | undefined;
  microphoneFault?: Fault | undefined;
  cameraFault?: Fault | undefined;
}

// open asks for the preferred microphone and camera, with one question of the browser's,
// and for each alone where that fails: one without the other is better than nothing.
export async function open(want: { microphone: boolean; camera: boolean }): Promise<Opened> {
  const out: Opened = {};
  const { microphone, camera } = preferred.value;
  const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, ...(microphone ? { deviceId: { ideal: microphone } } : {}) };
  const video = { width: { ideal: 1280 }, height: { ideal: 720 }, ...(camera ? { deviceId: { ideal: camera } } : {}) };
  const get = (c: MediaStreamConstraints) => navigator.mediaDevices.getUserMedia(c);
  try {
    if (want.microphone && want.camera) {
      const stream = await get({ audio, video });
      [out.microphone, out.camera] = [stream.getAudioTracks()[0], stream.getVideoTracks()[0]];
      return out;
    }
  } catch {
    // Each alone tells which it was.
  }
  if (want.microphone) {
    try {
      out.microphone = (await get({ audio })).getAudioTracks()[0];
    } catch (err) {
      note('microphone failed', `${(err as Error).name}: ${(err as Error).message}`);
      out.microphoneFault = explain(err, 'microphone');
    }
  }
  if (want.camera) {
    try {
      out.camera = (await get({ video })).getVideoTracks()[0];
    } catch (err) {
      note('camera failed', `${(err as Error).name}: ${(err as Error).message}`);
      out.cameraFault = explain(err, 'camera');
    }
  }
  return out;
}

// allowed reports whether the browser gives devices without asking.
export async function allowed(): Promise<boolean> {
  try {
    const states = await Promise.all(['camera', 'microphone'].map((name) => navigator.permissions.query({ name: name as PermissionName })));
    return states.every((s) => s.state === 'granted');
  } catch {
    return false; // not told: ask with a button, not at once
  }
}
