// The desk is what the radiographer has decided: which cameras are shown under which name,
// whether he can be heard, and privacy. What becomes of that is told by reports.
import type { Stations } from '../client/rooms.ts';
import type { SightlinePublisher } from '../elements/publisher.ts';
import { QUALITIES, type Trouble } from '../media/devices.ts';
import type { PublisherState } from '../media/publisher.ts';
import { Store } from '../ui/store.ts';
import { find, load, moved, save, withCamera, type Kept, type KeptCamera } from './kept.ts';
import { publisherName } from './naming.ts';

export interface Camera extends KeptCamera {
  on: boolean;
  publisher: string;
}

export interface Decided {
  cameras: Camera[]; // in the order in which they were added
  microphone: boolean; // to be heard
  asked: boolean; // the microphone has been wanted once; before, the browser is not asked for it
  privacy: boolean;
  hearing: boolean; // the others
  screen: boolean;
}

// A Report is what a source does: a camera by its device, VOICE, or SCREEN.
export interface Report {
  state: PublisherState;
  words: string;
  detail: string;
  reason: Trouble['reason'] | undefined; // why a device can't be had
}

export const VOICE = 'voice';
export const SCREEN = 'screen';

const OFF: Report = { state: 'idle', words: '', detail: '', reason: undefined };

const SAVER = { quality: '480p', bitrate: 500_000 };

export class Desk {
  readonly decided: Store<Decided>;
  readonly reports = new Store<ReadonlyMap<string, Report>>(new Map());
  #room: string;
  #kept: Kept;
  #elements = new Map<string, SightlinePublisher>();

  constructor(room: string, withMicrophone: boolean, kept = load()) {
    this.#room = room;
    this.#kept = kept;
    const was = kept.rooms[room];
    const cameras = (Array.isArray(was?.cameras) ? was.cameras : []).flatMap(({ device, on }) => {
      const known = kept.cameras.find((c) => c.device === device);
      return known ? [{ ...known, on: on !== false, publisher: publisherName(known.name) }] : [];
    });
    const microphone = was?.microphone ?? withMicrophone;
    this.decided = new Store<Decided>({ cameras, microphone, asked: microphone, privacy: was?.privacy === true, hearing: true, screen: false });
  }

  get now(): Decided {
    return this.decided.value;
  }

  report(id: string): Report {
    return this.reports.value.get(id) ?? OFF;
  }

  // ---- cameras ----

  // known returns what is kept of a device.
  known(device: string, label: string): KeptCamera | undefined {
    return find(this.#kept, device, label);
  }

  add(device: string, deviceLabel: string, name: string): void {
    const known = this.known(device, deviceLabel);
    const camera: Camera = { quality: '', bitrate: 0, ...known, device, deviceLabel, name, on: true, publisher: publisherName(name) };
    this.#keep(camera);
    this.#decide({ cameras: [...this.now.cameras.filter((c) => c.device !== device), camera] });
  }

  change(device: string, what: Partial<Pick<Camera, 'name' | 'quality' | 'bitrate' | 'on'>>): void {
    const cameras = this.now.cameras.map((c) => {
      if (c.device !== device) return c;
      const now = { ...c, ...what };
      now.publisher = publisherName(now.name);
      this.#keep(now);
      return now;
    });
    this.#decide({ cameras });
  }

  remove(device: string): void {
    this.#decide({ cameras: this.now.cameras.filter((c) => c.device !== device) });
  }

  // found takes the devices that are there: the browser may have other ids for them.
  found(devices: readonly MediaDeviceInfo[]): void {
    const kept = moved(this.#kept, devices);
    if (kept === this.#kept) return;
    const [before, after] = [this.#kept.cameras, kept.cameras];
    const id = (device: string) => after[before.findIndex((c) => c.device === device)]?.device ?? device;
    this.#kept = kept;
    this.#decide({ cameras: this.now.cameras.map((c) => ({ ...c, device: id(c.device) })) });
  }

  // ---- voice, screen, privacy ----

  microphone(on: boolean): void {
    this.#decide({ microphone: on, asked: this.now.asked || on });
    this.#pause();
    if (on) this.retry(VOICE);
  }

  hearing(on: boolean): void {
    this.#decide({ hearing: on });
  }

  // privacy pauses everything that goes out of the room before anything else happens.
  privacy(on: boolean): void {
    this.#decide({ privacy: on });
    this.#pause();
  }

  // share starts the screen; it must be called in a click.
  share(): void {
    this.#elements.get(SCREEN)?.start();
  }

  unshare(): void {
    this.#elements.get(SCREEN)?.stop();
  }

  // retry starts a source again that has given up.
  retry(id: string): void {
    const { state } = this.report(id);
    if (state === 'failed' || state === 'refused') this.#elements.get(id)?.start();
  }

  // ---- what becomes of it ----

  paused(id: string): boolean {
    return this.now.privacy || (id === VOICE && !this.now.microphone);
  }

  element(id: string): SightlinePublisher | undefined {
    return this.#elements.get(id);
  }

  // attach takes the element that publishes a source, and tells of it until what is
  // returned is called.
  attach(id: string, element: SightlinePublisher): () => void {
    const tell = () => {
      const { state, words, detail, trouble } = element;
      const was = this.report(id);
      const now: Report = { state, words, detail, reason: trouble?.reason };
      if (JSON.stringify(was) !== JSON.stringify(now)) this.reports.set(new Map(this.reports.value).set(id, now));
      if (id === SCREEN) this.#decide({ screen: state !== 'idle' && state !== 'failed' && state !== 'refused' });
    };
    this.#elements.set(id, element);
    element.paused = this.paused(id);
    element.addEventListener('statechange', tell);
    tell();
    return () => {
      element.removeEventListener('statechange', tell);
      if (this.#elements.get(id) !== element) return;
      this.#elements.delete(id);
      const rest = new Map(this.reports.value);
      rest.delete(id);
      this.reports.set(rest);
    };
  }

  #pause(): void {
    for (const [id, element] of this.#elements) element.paused = this.paused(id);
  }

  #keep({ on: _on, publisher: _publisher, ...camera }: Camera): void {
    this.#kept = withCamera(this.#kept, camera);
  }

  #decide(what: Partial<Decided>): void {
    const same = Object.entries(what).every(([name, value]) => this.now[name as keyof Decided] === value);
    if (same) return;
    this.decided.patch(what);
    const { cameras, microphone, privacy } = this.now;
    const { [this.#room]: _, ...others } = this.#kept.rooms;
    this.#kept = { ...this.#kept, rooms: { ...others, [this.#room]: { cameras: cameras.map(({ device, on }) => ({ device, on })), microphone, privacy } } };
    save(this.#kept);
  }
}

// ---- limits ----

export const LIMITS: Stations = { maxBitrate: 1_200_000, frameRate: 24, quality: '720p', width: 1280, height: 720, muteFrom: 0 };

// qualities are those that the gateway allows, the best first.
export function qualities(limits: Stations): string[] {
  const most = QUALITIES[limits.quality]?.[1] ?? 720;
  return Object.entries(QUALITIES).filter(([, [, height]]) => height <= most).map(([name]) => name).reverse();
}

const RATES = [300_000, 600_000, 1_200_000, 2_500_000, 5_000_000, 8_000_000];

export function bitrates(limits: Stations): number[] {
  return [...RATES.filter((r) => r < limits.maxBitrate), limits.maxBitrate].reverse();
}

// bounds are what a camera is asked for: its own wishes within the gateway's limits, and less
// where data are to be saved.
export function bounds(camera: Pick<Camera, 'quality' | 'bitrate'>, limits: Stations, saver: boolean): { quality: string; maxBitrate: number; frameRate: number } {
  const height = (quality: string) => QUALITIES[quality]?.[1] ?? Infinity;
  const wished = [camera.quality || limits.quality, limits.quality, ...(saver ? [SAVER.quality] : [])];
  return {
    quality: wished.reduce((a, b) => (height(b) < height(a) ? b : a)),
    maxBitrate: Math.min(camera.bitrate || Infinity, limits.maxBitrate, saver ? SAVER.bitrate : Infinity),
    frameRate: limits.frameRate,
  };
}
