// <sightline-publisher>: one camera, microphone or screen, published at one WHIP endpoint.
// docs/ELEMENTS.md is its manual.
import type { Source, Trouble } from '../media/devices.ts';
import { loudness } from '../media/level.ts';
import { Publisher, type PublisherState } from '../media/publisher.ts';
import type { Stats } from '../media/stats.ts';
import { SHEET, StreamElement, el, resolve, text } from './element.ts';

const LISTEN = 100; // ms between looks at the level

const CSS = `${SHEET}
.paused video { filter: brightness(.3); }
.shown[data-state="live"] #message { display: none; }
`;

export class SightlinePublisher extends StreamElement {
  static readonly observedAttributes = ['src', 'token', 'device', 'source', 'label', 'role', 'max-bitrate', 'frame-rate', 'quality', 'paused'];

  #video = el('video', { part: 'video', playsinline: '', disablepictureinpicture: '' });
  #words = el('span');
  #detail = el('p', { id: 'detail' });
  #level = el('div', { id: 'level' });
  #meter = el('div', { id: 'meter', part: 'meter', 'aria-hidden': 'true', hidden: '' }, this.#level);
  #body = el(
    'div',
    { id: 'body' },
    this.#video,
    this.#meter,
    el('div', { id: 'message', part: 'message' }, el('p', { id: 'state', role: 'status' }, this.#words), this.#detail),
  );
  #publisher: Publisher | undefined;
  #publishing = ''; // what #publisher publishes, and where
  #device = '';
  #limits = '';
  #given: MediaStream | null = null;
  #listen: ReturnType<typeof setInterval> | undefined;

  constructor() {
    super(CSS);
    this.shadowRoot!.append(this.#body);
    this.#video.muted = true; // one's own
  }

  attributeChangedCallback(): void {
    this.settle();
  }

  // ---- what pages read and do ----

  get state(): PublisherState {
    return this.#publisher?.state ?? 'idle';
  }

  get words(): string {
    return this.#publisher?.words ?? '';
  }

  get detail(): string {
    return this.#publisher?.detail ?? '';
  }

  // trouble is why the device can't be had; undefined if it can.
  get trouble(): Trouble | undefined {
    return this.#publisher?.trouble;
  }

  // stream is what is published. Who sets one publishes that instead of a device, and
  // stops its tracks himself; null goes back to the device.
  get stream(): MediaStream | null {
    return this.#publisher?.stream ?? this.#given;
  }

  set stream(stream: MediaStream | null) {
    this.#given = stream;
    if (!this.#publisher) return;
    this.#publisher.stream = stream;
    if (stream) this.#publisher.start();
  }

  get paused(): boolean {
    return this.hasAttribute('paused');
  }

  set paused(paused: boolean) {
    this.toggleAttribute('paused', paused);
    if (this.#publisher) this.#publisher.paused = paused; // at once
  }

  get level(): number {
    return this.#publisher?.level ?? 0;
  }

  // returnAudio is where the publisher hears the others, once it is connected.
  get returnAudio(): string | undefined {
    return this.#publisher?.returnAudio;
  }

  async stats(): Promise<Stats | undefined> {
    return this.#publisher?.stats();
  }

  // replace publishes another device in the same session. It rejects, and all stays as it
  // is, if that can't be had.
  async replace(device: string): Promise<void> {
    await this.#publisher?.replace(device);
    this.#given = null;
    this.#device = device;
    this.setAttribute('device', device);
  }

  // start publishes again after a refusal or a failure. A screen is published by it alone,
  // since browsers want a click for that.
  start(): void {
    this.#begin();
    this.#publisher?.start();
  }

  stop(): void {
    this.#publisher?.stop();
  }

  // ---- what it does by itself ----

  protected override apply(): void {
    this.#begin();
    const publisher = this.#publisher;
    if (!publisher) return;
    const device = this.attribute('device');
    if (device !== this.#device) {
      this.#device = device;
      // An answer to what the user chose: what he has is not taken away for it.
      if (device) publisher.replace(device).catch((err) => this.dispatchEvent(new CustomEvent('devicelost', { detail: { device, error: err } })));
    }
    const limits = this.#limitsNow();
    if (JSON.stringify(limits) !== this.#limits) {
      this.#limits = JSON.stringify(limits);
      publisher.limit(limits).catch(() => {}); // a wish
    }
    if (publisher.paused !== this.paused) publisher.paused = this.paused;
    this.#show();
  }

  // begin makes a publisher of the attributes, if there is none or they are for another.
  #begin(): void {
    const src = this.attribute('src');
    const source = (this.attribute('source') || 'camera') as Source;
    const [token, label, role] = ['token', 'label', 'role'].map((name) => this.attribute(name)) as [string, string, string];
    const now = this.isConnected && src ? [src, source, token, label, role].join('\n') : '';
    if (now === this.#publishing) return;
    this.#publishing = now;
    this.#publisher?.stop();
    this.#publisher = undefined;
    clearInterval(this.#listen);
    this.#video.srcObject = null;
    if (!now) return this.#show();

    const endpoint = new URL(resolve(src));
    if (label) endpoint.searchParams.set('label', label);
    if (role) endpoint.searchParams.set('role', role);
    this.#device = this.attribute('device');
    const limits = this.#limitsNow();
    this.#limits = JSON.stringify(limits);
    const publisher = new Publisher({ endpoint: endpoint.href, token, source, device: this.#device || undefined, ...limits });
    this.#publisher = publisher;
    publisher.paused = this.paused;
    publisher.addEventListener('state', () => this.#publisher === publisher && this.#show());
    publisher.addEventListener('stream', () => this.#publisher === publisher && this.#preview());
    publisher.addEventListener('devicelost', (e) => this.dispatchEvent(new CustomEvent('devicelost', { detail: (e as CustomEvent).detail })));
    this.#listen = setInterval(() => {
      if (!this.#meter.hidden) this.#level.style.clipPath = `inset(0 ${(100 - 100 * loudness(this.level)).toFixed(1)}% 0 0)`;
      this.tellLevel(this.level);
    }, LISTEN);
    if (this.#given) publisher.stream = this.#given;
    if (this.#given || source !== 'screen') publisher.start();
  }

  #limitsNow() {
    return { maxBitrate: this.number('max-bitrate'), frameRate: this.number('frame-rate'), quality: this.attribute('quality') || undefined };
  }

  #preview(): void {
    const stream = this.#publisher?.stream ?? null;
    this.#video.srcObject = stream?.getVideoTracks().length ? stream : null;
    if (this.#video.srcObject) this.#video.play().catch(() => {});
    this.#show();
  }

  #show(): void {
    const { state, words, detail } = this;
    const body = this.#body;
    body.dataset.state = state;
    body.classList.toggle('shown', !!this.#video.srcObject);
    body.classList.toggle('paused', this.paused);
    text(this.#words, words);
    text(this.#detail, detail);
    this.#meter.hidden = !this.#publisher?.stream?.getAudioTracks().length;
    this.tellState(state, words, detail);
  }
}
