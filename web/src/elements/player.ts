// <sightline-player>: one WHEP endpoint, played. docs/ELEMENTS.md is its manual.
import type { Kind } from '../client/session.ts';
import { loudness } from '../media/level.ts';
import { Player, type PlayerState } from '../media/player.ts';
import type { Stats } from '../media/stats.ts';
import { SHEET, StreamElement, duration, el, resolve, text } from './element.ts';

const CSS = `${SHEET}
/* An old picture must not pass for a live one, not even from two metres away. */
.shown:not([data-state="live"]) :is(video, canvas) { filter: grayscale(1) brightness(.5); }
/* A live picture has the place for itself. */
.shown[data-state="live"]:not(.gap) #message { display: none; }
`;

export class SightlinePlayer extends StreamElement {
  static readonly observedAttributes = ['src', 'token', 'kind', 'muted', 'sink', 'fit', 'controls'];

  #video = el('video', { part: 'video', playsinline: '', disablepictureinpicture: '' });
  #words = el('span');
  #age = el('span', { 'aria-hidden': 'true' });
  #detail = el('p', { id: 'detail' });
  #level = el('div', { id: 'level' });
  #meter = el('div', { id: 'meter', part: 'meter', 'aria-hidden': 'true', hidden: '' }, this.#level);
  #sound = el('button', { id: 'sound', type: 'button', hidden: '' });
  #full = el('button', { type: 'button' }, 'Full screen');
  #bar = el('div', { id: 'bar', part: 'controls', role: 'group', 'aria-label': 'Controls', hidden: '' }, this.#sound, this.#full);
  #body = el(
    'div',
    { id: 'body' },
    this.#video,
    this.#meter,
    el('div', { id: 'message', part: 'message' }, el('p', { id: 'state', role: 'status' }, this.#words, ' ', this.#age), this.#detail),
    this.#bar,
  );
  #player: Player | undefined;
  #playing = ''; // what #player plays
  #wanted = true; // sound

  constructor() {
    super(CSS);
    this.shadowRoot!.append(this.#body);
    const video = this.#video;
    // A picture that was paused from outside (media keys, power saving) would be a frozen one.
    video.addEventListener('pause', () => {
      setTimeout(() => video.srcObject && video.paused && video.play().catch(() => {}), 200);
    });
    video.addEventListener('volumechange', () => this.#show());
    this.#sound.addEventListener('click', () => {
      this.muted = !video.muted;
    });
    this.#full.addEventListener('click', () => void (document.fullscreenElement ? document.exitFullscreen() : this.requestFullscreen()).catch(() => {}));
  }

  attributeChangedCallback(): void {
    this.settle();
  }

  // ---- what pages read and do ----

  get state(): PlayerState {
    return this.#player?.state ?? 'connecting';
  }

  // words and detail say the state for people.
  get words(): string {
    return this.#player?.words ?? '';
  }

  get detail(): string {
    return this.#player?.detail ?? '';
  }

  // age is for how long the picture has stood still, in milliseconds; 0 while it moves.
  get age(): number {
    return this.#player?.age ?? 0;
  }

  // blocked says that the browser plays no sound before somebody has clicked.
  get blocked(): boolean {
    return this.#video.muted && this.#wanted;
  }

  get muted(): boolean {
    return this.hasAttribute('muted');
  }

  set muted(muted: boolean) {
    this.toggleAttribute('muted', muted);
    this.#wanted = !muted;
    this.#video.muted = muted;
    if (this.#video.paused && this.#video.srcObject) this.#video.play().catch(() => {});
    this.#show();
  }

  get level(): number {
    return this.#player?.level ?? 0;
  }

  // hasPicture says that something is shown, be it old.
  get hasPicture(): boolean {
    return this.#player?.hasPicture ?? false;
  }

  async stats(): Promise<Stats | undefined> {
    return this.#player?.stats();
  }

  // still returns the picture as it is shown now. It rejects where there is none.
  still(): Promise<Blob> {
    const { videoWidth: width, videoHeight: height } = this.#video;
    if (!this.#player?.hasPicture || !width) return Promise.reject(new DOMException('there is no picture', 'InvalidStateError'));
    const canvas = Object.assign(document.createElement('canvas'), { width, height });
    canvas.getContext('2d')!.drawImage(this.#video, 0, 0);
    return new Promise((resolve, reject) => canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('the picture can’t be encoded'))), 'image/png'));
  }

  // hurry tries again now instead of when it is time.
  hurry(): void {
    this.#player?.hurry();
  }

  // ---- what it does by itself ----

  protected override apply(): void {
    const src = this.attribute('src');
    // Another query, such as for another participant, is still the same picture.
    const now = this.isConnected && src ? [src.replace(/\?.*$/, ''), this.attribute('token'), this.attribute('kind')].join('\n') : '';
    if (now && now === this.#playing) this.#player?.redirect(resolve(src));
    if (now !== this.#playing) {
      this.#playing = now;
      this.#player?.stop();
      this.#player = undefined;
      this.#video.srcObject = null;
      if (now) this.#start(resolve(src));
    }
    if (this.#wanted === this.muted) this.#video.muted = this.muted; // else the browser may have refused sound
    this.#wanted = !this.muted;
    this.#video.style.objectFit = this.attribute('fit') || 'contain';
    this.#bar.hidden = !this.hasAttribute('controls');
    this.#full.hidden = !document.fullscreenEnabled;
    const sink = this.attribute('sink');
    if ((this.#video.sinkId ?? '') !== sink) void this.#video.setSinkId?.(sink).catch(() => {}); // gone: the default plays
    this.#show();
  }

  #start(endpoint: string): void {
    const player = new Player(this.#video, endpoint, kinds(endpoint, this.attribute('kind')), this.attribute('token'));
    this.#player = player;
    player.addEventListener('state', () => this.#player === player && this.#show());
    player.addEventListener('frame', () => this.dispatchEvent(new CustomEvent('frame', { detail: { after: player.timeToFirstFrame } })));
    player.addEventListener('stream', () => void this.#begin());
    void player.run();
  }

  // Browsers let sound play once somebody has clicked, or where a setting allows it. So it
  // is tried, and where it is refused the picture goes on without.
  async #begin(): Promise<void> {
    const video = this.#video;
    video.muted = !this.#wanted;
    try {
      await video.play();
    } catch (err) {
      if ((err as Error).name !== 'NotAllowedError' || video.muted) return;
      video.muted = true;
      await video.play().catch(() => {});
    }
  }

  #show(): void {
    const player = this.#player;
    const { state, words, detail } = this;
    const body = this.#body;
    const picture = player?.hasPicture ?? false;
    const sound = player?.hasSound ?? false;
    const gap = Math.floor((player?.soundGap ?? 0) / 1000);
    body.dataset.state = state;
    body.classList.toggle('shown', picture);
    body.classList.toggle('gap', gap > 0);
    body.classList.toggle('blocked', this.blocked && sound);
    const age = Math.floor(this.age / 1000);
    text(this.#words, gap ? 'No sound' : words);
    text(this.#age, gap ? `for ${duration(gap)}` : !age ? '' : state === 'frozen' ? `for ${duration(age)}` : picture ? `· picture is ${duration(age)} old` : '');
    text(this.#detail, gap ? '' : detail);
    text(this.#sound, this.#video.muted ? 'Turn on sound' : 'Mute');
    this.#sound.hidden = !sound;
    this.#meter.hidden = picture || !sound || state !== 'live';
    if (!this.#meter.hidden) this.#level.style.clipPath = `inset(0 ${(100 - 100 * loudness(this.level)).toFixed(1)}% 0 0)`;
    if (!player) return;
    this.tellState(state, words, detail);
    this.tellLevel(this.level);
  }
}

// kinds tells what an endpoint plays: its path says so, else the attribute.
export function kinds(endpoint: string, kind: string): Kind[] {
  const last = new URL(endpoint).pathname.split('/').at(-1);
  if (last === '~mix') return ['audio'];
  for (const k of ['audio', 'video'] as const) if (kind === k || (!kind && last === k)) return [k];
  return ['audio', 'video'];
}
