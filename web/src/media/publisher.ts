// A Publisher keeps one device, or a stream that it was given, published at one WHIP
// endpoint: session after session, over lost connections and lost devices.
//
//	idle ──▶ starting ──▶ connecting ──▶ live ◀──▶ paused
//	             ▲             ▲           │
//	             │             └── reconnecting
//	             └── device-lost ◀─────────┘ (the session goes on, and has its picture again)
//
// refused (by the gateway) and failed (here) want somebody to do something; every other
// state leads on by itself.
import { Refused } from '../client/http.ts';
import { Backoff, MOVING, Pause, notYet } from '../client/retry.ts';
import type { Kind } from '../client/session.ts';
import { CODECS, publish, type Publication } from '../client/whip.ts';
import { explain, open, remember, video, type Source, type Trouble, type Wishes } from './devices.ts';
import { Meter } from './level.ts';
import { sentence } from './player.ts';
import { Readings, type Stats } from './stats.ts';

const LOOK_AGAIN = 5_000; // ms between looks for a lost device, beside the browser's own word
// Two pages that publish under one name take it from each other: who lost it so soon after
// he had it is in no hurry. What the gateway does of its own accord is no such loss.
const SHORT = 30_000;
const OWN_ACCORD = ['moved', 'draining', 'unknown'];
const EXPLAINS = 200; // ms that the gateway has to say why it has ended a session; one that is slow wants no hurry
// Whoever encodes nothing of a picture for so long can't: a codec of broken hardware, or one
// that the browser has only by name.
const ENCODES = 5_000;
const PROVE = 1_000; // ms between looks at that
// A gateway that lives reports every second what it gets. One that is not heard for so long is asked
// for the session, and again after a second: another one that is in its place knows nothing of it.
const UNHEARD = 2_500;
const LISTEN = 500; // ms between looks at that
const ASK = 1_000;
const ALARM = 3_000; // ms after which a session that the gateway has ended is missed
const IN_FLIGHT = 150; // ms after which no frame from before a pause is still on its way to the encoder

export type PublisherState = 'idle' | 'starting' | 'connecting' | 'live' | 'paused' | 'reconnecting' | 'device-lost' | 'refused' | 'failed';

export interface PublisherOptions extends Wishes {
  endpoint: string;
  token?: string | undefined;
  source: Source;
  maxBitrate?: number | undefined; // bit/s of video
}

const WORDS: Record<PublisherState, readonly [string, string]> = {
  idle: ['Off', ''],
  starting: ['Starting', 'The browser may ask for permission.'],
  connecting: ['Connecting', ''],
  live: ['Live', ''],
  paused: ['Paused', 'Nobody sees or hears anything from here.'],
  reconnecting: ['Reconnecting', 'The connection was lost.'],
  'device-lost': ['Device lost', 'It goes on as soon as the device is there again.'],
  refused: ['Not allowed', 'This needs a valid access token.'],
  failed: ['Failed', ''],
};

export class Publisher extends EventTarget {
  state: PublisherState = 'idle';
  words: string = WORDS.idle[0];
  detail: string = WORDS.idle[1];
  sessions = 0; // opened so far
  trouble: Trouble | undefined; // with the device

  #options: PublisherOptions;
  #abort: AbortController | undefined;
  #given: MediaStream | undefined;
  #tracks: MediaStreamTrack[] = []; // of the stream that was given, else our own
  #publication: Publication | undefined;
  #readings: Readings | undefined;
  #meter: Meter | undefined;
  #paused = false;
  #pause = new Pause(); // between sessions
  #search = new Pause(); // between looks for a device
  #searching: Promise<boolean> | undefined;
  #unable = new Set<string>(); // codecs that encode nothing here
  #proof = new Pause(); // between looks at the encoder
  #moving = -Infinity; // when the last session has ended: the room may be elsewhere

  // Events: 'state' whenever state, words or detail may have changed; 'stream' when there
  // are other tracks; 'devicelost', with {device, label, instead} as its detail.
  constructor(options: PublisherOptions) {
    super();
    this.#options = { ...options };
  }

  // stream is what is published; null without a device.
  get stream(): MediaStream | null {
    return this.#tracks.length ? new MediaStream(this.#tracks) : null;
  }

  // Whoever sets a stream stops its tracks himself; null goes back to the device.
  set stream(stream: MediaStream | null) {
    void this.#use(stream?.getTracks() ?? [], stream ?? undefined);
    this.#search.wake();
    if (!stream && this.#abort) void this.#acquire(this.#abort.signal);
  }

  // level is that of the sound, 0 to 1.
  get level(): number {
    return this.#paused ? 0 : (this.#meter?.level ?? 0);
  }

  get paused(): boolean {
    return this.#paused;
  }

  // A paused publisher keeps its session, and sends black and silence. The black is of
  // another size, and so begins with a keyframe: who joins now is sent that one first, and not
  // the picture from before the pause that the gateway has kept for joiners.
  set paused(paused: boolean) {
    const changes = paused !== this.#paused;
    this.#paused = paused;
    for (const t of this.#tracks) t.enabled = !paused;
    if (changes) void this.#resize();
    this.#tell();
  }

  async #resize(): Promise<void> {
    const paused = this.#paused;
    if (paused) await new Promise((resolve) => setTimeout(resolve, IN_FLIGHT));
    if (paused === this.#paused) await this.#publication?.limit({ shrink: paused ? 4 : 1 }).catch(() => {});
  }

  // start publishes until stop.
  start(): void {
    if (this.#abort) return;
    this.#abort = new AbortController();
    if (!this.#tracks.length) this.#set('starting');
    navigator.mediaDevices?.addEventListener('devicechange', this.#plugged);
    globalThis.addEventListener('online', this.#online);
    void this.#run(this.#abort.signal);
  }

  stop(): void {
    this.#end();
    this.#set('idle');
  }

  // replace publishes another device in the same session. It rejects, and all stays as it
  // is, if that can't be had.
  async replace(device: string): Promise<void> {
    const track = await open(this.#options.source, { ...this.#options, device });
    this.#options.device = device;
    this.trouble = undefined;
    await this.#use([track]);
    this.#search.wake();
  }

  // limit changes the limits of the video, at once.
  async limit(limits: Pick<PublisherOptions, 'maxBitrate' | 'frameRate' | 'quality'>): Promise<void> {
    Object.assign(this.#options, limits);
    const { maxBitrate, frameRate } = this.#options;
    await this.#publication?.limit({ maxBitrate, maxFramerate: frameRate });
    const { deviceId: _, ...constraints } = video(this.#options);
    if (this.#options.source !== 'camera' || this.#given) return;
    for (const t of this.#tracks) if (t.kind === 'video') await t.applyConstraints({ ...t.getConstraints(), ...constraints });
  }

  // hurry tries again now instead of when it is time.
  hurry(): void {
    this.#pause.wake();
  }

  // stats returns the readings since the last call; undefined without a session.
  stats(): Promise<Stats | undefined> {
    return this.#readings?.read() ?? Promise.resolve(undefined);
  }

  get returnAudio(): string | undefined {
    return this.#publication?.returnAudio;
  }

  async #run(signal: AbortSignal): Promise<void> {
    const backoff = new Backoff([...Backoff.steps, 10_000]);
    while (!signal.aborted) {
      let wait: number | undefined;
      let publication: Publication | undefined;
      const began = performance.now();
      let ended: number | undefined;
      try {
        if (!(await this.#acquire(signal))) return;
        if (this.state !== 'reconnecting') this.#set('connecting');
        const [audio, video] = (['audio', 'video'] as const).map((kind) => this.#tracks.find((t) => t.kind === kind));
        const { endpoint, token, maxBitrate, frameRate, source } = this.#options;
        publication = await publish(endpoint, {
          audio, video, token, signal, maxBitrate,
          codecs: [...CODECS.filter((c) => !this.#unable.has(c)), ...this.#unable],
          maxFramerate: source === 'camera' ? frameRate : undefined,
          degradation: 'maintain-resolution', // equipment is read: rather fewer frames than letters that blur
          onState: (state) => {
            if (state === 'connected' || state === 'connecting') this.#tell();
            else this.#set('reconnecting');
          },
        });
        if (signal.aborted) return; // stopped before it was known
        this.#publication = publication;
        this.#readings = new Readings(publication.session.pc);
        this.sessions++;
        await this.#send(); // the device may have changed meanwhile
        this.#tell(); // it may be connected already
        if (this.#paused) void this.#resize();
        void this.#prove(publication, signal);
        void this.#listen(publication, signal);
        const reason = await publication.ended;
        if (signal.aborted) return;
        ended = performance.now();
        const { connected } = publication.session;
        if (connected) this.#moving = ended;
        if (connected && reason === 'closed') this.#anew();
        else this.#set('reconnecting');
        const cause = reason === 'closed' ? await this.#cause(publication, signal) : '';
        if (signal.aborted) return;
        if (cause === 'replaced') this.#set('reconnecting', 'The name is taken', 'Another page or encoder has it now. End that one, or take another name here.');
        if (OWN_ACCORD.includes(cause) || (connected && (reason !== 'closed' || ended - began > SHORT))) backoff.reset();
      } catch (err) {
        if (signal.aborted) return;
        wait = this.#explain(err);
        if (this.state === 'refused' || this.state === 'failed') return this.#end();
      } finally {
        publication?.close();
        if (this.#publication === publication) this.#publication = this.#readings = undefined;
      }
      const since = ended === undefined ? 0 : performance.now() - ended;
      await this.#pause.of(Math.max(0, backoff.next(wait) - since), signal);
    }
  }

  // cause returns the gateway's word for why it has ended the session; '' if it doesn't say.
  async #cause({ session }: Publication, signal: AbortSignal): Promise<string> {
    return (await Promise.race([session.cause, new Pause().of(EXPLAINS, signal)])) ?? '';
  }

  // prove opens another session with another codec where this one's encoder makes nothing.
  async #prove(publication: Publication, signal: AbortSignal): Promise<void> {
    const sender = publication.sender('video');
    for (let idle = 0; sender && idle < ENCODES; ) {
      await this.#proof.of(PROVE, signal);
      if (this.#publication !== publication) return;
      const report = await sender.getStats().catch(() => undefined);
      const encoded = [...(report?.values() ?? [])].some((r) => r.type === 'outbound-rtp' && r.framesEncoded > 0);
      if (encoded) return;
      const { track } = sender;
      const shows = publication.session.pc.connectionState === 'connected' && track?.readyState === 'live' && !track.muted;
      idle = report && shows ? idle + PROVE : 0;
    }
    const { codec } = publication;
    if (!codec || this.#publication !== publication) return;
    if (this.#unable.size + 1 >= CODECS.length) this.#unable.clear(); // it was not the codec
    this.#unable.add(codec);
    publication.close();
  }

  // listen asks for the session while nothing comes from the gateway: without it nobody ends it
  // before ICE does, half a minute later.
  async #listen(publication: Publication, signal: AbortSignal): Promise<void> {
    const { pc } = publication.session;
    const look = new Pause();
    let heard = { at: performance.now(), what: '' };
    for (let asked = 0; ; ) {
      await look.of(LISTEN, signal);
      if (this.#publication !== publication || signal.aborted) return;
      const what = incoming(await pc.getStats().catch(() => new Map() as RTCStatsReport));
      const now = performance.now();
      if (!what || what !== heard.what || pc.connectionState !== 'connected') heard = { at: now, what };
      if (now - heard.at < UNHEARD || now - asked < ASK) continue;
      asked = now;
      void publication.session.check();
    }
  }

  #end(): void {
    this.#abort?.abort();
    this.#abort = undefined;
    navigator.mediaDevices?.removeEventListener('devicechange', this.#plugged);
    globalThis.removeEventListener('online', this.#online);
    this.#publication?.close();
    this.#publication = this.#readings = undefined;
    this.#searching = undefined;
    if (!this.#given) void this.#use([]);
  }

  // ---- the device ----

  // acquire returns once there is something to publish, and false if there won't be.
  #acquire(signal: AbortSignal): Promise<boolean> {
    if (this.#searching) return this.#searching;
    const searching = this.#find(signal).finally(() => {
      if (this.#searching === searching) this.#searching = undefined;
    });
    this.#searching = searching;
    return searching;
  }

  async #find(signal: AbortSignal): Promise<boolean> {
    const { source } = this.#options;
    let instead = false; // another than the one that was chosen
    while (!this.#tracks.some((t) => t.readyState === 'live')) {
      if (signal.aborted) return false;
      if (!this.#given) {
        try {
          const track = await open(source, this.#options);
          if (signal.aborted) {
            track.stop();
            return false;
          }
          this.trouble = undefined;
          this.#options.device ??= track.getSettings().deviceId; // another camera is another picture
          if (source !== 'screen' && !instead) remember(source === 'camera' ? 'videoinput' : 'audioinput', { deviceId: this.#options.device ?? '', label: track.label });
          await this.#use([track]);
          continue;
        } catch (err) {
          if (signal.aborted) return false;
          this.trouble = explain(err, source);
          if (!this.trouble.passes) {
            this.#set('failed', this.trouble.words, this.trouble.advice);
            this.#end();
            return false;
          }
          if (this.trouble.reason === 'missing' && source === 'microphone' && this.#options.device) {
            this.#options.device = undefined; // any is better than none
            instead = true;
            continue;
          }
          this.#set('device-lost', this.trouble.words, this.trouble.advice);
        }
      }
      await this.#search.of(LOOK_AGAIN, signal);
    }
    return true;
  }

  async #use(tracks: MediaStreamTrack[], given?: MediaStream): Promise<void> {
    const [before, own] = [this.#tracks, !this.#given];
    this.#given = given;
    this.#tracks = tracks;
    for (const t of before) t.onended = null;
    for (const t of tracks) {
      t.enabled = !this.#paused;
      t.onended = () => this.#lost(t);
    }
    this.#measure();
    await this.#send();
    if (own) for (const t of before) if (!tracks.includes(t)) t.stop(); // after: no black frame between the two
    this.dispatchEvent(new Event('stream'));
    this.#tell();
  }

  // send puts the tracks into the session that is there. Tracks of another kind than
  // before need another session.
  async #send(): Promise<void> {
    const publication = this.#publication;
    if (!publication) return;
    for (const kind of ['audio', 'video'] satisfies Kind[]) {
      const track = this.#tracks.find((t) => t.kind === kind) ?? null;
      const sender = publication.sender(kind);
      if (sender && sender.track !== track) await sender.replaceTrack(track).catch(() => publication.close());
      else if (!sender && track) publication.close();
    }
  }

  #lost(track: MediaStreamTrack): void {
    const { source, device } = this.#options;
    if (source === 'screen' && !this.#given) return this.stop(); // by its own button
    this.#tracks = this.#tracks.filter((t) => t !== track);
    this.#measure();
    this.#set('device-lost', `${track.label || 'The device'} is gone`);
    const signal = this.#abort?.signal;
    if (!signal) return;
    void this.#acquire(signal).then((found) => {
      const instead = this.#tracks.find((t) => t.kind === track.kind)?.label;
      if (found && instead !== track.label) this.#tellLost(device, track.label, instead);
    });
    this.#tellLost(device, track.label, undefined);
  }

  #tellLost(device: string | undefined, label: string, instead: string | undefined): void {
    this.dispatchEvent(new CustomEvent('devicelost', { detail: { device, label, instead } }));
  }

  #plugged = (): void => this.#search.wake();
  #online = (): void => this.#pause.wake();

  #measure(): void {
    this.#meter?.close();
    const audio = this.#tracks.find((t) => t.kind === 'audio');
    this.#meter = audio ? new Meter(audio) : undefined;
  }

  // ---- state ----

  // anew says that another session is begun because the gateway has ended one: the room moves, mostly.
  #anew(): void {
    const why = 'The gateway has ended the session. It begins anew.';
    this.#set(performance.now() - this.#moving > ALARM ? 'reconnecting' : 'connecting', undefined, why);
  }

  // explain sets the state that err means and returns how long to wait; undefined leaves
  // that to the back-off.
  #explain(err: unknown): number | undefined {
    if (!(err instanceof Refused)) {
      const silent = err instanceof TypeError || (err as Error).name === 'TimeoutError'; // of fetch
      if (!silent) console.error(err);
      this.#set('reconnecting', undefined, silent ? 'The gateway does not answer.' : 'This browser could not use the gateway’s answer.');
      return undefined;
    }
    const { status, detail, retryAfter } = err;
    if (notYet(status) && performance.now() - this.#moving < MOVING) {
      this.#anew();
      return undefined;
    }
    if (status === 401 || status === 403) this.#set('refused', undefined, status === 403 ? detail : '');
    else if (status === 409) this.#set('reconnecting', 'The name is taken', detail);
    else if (status === 429 || status === 503) this.#set('reconnecting', 'The gateway is busy', detail);
    else if (status >= 400 && status < 500 && status !== 404) this.#set('failed', 'The gateway can’t use this', detail);
    else this.#set('reconnecting', undefined, detail || 'The gateway refused the request.'); // 404 is a proxy's: the gateway is away
    return retryAfter;
  }

  // tell sets the state that the session and the device have.
  #tell(): void {
    const live = this.#publication?.session.pc.connectionState === 'connected' && this.#tracks.some((t) => t.readyState === 'live');
    if (live) this.#set(this.#paused ? 'paused' : 'live');
    else if (this.state === 'live' || this.state === 'paused') this.#set('reconnecting');
    else if (this.state === 'device-lost' && this.#tracks.length && this.#abort) this.#set('connecting');
  }

  #set(state: PublisherState, words?: string, detail?: string): void {
    this.state = state;
    this.words = words ?? WORDS[state][0];
    this.detail = detail ? sentence(detail) : WORDS[state][1];
    this.dispatchEvent(new Event('state'));
  }
}

// incoming is something that changes with whatever comes from the gateway; '' where the browser does not tell.
function incoming(report: RTCStatsReport): string {
  const out: unknown[] = [];
  report.forEach((r) => {
    if (r.type === 'remote-inbound-rtp') out.push(r.timestamp);
    if (r.type === 'candidate-pair' && r.nominated) out.push(r.bytesReceived);
  });
  return out.join(' ');
}
