// A file for support: what this browser is, and what has happened in the page. It names
// no device, has no token, no address of a session, and leaves this machine only by hand.
import type { Stats } from '../media/stats.ts';
import { choices } from './choices.ts';
import { clean } from './clean.ts';
import { here } from './page.ts';

const EVENTS = 500;
const READINGS = 600; // of each source: ten minutes at one a second

interface Note {
  at: string;
  what: string;
  detail?: unknown;
}

const notes: Note[] = [];
const history = new Map<string, { at: string; stats: unknown }[]>();
const states = new Map<string, () => unknown>();

// note remembers that something happened.
export function note(what: string, detail?: unknown): void {
  notes.push({ at: new Date().toISOString(), what, ...(detail === undefined ? {} : { detail }) });
  if (notes.length > EVENTS) notes.shift();
}

// reading remembers a reading of one connection, such as "console/video".
export function reading(source: string, stats: Stats | undefined): void {
  if (!stats) return;
  const all = history.get(source) ?? [];
  all.push({ at: new Date().toISOString(), stats });
  if (all.length > READINGS) all.shift();
  history.set(source, all);
}

// state is asked for what it is when the file is made. It returns what ends that.
export function state(name: string, now: () => unknown): () => void {
  states.set(name, now);
  return () => void states.delete(name);
}

export function watchErrors(): void {
  addEventListener('error', (e) => note('error', `${e.message} (${e.filename.replace(/^.*\//, '')}:${e.lineno})`));
  addEventListener('unhandledrejection', (e) => note('rejection', String(e.reason)));
  for (const type of ['online', 'offline', 'visibilitychange', 'pagehide', 'pageshow']) {
    (type === 'visibilitychange' ? document : window).addEventListener(type, () => note(type, document.visibilityState));
  }
}

export async function collect(): Promise<Record<string, unknown>> {
  const devices = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
  const kinds: Record<string, number> = {};
  for (const d of devices) kinds[d.kind] = (kinds[d.kind] ?? 0) + 1;
  const permissions: Record<string, string> = {};
  for (const name of ['camera', 'microphone']) {
    permissions[name] = await navigator.permissions.query({ name: name as PermissionName }).then((s) => s.state, () => 'not known');
  }
  const { theme, saver, audioOnly, sounds, hotkeys } = choices.value;
  const file = {
    made: new Date().toISOString(),
    page: { path: location.pathname, room: here.room, kind: here.page, secure: isSecureContext, withToken: here.token !== '' },
    browser: {
      agent: navigator.userAgent, languages: navigator.languages, cores: navigator.hardwareConcurrency, online: navigator.onLine,
      window: [innerWidth, innerHeight], screen: [screen.width, screen.height], pixelRatio: devicePixelRatio,
      video: codecs('video'), audio: codecs('audio'),
    },
    devices: kinds,
    permissions,
    choices: { theme, saver, audioOnly, sounds, hotkeys },
    states: Object.fromEntries([...states].map(([name, now]) => [name, now()])),
    events: notes,
    readings: Object.fromEntries(history),
  };
  return clean(file, here.token) as Record<string, unknown>;
}

function codecs(kind: string): string[] {
  const all = globalThis.RTCRtpReceiver?.getCapabilities?.(kind)?.codecs ?? [];
  return [...new Set(all.map((c) => c.mimeType.replace(/^.*\//, '')))];
}

// download saves the file.
export async function download(): Promise<void> {
  const blob = new Blob([JSON.stringify(await collect(), null, 1)], { type: 'application/json' });
  save(blob, `sightline-${here.room || 'rooms'}-${new Date().toISOString().slice(0, 19).replace(/:/g, '')}.json`);
}

// save has the browser save a file, such as a still.
export function save(blob: Blob, name: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
