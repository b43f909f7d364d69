// A Player keeps one WHEP endpoint playing in a media element: session after session, with
// the state of what is shown always known and told in words.
//
//	connecting ──▶ live ◀──▶ frozen
//	    ▲            └─────────┴──▶ reconnecting ──▶ connecting, or
//	    └── waiting (no camera yet), ended (no camera any more), busy, refused, unplayable
//
// Every state but live leads back to connecting by itself.
import { Refused } from '../client/http.ts';
import { Backoff, MOVING, Pause, notYet } from '../client/retry.ts';
import type { Kind, Session } from '../client/session.ts';
import { play } from '../client/whep.ts';
import { FREEZE, Freshness } from './freeze.ts';
import { Energy } from './level.ts';
import { Readings, type Stats } from './stats.ts';

const LOOK = 250; // between two looks at the readings; all times here are milliseconds
const LISTEN = 100; // the same where there is only sound, whose level is shown

const ASK = 1_000; // between questions to the server while frozen: a restarted one has forgotten the session
const ALARM = 3_000; // so long after a session of a moving room has ended it is no longer just moving
const OLD = 8_000; // a picture that stood still for so long before its session ended was nothing that moved

const NOT_LIVE = 2_000; // where the server doesn't say when to ask again
const NOT_ALLOWED = 15_000;
const NOT_PLAYABLE = 10_000;

export type PlayerState = 'connecting' | 'waiting' | 'live' | 'frozen' | 'reconnecting' | 'ended' | 'busy' | 'refused' | 'unplayable';

const WORDS = {
  connecting: ['Connecting', ''],
  blank: ['Waiting for the picture', 'The connection is up, but nothing has come yet.'],
  live: ['Live', ''],
  waiting: ['Waiting for the camera', 'It is not live yet. The picture comes by itself.'],
  ended: ['The camera has stopped', 'The picture comes back by itself when the camera does.'],
  lost: ['Reconnecting', 'The connection was lost.'],
  moving: ['Moving', 'The room is being moved to another server. The picture comes back by itself.'],
  silent: ['Reconnecting', 'The gateway does not answer.'],
  busy: ['The gateway is busy', 'This page tries again by itself.'],
  refused: ['Not allowed', 'This link needs a valid access token.'],
  unplayable: ['Can’t be played here', 'This browser can’t decode what the camera sends.'],
  unusable: ['Reconnecting', 'This browser could not use the gateway’s answer.'],
  failed: ['Reconnecting', 'The gateway refused the request.'],
} as const satisfies Record<string, readonly [string, string]>;

type Words = keyof typeof WORDS;

// What is said instead where there is only sound, of a camera or of a whole room.
const SOUND_WORDS: Partial<Record<Words, readonly [string, string]>> = {
  blank: ['Waiting for the sound', 'The connection is up, but nothing has come yet.'],
  waiting: ['Waiting for the sound', 'It is not live yet, and comes by itself.'],
  ended: ['The sound has stopped', 'It comes back by itself.'],
  moving: ['Moving', 'The room is being moved to another server. The sound comes back by itself.'],
  unplayable: ['Can’t be played here', 'This browser can’t decode the sound.'],
};

export class Player extends EventTarget {
  state: PlayerState = 'connecting';
  words: string = WORDS.connecting[0];
  detail: string = WORDS.connecting[1];
  sessions = 0; // opened so far
  hasPicture = false; // something is shown, be it old
  hasSound = false;
  timeToFirstFrame: number | undefined; // of the newest session, from its POST on

  #endpoint: string;
  #kinds: readonly Kind[];
  #token: string;
  #element: HTMLVideoElement;
  #abort: AbortController | undefined;
  #session: Session | undefined;
  #readings: Readings | undefined;
  #pause = new Pause();
  #look: ReturnType<typeof setInterval> | undefined;
  #counts = { video: 0, audio: 0 };
  #energy = new Energy();
  #fresh = new Freshness();
  #posted = 0;
  #since = 0; // when the session was connected
  #asked = 0; // when the server was last asked whether the session is alive
  #last: HTMLCanvasElement | undefined; // a picture of the session before, while the new one has none
  #moving = -Infinity; // when the last session of what was shown a moment ago has ended: it may be elsewhere

  // The element's sound is the caller's. Events: 'state' whenever anything of what
  // follows may have changed, 'stream' when the element has a new stream to play, 'frame'
  // at the first frame of each session.
  constructor(element: HTMLVideoElement, endpoint: string, kinds: readonly Kind[], token = '') {
    super();
    this.#element = element;
    this.#endpoint = endpoint;
    this.#kinds = kinds;
    this.#token = token;
  }

  // level is that of the sound: root mean square since the last look, 0 to 1.
  get level(): number {
    return this.#energy.level;
  }

  // run plays until stop.
  async run(): Promise<void> {
    if (this.#abort) return;
    const abort = new AbortController();
    this.#abort = abort;
    this.#look = setInterval(() => void this.#watch(), this.#kinds.includes('video') ? LOOK : LISTEN);
    const backoff = new Backoff();
    while (!abort.signal.aborted) {
      let wait: number | undefined;
      try {
        const { connected, reason } = await this.#play(abort.signal);
        if (abort.signal.aborted) break;
        if (this.#fresh.first) backoff.reset(); // something was shown
        const now = performance.now();
        if (connected && this.#fresh.lastFrame && now - this.#fresh.lastFrame < OLD) this.#moving = now;
        // What the server has ended it will explain: the next answer says why. Who is redirected has ended
        // it himself, and goes on.
        if (reason === 'lost' || reason === 'unreachable') this.#set('reconnecting', 'lost');
      } catch (err) {
        if (abort.signal.aborted) break;
        wait = this.#explain(err);
      }
      await this.#pause.of(backoff.next(wait), abort.signal);
    }
  }

  // stop ends the session and the player; run plays anew.
  stop(): void {
    this.#abort?.abort();
    this.#abort = undefined;
    clearInterval(this.#look);
    this.#session?.close();
    this.#dropPicture();
    this.#set('reconnecting', 'lost');
  }

  // hurry tries again now instead of when it is time.
  hurry(): void {
    this.#pause.wake();
  }

  // redirect goes on at another endpoint for the same: what is shown stays until the new
  // session has a picture.
  redirect(endpoint: string): void {
    if (endpoint === this.#endpoint) return;
    this.#endpoint = endpoint;
    this.#session?.close();
    this.#pause.wake();
  }

  // play is one session from POST to its end.
  async #play(signal: AbortSignal): Promise<{ connected: boolean; reason: string }> {
    if (this.state === 'frozen') this.#interrupt();
    const stream = new MediaStream();
    this.#posted = performance.now();
    this.#fresh.first = 0;
    const endpoint = this.#endpoint;
    const session = await play(endpoint, {
      kinds: this.#kinds,
      token: this.#token,
      signal,
      onTrack: (track) => {
        stream.addTrack(track);
        if (this.#element.srcObject === stream) return;
        this.#keepPicture();
        this.#element.srcObject = stream;
        this.#frames(stream);
        this.dispatchEvent(new Event('stream'));
      },
      onState: (state) => {
        if (state === 'connected') this.#connected();
        else if (state !== 'connecting') this.#set('reconnecting', 'lost');
      },
    });
    if (endpoint !== this.#endpoint) session.close(); // redirected meanwhile
    this.#session = session;
    this.#readings = new Readings(session.pc);
    this.sessions++;
    this.#counts = { video: 0, audio: 0 };
    this.#energy.reset();
    this.#fresh.heard(performance.now());
    this.hasSound = session.kinds.includes('audio');
    if (!session.kinds.includes('video')) this.hasPicture = false;
    if (this.state === 'ended' || this.state === 'waiting') this.#set('connecting');
    this.#tell();
    const reason = await session.ended;
    this.#session = undefined;
    this.#readings = undefined;
    return { connected: session.connected, reason };
  }

  // keepPicture lets the last picture of the session before stand over the element until there is a
  // new one: an element that plays something else is black first.
  #keepPicture(): void {
    const { videoWidth: width, videoHeight: height } = this.#element;
    if (!this.hasPicture || !width) return;
    this.#last?.remove();
    const canvas = (this.#last = Object.assign(document.createElement('canvas'), { width, height }));
    canvas.getContext('2d')?.drawImage(this.#element, 0, 0);
    canvas.setAttribute('part', 'video');
    const { objectFit } = getComputedStyle(this.#element);
    Object.assign(canvas.style, { position: 'absolute', inset: '0', width: '100%', height: '100%', pointerEvents: 'none', objectFit });
    this.#element.after(canvas);
  }

  #dropPicture(): void {
    this.#last?.remove();
    this.#last = undefined;
  }

  #connected(): void {
    this.#since = performance.now();
    // After an ICE restart the same session goes on, if the camera does.
    if (this.state === 'reconnecting' && this.#fresh.first) this.#set('frozen');
    else this.#tell();
  }

  // frames notes when each frame is shown, as long as stream is.
  #frames(stream: MediaStream): void {
    const element = this.#element;
    if (!element.requestVideoFrameCallback) return;
    const shown = (now: number) => {
      if (element.srcObject !== stream || !this.#session) return;
      this.hasPicture = true;
      this.#shown(now);
      element.requestVideoFrameCallback(shown);
    };
    element.requestVideoFrameCallback(shown);
  }

  #shown(now: number): void {
    if (this.#fresh.shown(now)) {
      this.timeToFirstFrame = now - this.#posted;
      this.#dropPicture();
      this.dispatchEvent(new Event('frame'));
    }
    if (this.state !== 'live' && this.#session?.pc.connectionState === 'connected') this.#set('live');
  }

  // watch looks at the readings: frames are shown to nobody while the page is hidden, and
  // sound has no callback at all.
  async #watch(): Promise<void> {
    const session = this.#session;
    if (!session) {
      const alarm = performance.now() - this.#moving > ALARM;
      if (this.state === 'live' ? this.#fresh.still(performance.now()) : this.words === WORDS.moving[0] && alarm) this.#interrupt();
      return this.#tell();
    }
    const report: RTCStatsReport = await session.pc.getStats().catch(() => new Map() as RTCStatsReport);
    if (session !== this.#session) return;
    const now = performance.now();
    report.forEach((r) => {
      if (r.type !== 'inbound-rtp') return;
      const kind = r.kind as Kind;
      if (kind === 'audio') this.#energy.take(r.totalAudioEnergy, r.totalSamplesDuration);
      const count = kind === 'video' ? r.framesDecoded : r.packetsReceived;
      if (!count || count === this.#counts[kind]) return;
      this.#counts[kind] = count;
      if (kind === 'video') {
        if (!document.hidden && 'requestVideoFrameCallback' in this.#element) return;
        this.hasPicture = true;
        this.#shown(now);
      } else {
        this.#fresh.heard(now);
        if (!session.kinds.includes('video')) this.#shown(now);
      }
    });
    const flowing = this.state === 'live' || this.state === 'frozen';
    if (flowing && this.#fresh.still(now)) {
      if (this.#fresh.first) this.#set('frozen');
      else this.#interrupt(); // it is what the session before has left
    }
    const connected = session.pc.connectionState === 'connected';
    if (connected && !flowing && !this.#fresh.first && now - this.#since > FREEZE) this.#set('connecting', 'blank');
    if (this.state === 'frozen' && now - this.#asked >= ASK) {
      this.#asked = now;
      void session.check();
    }
    this.#tell();
  }

  // age returns for how long the picture, or the sound if there is no picture, has stood
  // still; 0 while it moves.
  get age(): number {
    return this.state === 'live' ? 0 : this.#fresh.age(performance.now());
  }

  // soundGap returns for how long a live picture has been without its sound; 0 if it is not.
  get soundGap(): number {
    return this.hasSound && this.hasPicture && this.state === 'live' ? this.#fresh.soundGap(performance.now()) : 0;
  }

  // interrupt says that the picture is one of before: that the room moves, for as long as that takes.
  #interrupt(): void {
    this.#set('reconnecting', performance.now() - this.#moving > ALARM ? 'lost' : 'moving');
  }

  // explain sets the state that err means and returns how long to wait; undefined leaves
  // that to the back-off.
  #explain(err: unknown): number | undefined {
    if (err instanceof Refused && notYet(err.status) && performance.now() - this.#moving < MOVING) {
      if (this.state !== 'live') this.#interrupt();
      return undefined;
    }
    if (!(err instanceof Refused)) {
      const silent = err instanceof TypeError || (err as Error).name === 'TimeoutError'; // of fetch
      if (!silent) console.error(err);
      this.#set('reconnecting', silent ? 'silent' : 'unusable');
      return undefined;
    }
    const { status, detail, retryAfter } = err;
    if (status === 404 || status === 409) {
      const seen = this.hasPicture || this.state === 'ended' || this.#fresh.lastFrame > 0;
      this.#set(seen ? 'ended' : 'waiting');
      return retryAfter ?? NOT_LIVE;
    }
    if (status === 401 || status === 403) {
      this.#set('refused', 'refused', status === 403 ? detail : '');
      return retryAfter ?? NOT_ALLOWED;
    }
    if (status === 415 || status === 422) {
      this.#set('unplayable', 'unplayable', detail);
      return retryAfter ?? NOT_PLAYABLE;
    }
    if (status === 429 || status === 503) {
      this.#set('busy', 'busy', detail);
      return retryAfter;
    }
    this.#set('reconnecting', 'failed', detail);
    return retryAfter;
  }

  #set(state: 'frozen'): void;
  #set(state: PlayerState & Words): void;
  #set(state: PlayerState, words: Words, detail?: string): void;
  #set(state: PlayerState, words = state as Words, detail = ''): void {
    const soundOnly = !this.#kinds.includes('video');
    if (state === 'frozen') {
      const picture = ['Picture frozen', 'Nothing new has come from the camera.'] as const;
      [this.words, this.detail] = this.hasPicture ? picture : ['Sound interrupted', 'Nothing new has come.'];
    } else {
      [this.words, this.detail] = (soundOnly ? SOUND_WORDS[words] : undefined) ?? WORDS[words];
      if (detail) this.detail = sentence(detail);
    }
    this.state = state;
    if (state === 'live') this.#fresh.live(performance.now());
    if (state === 'ended' || state === 'waiting' || state === 'refused') {
      // An old picture must not pass for a camera's.
      this.hasPicture = false;
      this.#element.srcObject = null;
      this.#dropPicture();
    }
    this.#tell();
  }

  #tell(): void {
    this.dispatchEvent(new Event('state'));
  }

  // stats returns the readings since the last call, of this leg; undefined without a session.
  async stats(): Promise<Stats | undefined> {
    const stats = await this.#readings?.read();
    if (stats && this.timeToFirstFrame !== undefined) stats.timeToFirstFrame = this.timeToFirstFrame;
    return stats;
  }

  // getStats returns the readings of now, for tests and for whoever helps a user.
  async getStats(): Promise<Record<string, unknown>> {
    const out: Record<string, unknown> = {
      state: this.state,
      words: this.words,
      sessions: this.sessions,
      age: this.age,
      timeToFirstFrame: this.timeToFirstFrame,
      muted: this.#element.muted,
      paused: this.#element.paused,
      width: this.#element.videoWidth,
      height: this.#element.videoHeight,
    };
    const report = await this.#session?.pc.getStats();
    report?.forEach((r) => {
      if (r.type === 'inbound-rtp') out[r.kind] = { ...r, codec: report.get(r.codecId)?.mimeType };
      if (r.type === 'candidate-pair' && r.nominated) out.roundTripTime = r.currentRoundTripTime;
    });
    out.connection = this.#session?.pc.connectionState;
    return out;
  }
}

export function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? '' : '.');
}
