// A Player keeps one WHEP endpoint playing in a media element: session after session, with
// the state of what is shown always known and told in words.
//
//	connecting ──▶ live ◀──▶ frozen
//	    ▲            └─────────┴──▶ reconnecting ──▶ connecting, or
//	    └── waiting (no camera yet), ended (no camera any more), busy, refused, unplayable
//
// Every state but live leads back to connecting by itself.
import { Refused, Session } from './whep.js';

const LOOK = 250; // between two looks at the readings; all times here are milliseconds
const LISTEN = 100; // the same where there is only sound, whose level is shown
const FREEZE = 1_500; // without a new frame, or sound packet, this long is no longer live

const ASK = 2_000; // between questions to the server while frozen: a restarted one has forgotten the session

const BACKOFF = [300, 600, 1_200, 2_400, 4_000]; // with up to a quarter more: viewers shall not come in step
const NOT_LIVE = 2_000; // where the server doesn't say when to ask again
const NOT_ALLOWED = 15_000;
const NOT_PLAYABLE = 10_000;
const LONGEST = 60_000;

const WORDS = {
  connecting: ['Connecting', ''],
  blank: ['Waiting for the picture', 'The connection is up, but nothing has come yet.'],
  live: ['Live', ''],
  waiting: ['Waiting for the camera', 'It is not live yet. The picture comes by itself.'],
  ended: ['The camera has stopped', 'The picture comes back by itself when the camera does.'],
  lost: ['Reconnecting', 'The connection was lost.'],
  silent: ['Reconnecting', 'The gateway does not answer.'],
  busy: ['The gateway is busy', 'This page tries again by itself.'],
  refused: ['Not allowed', 'This link needs a valid access token.'],
  unplayable: ['Can’t be played here', 'This browser can’t decode what the camera sends.'],
  unusable: ['Reconnecting', 'This browser could not use the gateway’s answer.'],
  failed: ['Reconnecting', 'The gateway refused the request.'],
};

// What is said instead where there is only sound, of a camera or of a whole room.
const SOUND_WORDS = {
  blank: ['Waiting for the sound', 'The connection is up, but nothing has come yet.'],
  waiting: ['Waiting for the sound', 'It is not live yet, and comes by itself.'],
  ended: ['The sound has stopped', 'It comes back by itself.'],
  unplayable: ['Can’t be played here', 'This browser can’t decode the sound.'],
};

export class Player extends EventTarget {
  #endpoint;
  #kinds;
  #token;
  #element;
  #abort;
  #session;
  #wake = () => {};
  #look;
  #counts = { video: 0, audio: 0 };
  #energy = [0, 0]; // of the sound so far, and its seconds
  #posted = 0;
  #since = 0; // when the session was connected
  #asked = 0; // when the server was last asked whether the session is alive
  #first = 0; // when the session's first frame was shown

  // The element's sound is the caller's. Events: 'state' whenever anything of what
  // follows may have changed, 'stream' when the element has a new stream to play.
  constructor(element, endpoint, kinds, token) {
    super();
    this.#element = element;
    this.#endpoint = endpoint;
    this.#kinds = kinds;
    this.#token = token;
    this.state = 'connecting';
    [this.words, this.detail] = WORDS.connecting;
    this.sessions = 0; // opened so far
    this.hasPicture = false; // something is shown, be it old
    this.hasSound = false;
    this.lastFrame = 0; // performance.now() of what is shown; or of the last sound, without video
    this.lastSound = 0;
    this.level = 0; // of the sound: root mean square since the last look, 0 to 1
    this.timeToFirstFrame = undefined; // of the newest session, from its POST on
  }

  // run plays until stop.
  async run() {
    if (this.#abort) return;
    const abort = new AbortController();
    this.#abort = abort;
    this.#look = setInterval(() => this.#watch(), this.#kinds.includes('video') ? LOOK : LISTEN);
    for (let failures = 0; !abort.signal.aborted; ) {
      let wait;
      try {
        const { connected, reason } = await this.#play(abort.signal);
        if (abort.signal.aborted) break;
        if (connected) failures = 0;
        // What the server has ended it will explain: the next answer says why.
        if (reason !== 'closed') this.#set('reconnecting', 'lost');
      } catch (err) {
        if (abort.signal.aborted) break;
        wait = this.#explain(err);
      }
      wait ??= BACKOFF[Math.min(failures++, BACKOFF.length - 1)];
      await this.#pause(Math.min(wait, LONGEST) * (1 + Math.random() / 4));
    }
  }

  // stop ends the session and the player; run plays anew.
  stop() {
    this.#abort?.abort();
    this.#abort = undefined;
    clearInterval(this.#look);
    this.#session?.close();
    this.#wake();
    this.#set('reconnecting', 'lost');
  }

  // hurry tries again now instead of when it is time.
  hurry() {
    this.#wake();
  }

  // play is one session from POST to its end.
  async #play(signal) {
    if (this.state === 'live' || this.state === 'frozen') this.#set('reconnecting', 'lost');
    const stream = new MediaStream();
    this.#posted = performance.now();
    this.#first = 0;
    const session = await Session.open(this.#endpoint, {
      kinds: this.#kinds,
      token: this.#token,
      signal,
      onTrack: (track) => {
        stream.addTrack(track);
        if (this.#element.srcObject === stream) return;
        this.#element.srcObject = stream;
        this.#frames(stream);
        this.dispatchEvent(new Event('stream'));
      },
      onState: (state) => {
        if (state === 'connected') this.#connected();
        else if (state !== 'connecting') this.#set('reconnecting', 'lost');
      },
    });
    this.#session = session;
    this.sessions++;
    this.#counts = { video: 0, audio: 0 };
    this.#energy = [0, 0];
    this.lastSound = performance.now();
    this.hasSound = session.kinds.includes('audio');
    if (!session.kinds.includes('video')) this.hasPicture = false;
    if (this.state === 'ended' || this.state === 'waiting') this.#set('connecting');
    this.#tell();
    const reason = await session.ended;
    this.#session = undefined;
    return { connected: session.connected, reason };
  }

  #connected() {
    this.#since = performance.now();
    // After an ICE restart the same session goes on, if the camera does.
    if (this.state === 'reconnecting' && this.#first) this.#set('frozen');
    else this.#tell();
  }

  // frames notes when each frame is shown, as long as stream is.
  #frames(stream) {
    const element = this.#element;
    if (!element.requestVideoFrameCallback) return;
    const shown = (now) => {
      if (element.srcObject !== stream || !this.#session) return;
      this.#shown(now);
      element.requestVideoFrameCallback(shown);
    };
    element.requestVideoFrameCallback(shown);
  }

  #shown(now) {
    if (!this.#first) {
      this.#first = now;
      this.timeToFirstFrame = now - this.#posted;
    }
    this.hasPicture = true;
    this.lastFrame = now;
    if (this.state !== 'live' && this.#session?.pc.connectionState === 'connected') this.#set('live');
  }

  // watch looks at the readings: frames are shown to nobody while the page is hidden, and
  // sound has no callback at all.
  async #watch() {
    const session = this.#session;
    if (!session) {
      if (this.state === 'live' && performance.now() - this.lastFrame > FREEZE) this.#set('reconnecting', 'lost');
      return this.#tell();
    }
    const report = await session.pc.getStats().catch(() => new Map());
    if (session !== this.#session) return;
    const now = performance.now();
    report.forEach((r) => {
      if (r.type !== 'inbound-rtp') return;
      if (r.kind === 'audio') this.#measure(r.totalAudioEnergy, r.totalSamplesDuration);
      const count = r.kind === 'video' ? r.framesDecoded : r.packetsReceived;
      if (!count || count === this.#counts[r.kind]) return;
      this.#counts[r.kind] = count;
      if (r.kind === 'video') {
        if (document.hidden || !this.#element.requestVideoFrameCallback) this.#shown(now);
      } else {
        this.lastSound = now;
        if (!session.kinds.includes('video')) this.#heard(now);
      }
    });
    const flowing = this.state === 'live' || this.state === 'frozen';
    if (flowing && now - this.lastFrame > FREEZE) this.#set('frozen');
    const connected = session.pc.connectionState === 'connected';
    if (connected && !flowing && !this.#first && now - this.#since > FREEZE) this.#set('connecting', 'blank');
    if (this.state === 'frozen' && now - this.#asked > ASK) {
      this.#asked = now;
      session.check();
    }
    this.#tell();
  }

  // measure takes sums of the squared level over time and of the time (webrtc-stats).
  #measure(energy = 0, duration = 0) {
    const [energyBefore, durationBefore] = this.#energy;
    if (duration <= durationBefore && energy >= energyBefore) return;
    this.#energy = [energy, duration];
    this.level = energy > energyBefore ? Math.sqrt((energy - energyBefore) / (duration - durationBefore)) : 0;
  }

  #heard(now) {
    if (!this.#first) {
      this.#first = now;
      this.timeToFirstFrame = now - this.#posted;
    }
    this.lastFrame = now;
    if (this.state !== 'live' && this.#session?.pc.connectionState === 'connected') this.#set('live');
  }

  // age returns for how long the picture, or the sound if there is no picture, has stood
  // still; 0 while it moves.
  get age() {
    const age = performance.now() - this.lastFrame;
    return this.state === 'live' || !this.lastFrame || age < FREEZE ? 0 : age;
  }

  // soundGap returns for how long a live picture has been without its sound; 0 if it is not.
  get soundGap() {
    const gap = performance.now() - this.lastSound;
    return this.hasSound && this.hasPicture && this.state === 'live' && gap > 2 * FREEZE ? gap : 0;
  }

  // explain sets the state that err means and returns how long to wait; undefined leaves
  // that to the back-off.
  #explain(err) {
    if (!(err instanceof Refused)) {
      const silent = err instanceof TypeError || err.name === 'TimeoutError'; // of fetch
      if (!silent) console.error(err);
      this.#set('reconnecting', silent ? 'silent' : 'unusable');
      return undefined;
    }
    const { status, detail, retryAfter } = err;
    if (status === 404 || status === 409) {
      const seen = this.hasPicture || this.state === 'ended' || this.lastFrame > 0;
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

  #set(state, words = state, detail = '') {
    const soundOnly = !this.#kinds.includes('video');
    if (state === 'frozen') {
      const picture = ['Picture frozen', 'Nothing new has come from the camera.'];
      [this.words, this.detail] = this.hasPicture ? picture : ['Sound interrupted', 'Nothing new has come.'];
    } else {
      [this.words, this.detail] = (soundOnly && SOUND_WORDS[words]) || WORDS[words];
      if (detail) this.detail = sentence(detail);
    }
    this.state = state;
    if (state === 'live') this.lastSound = Math.max(this.lastSound, performance.now() - FREEZE); // it comes a moment later
    if (state === 'ended' || state === 'waiting' || state === 'refused') {
      // An old picture must not pass for a camera's.
      this.hasPicture = false;
      this.#element.srcObject = null;
    }
    this.#tell();
  }

  #tell() {
    this.dispatchEvent(new Event('state'));
  }

  #pause(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  // getStats returns the readings of now, for tests and for whoever helps a user.
  async getStats() {
    const out = {
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

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? '' : '.');
}
