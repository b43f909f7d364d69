// One's own microphone and camera, published together under one's voice's name. A
// microphone that is muted stays open: it goes on measuring, so that the page can say that
// nobody hears what is said, and is on again without a delay.
import type { Stats } from '../media/stats.ts';
import { explain, open, type Trouble } from '../media/devices.ts';
import { Meter } from '../media/level.ts';
import { Publisher, type PublisherState } from '../media/publisher.ts';
import { deviceList, refreshDevices } from '../ui/devices.tsx';
import { note } from '../ui/diagnostics.ts';
import { Store } from '../ui/store.ts';

const LISTEN = 150; // ms between looks at a muted microphone's level
const LOUD = 0.03; // root mean square of somebody who speaks into it
const LOUD_LOOKS = 3; // in a row: a knock is not speech
const SAID = 5_000; // ms for which it is said that he is muted

export type Use = 'on' | 'off' | 'none' | 'starting';

export interface OwnState {
  microphone: Use;
  camera: Use;
  microphoneTrouble: Trouble | undefined;
  cameraTrouble: Trouble | undefined;
  publishing: PublisherState;
  words: string; // of publishing
  detail: string;
  muted: boolean; // he speaks, and nobody hears it
}

export interface Limits {
  maxBitrate?: number | undefined;
  frameRate?: number | undefined;
  quality?: string | undefined;
}

type Kind = 'microphone' | 'camera';

export class Own extends EventTarget {
  readonly store = new Store<OwnState>({
    microphone: 'none', camera: 'none', microphoneTrouble: undefined, cameraTrouble: undefined, publishing: 'idle', words: '', detail: '', muted: false,
  });
  limits: Limits = {};

  #endpoint = ''; // none yet
  #token: string;
  #microphone: MediaStreamTrack | undefined; // the device's own
  #voice: MediaStreamTrack | undefined; // its clone, which is published
  #camera: MediaStreamTrack | undefined;
  #wanted = false; // to be heard
  #meter: Meter | undefined;
  #publisher: Publisher | undefined;
  #published = ''; // kinds and endpoint
  #loud = 0;
  #listen: ReturnType<typeof setInterval> | undefined;
  #quiet: ReturnType<typeof setTimeout> | undefined;
  #forget: () => void;
  #run: Record<Kind, number> = { microphone: 0, camera: 0 }; // the newest start of each
  #device: Record<Kind, string> = { microphone: '', camera: '' };

  // Event 'lost': a device is gone, with {label, instead} as its detail.
  constructor(token = '') {
    super();
    this.#token = token;
    this.#forget = deviceList.subscribe(() => this.#chosen());
    navigator.mediaDevices?.addEventListener('devicechange', this.#plugged);
  }

  stop(): void {
    this.#forget();
    navigator.mediaDevices?.removeEventListener('devicechange', this.#plugged);
    this.#drop('microphone');
    this.#drop('camera');
    this.#publish();
  }

  // publishAt says where. Another endpoint is another session.
  publishAt(endpoint: string): void {
    if (endpoint === this.#endpoint) return;
    this.#endpoint = endpoint;
    this.#publish();
  }

  // level is that of the microphone, heard or not.
  level = (): number => this.#meter?.level ?? 0;

  get stream(): MediaStream | null {
    return this.#camera ? new MediaStream([this.#camera]) : null;
  }

  stats(): Promise<Stats | undefined> {
    return this.#publisher?.stats() ?? Promise.resolve(undefined);
  }

  hurry(): void {
    if (this.#publisher?.state === 'reconnecting' || this.#publisher?.state === 'connecting') this.#publisher.hurry();
  }

  // retry publishes again after a refusal.
  retry(): void {
    this.#publisher?.start();
  }

  // speak turns the microphone on or off. It resolves once that is so, or can't be. One that
  // is open is on at once when it is wanted.
  async speak(on: boolean, isOpen = on): Promise<void> {
    this.#wanted = on;
    if (isOpen && !this.#microphone) return this.#start('microphone');
    this.#show();
  }

  // show turns the camera on, or off: then it is given back.
  async show(on: boolean): Promise<void> {
    if (on) return this.#start('camera');
    this.#drop('camera');
    this.store.patch({ camera: 'off', cameraTrouble: undefined });
    this.#publish();
  }

  async #start(kind: Kind, device = this.#preferred(kind)): Promise<void> {
    const mine = ++this.#run[kind];
    const trouble = kind === 'microphone' ? 'microphoneTrouble' : 'cameraTrouble';
    if (!this.#track(kind)) this.store.patch({ [kind]: 'starting', [trouble]: undefined });
    try {
      let track: MediaStreamTrack;
      try {
        track = await open(kind, { device: device || undefined, ...this.limits });
      } catch (err) {
        // Any is better than none.
        if (!device || explain(err, kind).reason !== 'missing') throw err;
        track = await open(kind, { ...this.limits });
      }
      if (mine !== this.#run[kind]) return track.stop();
      this.#device[kind] = device;
      this.#have(kind, track);
      void refreshDevices(); // their names are told now
    } catch (err) {
      if (mine !== this.#run[kind]) return;
      note(kind, `${(err as Error).name}: ${(err as Error).message}`);
      this.store.patch({ [trouble]: explain(err, kind), ...(this.#track(kind) ? {} : { [kind]: 'none' }) });
      this.#show();
    }
  }

  #track(kind: Kind): MediaStreamTrack | undefined {
    return kind === 'microphone' ? this.#microphone : this.#camera;
  }

  #have(kind: Kind, track: MediaStreamTrack): void {
    const before = [this.#track(kind), kind === 'microphone' ? this.#voice : undefined];
    track.addEventListener('ended', () => this.#lost(kind, track));
    if (kind === 'microphone') {
      this.#microphone = track;
      this.#voice = track.clone();
      this.#meter?.close();
      this.#meter = new Meter(track);
      this.store.patch({ microphoneTrouble: undefined });
    } else {
      this.#camera = track;
      this.store.patch({ cameraTrouble: undefined });
    }
    this.#publish();
    this.#show();
    for (const t of before) t?.stop(); // after: no hole between the two
    this.dispatchEvent(new Event('tracks'));
  }

  #lost(kind: Kind, track: MediaStreamTrack): void {
    if (this.#track(kind) !== track) return;
    const label = track.label;
    this.#drop(kind);
    this.#publish();
    this.#show();
    void this.#start(kind, '').then(() => {
      const instead = this.#track(kind)?.label;
      this.dispatchEvent(new CustomEvent('lost', { detail: { label, instead } }));
    });
  }

  #drop(kind: Kind): void {
    this.#run[kind]++;
    if (kind === 'microphone') {
      this.#microphone?.stop();
      this.#voice?.stop();
      this.#meter?.close();
      this.#microphone = this.#voice = this.#meter = undefined;
    } else {
      this.#camera?.stop();
      this.#camera = undefined;
    }
    this.dispatchEvent(new Event('tracks'));
  }

  // plugged looks whether what was missed is there.
  #plugged = (): void => {
    const { microphoneTrouble, cameraTrouble } = this.store.value;
    if (this.#wanted && !this.#microphone && microphoneTrouble?.passes) void this.#start('microphone');
    if (!this.#camera && cameraTrouble?.passes) void this.#start('camera');
  };

  #preferred(kind: Kind): string {
    return deviceList.value.chosen[kind === 'microphone' ? 'audioinput' : 'videoinput'];
  }

  // chosen takes another device where another is chosen.
  #chosen(): void {
    for (const kind of ['microphone', 'camera'] as const) {
      const track = this.#track(kind);
      const wanted = this.#preferred(kind);
      if (!track || wanted === this.#device[kind]) continue;
      this.#device[kind] = wanted;
      if (wanted && track.getSettings().deviceId !== wanted) void this.#start(kind, wanted);
    }
  }

  // ---- publishing ----

  #publish(): void {
    const tracks = [this.#voice, this.#camera].filter((t) => t !== undefined);
    const kinds = this.#endpoint && tracks.length ? `${this.#endpoint} ${tracks.map((t) => t.kind).join(' ')}` : '';
    if (kinds !== this.#published) {
      this.#published = kinds;
      this.#publisher?.stop();
      this.#publisher = undefined;
      if (kinds) this.#begin();
      else this.store.patch({ publishing: 'idle', words: '', detail: '' });
    }
    if (this.#publisher) this.#publisher.stream = new MediaStream(tracks);
    if (this.#voice) this.#voice.enabled = this.#wanted; // the publisher has turned it on
  }

  #begin(): void {
    const publisher = new Publisher({ endpoint: this.#endpoint, token: this.#token, source: this.#camera ? 'camera' : 'microphone', ...this.limits });
    this.#publisher = publisher;
    publisher.addEventListener('state', () => {
      if (this.#publisher !== publisher) return;
      const { state, words, detail } = publisher;
      const was = this.store.value;
      if (was.publishing !== state || was.words !== words || was.detail !== detail) this.store.patch({ publishing: state, words, detail });
    });
    publisher.stream = new MediaStream([this.#voice, this.#camera].filter((t) => t !== undefined));
    publisher.start();
  }

  #show(): void {
    const { microphone, camera } = this.store.value;
    if (this.#voice) this.#voice.enabled = this.#wanted;
    const now = {
      microphone: (this.#microphone ? (this.#wanted ? 'on' : 'off') : microphone === 'starting' ? 'starting' : 'none') as Use,
      camera: (this.#camera ? 'on' : camera === 'on' ? 'none' : camera) as Use,
    };
    if (now.microphone !== microphone || now.camera !== camera) this.store.patch(now);
    this.#hearMuted(now.microphone === 'off');
  }

  #hearMuted(muted: boolean): void {
    if (!muted) {
      clearInterval(this.#listen);
      clearTimeout(this.#quiet);
      this.#listen = undefined;
      this.#loud = 0;
      if (this.store.value.muted) this.store.patch({ muted: false });
      return;
    }
    this.#listen ??= setInterval(() => {
      this.#loud = this.level() > LOUD ? this.#loud + 1 : 0;
      if (this.#loud < LOUD_LOOKS) return;
      this.#loud = 0;
      if (!this.store.value.muted) this.store.patch({ muted: true });
      clearTimeout(this.#quiet);
      this.#quiet = setTimeout(() => this.store.patch({ muted: false }), SAID);
    }, LISTEN);
  }
}
