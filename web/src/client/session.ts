// A session with the gateway, of a publisher (WHIP, RFC 9725) or a player
// (draft-ietf-wish-whep): offer by POST, candidates and ICE restart by PATCH, end by
// DELETE. It knows nothing of pages.
import { Refused, ask, own, type Request } from './http.ts';
import { delay } from './retry.ts';

const SDP = 'application/sdp';
const FRAGMENT = 'application/trickle-ice-sdpfrag'; // RFC 8840

const CONNECT_TIMEOUT = 10_000; // all times here are milliseconds
const GATHER_PAUSE = 20; // candidates of this long go in one PATCH
const RESTART_AFTER = 500; // how long a connection may be disconnected before ICE is restarted
const RESTART_TIMEOUT = 8_000; // then a new session is the better way
const RETRY = 1_000; // where the server doesn't say when
const CHECK_TIMEOUT = 2_000;
const CHECK_CONNECTING = 2_000; // between questions for a session that does not connect

export type Kind = 'audio' | 'video';

// A Reason is why a session is over: its connection was lost, the server closed it, it
// never connected, or it was stopped by close.
export type Reason = 'lost' | 'closed' | 'unreachable' | 'stopped';

export interface SessionOptions {
  token?: string | undefined;
  signal?: AbortSignal | undefined; // ends open, not the session
  setup(pc: RTCPeerConnection): void; // adds the transceivers
  offer?(sdp: string): string; // may change the offer
  onTrack?(track: MediaStreamTrack, receiver: RTCRtpReceiver): void;
  onState?(state: RTCPeerConnectionState): void;
}

// A Session goes
//
//	open ──▶ connected ◀──▶ restarting
//	  └──────────┴──────────────┴──▶ over
//
// ended resolves with the reason when it is over, and never rejects.
export class Session {
  readonly pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
  readonly ended: Promise<Reason>;
  // cause resolves after the end with the gateway's word for it, such as 'replaced' or 'moved'
  // (docs/CLUSTER.md); with 'unknown' if it knows nothing of the session, or can't be reached.
  readonly cause: Promise<string>;
  connected = false; // it has been so once
  links: Link[] = []; // of the 201
  restarts = 0; // of ICE, done

  #token: string | undefined;
  #url: string | undefined; // a secret: whoever has it can end the session
  #answer = '';
  #etag: string | null = null;
  #queue: (RTCIceCandidate | null)[] = []; // candidates that have not been sent; null ends a generation
  #work: Promise<unknown> = Promise.resolve(); // one PATCH at a time, in order
  #flushTimer: Timer;
  #connectTimer: Timer;
  #restartTimer: Timer;
  #restarting = false;
  #checking = false;
  #end!: (reason: Reason) => void;
  #explain!: (cause: string | Promise<string>) => void;

  // open posts an offer to endpoint and returns a session that is about to connect. It
  // throws Refused, a TypeError if the server can't be reached, or what signal is aborted
  // with.
  static async open(endpoint: string, options: SessionOptions): Promise<Session> {
    const session = new Session(options.token);
    try {
      await session.#open(endpoint, options);
      return session;
    } catch (err) {
      session.close();
      throw err;
    }
  }

  private constructor(token: string | undefined) {
    this.#token = token;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.cause = new Promise((resolve) => {
      this.#explain = resolve;
    });
  }

  async #open(endpoint: string, { signal, setup, offer: change, onTrack, onState }: SessionOptions): Promise<void> {
    const { pc } = this;
    setup(pc);
    const offer = await pc.createOffer();
    const sdp = change ? change(offer.sdp ?? '') : (offer.sdp ?? '');

    // The offer goes out before gathering begins: the answer tells the servers that
    // gathering needs, and no round trip is spent on asking for them first.
    const post: Request = { method: 'POST', headers: { 'Content-Type': SDP }, body: sdp, signal };
    let res = await ask(endpoint, this.#token, post);
    // A 307 to another origin is followed, but without the token (Fetch, HTTP-redirect fetch).
    if (res.status === 401 && res.redirected && this.#token) res = await ask(res.url, this.#token, post);
    if (res.status !== 201) throw await Refused.from(res);
    this.#url = own(res.headers.get('Location'), res.url);
    this.#etag = res.headers.get('ETag');
    this.links = links(res.headers.get('Link'));
    this.#answer = await res.text();

    const iceServers = servers(this.links);
    if (iceServers.length) pc.setConfiguration({ ...pc.getConfiguration(), iceServers });
    pc.ontrack = (e) => onTrack?.(e.track, e.receiver);
    pc.onicecandidate = (e) => this.#gathered(e.candidate);
    pc.onconnectionstatechange = () => {
      this.#changed();
      onState?.(pc.connectionState);
    };
    this.#await(CONNECT_TIMEOUT);
    await pc.setLocalDescription({ type: 'offer', sdp });
    await pc.setRemoteDescription({ type: 'answer', sdp: this.#answer });
    signal?.throwIfAborted();
    // The server ends a session by closing DTLS; the connection state does not tell that.
    for (const t of new Set(pc.getTransceivers().map((t) => t.receiver.transport ?? t.sender.transport))) {
      t?.addEventListener('statechange', () => {
        if (t.state === 'closed' || t.state === 'failed') this.#finish('closed');
      });
    }
    globalThis.addEventListener?.('pagehide', this.#hidden);
  }

  // await gives the connection ms to come up. Whoever is not connected hears nothing of the end of his
  // session, be it that its gateway has died: so it is asked for.
  #await(ms: number): void {
    this.#connectTimer = setTimeout(() => {
      if (ms <= CHECK_CONNECTING) return this.#finish('unreachable');
      void this.check();
      this.#await(ms - CHECK_CONNECTING);
    }, Math.min(ms, CHECK_CONNECTING));
  }

  #hidden = (): void => this.close();

  // answer is the SDP of the 201, with the credentials and candidates of the newest restart.
  get answer(): string {
    return this.#answer;
  }

  // kinds returns what goes through the session: the server may have refused a part of
  // the offer.
  get kinds(): Kind[] {
    return this.pc
      .getTransceivers()
      .filter((t) => t.currentDirection === 'recvonly' || t.currentDirection === 'sendonly')
      .map((t) => t.receiver.track.kind as Kind);
  }

  // check asks the server for the session, which is quicker than waiting for consent to
  // expire when the server has been restarted. No answer says nothing.
  async check(): Promise<void> {
    if (!this.#url || this.#checking) return;
    this.#checking = true;
    const res = await ask(this.#url, this.#token, { timeout: CHECK_TIMEOUT }).catch(() => undefined);
    this.#checking = false;
    if (res?.status === 404 || res?.status === 410) this.#finish('closed');
    await res?.text().catch(() => {});
  }

  // restart restarts ICE now, such as for another network. It does so by itself when the
  // connection is lost.
  restart(): void {
    this.#enqueue(() => this.#renew());
  }

  // close ends the session. The DELETE outlives the page.
  close(): void {
    this.#finish('stopped');
  }

  #finish(reason: Reason): void {
    clearTimeout(this.#connectTimer);
    clearTimeout(this.#restartTimer);
    clearTimeout(this.#flushTimer);
    globalThis.removeEventListener?.('pagehide', this.#hidden);
    this.pc.onconnectionstatechange = this.pc.onicecandidate = this.pc.ontrack = null;
    this.pc.close();
    if (this.#url) {
      const url = this.#url;
      this.#url = undefined;
      // Also after a loss: the server shall not keep what nobody uses.
      this.#explain(ask(url, this.#token, { method: 'DELETE', keepalive: true }).then(cause).catch(() => 'unknown'));
    }
    this.#explain('unknown'); // of one that there has never been
    this.#end(reason);
  }

  #changed(): void {
    switch (this.pc.connectionState) {
      case 'connected':
        clearTimeout(this.#connectTimer);
        clearTimeout(this.#restartTimer);
        this.connected = true;
        this.#restarting = false;
        break;
      case 'disconnected':
      case 'failed':
        if (!this.connected) this.#finish('unreachable');
        else if (!this.#restarting) this.#recover();
        break;
    }
  }

  // ---- trickle (RFC 9725, section 4.3.2) ----

  #gathered(candidate: RTCIceCandidate | null): void {
    this.#queue.push(candidate?.candidate ? candidate : null);
    this.#flushIn(candidate ? GATHER_PAUSE : 0);
  }

  #flushIn(ms: number): void {
    clearTimeout(this.#flushTimer);
    this.#flushTimer = setTimeout(() => this.#enqueue(() => this.#flush()), ms);
  }

  async #flush(): Promise<void> {
    const queue = this.#queue.splice(0);
    const { ufrag } = credentials(this.#offer);
    // Those of a generation before a restart mean nothing any more.
    const current = queue.filter((c) => c === null || !c.usernameFragment || c.usernameFragment === ufrag);
    if (!current.length || !this.#etag || !this.#url) return;
    const res = await this.#patch(this.#fragment(current), this.#etag);
    // The connection mostly works without: the server learns addresses from checks.
    if (res.status === 404 || res.status === 410) this.#finish('closed');
    const later = postponed(res);
    if (later === undefined) return;
    this.#queue.unshift(...current);
    this.#flushIn(later);
  }

  get #offer(): string {
    return this.pc.localDescription?.sdp ?? '';
  }

  #fragment(candidates: (RTCIceCandidate | null)[]): string {
    const { ufrag, pwd } = credentials(this.#offer);
    // Everything is bundled: all candidates are the first section's.
    const lines = [`a=ice-ufrag:${ufrag}`, `a=ice-pwd:${pwd}`, 'm=audio 9 RTP/AVP 0', `a=mid:${this.#offer.match(/^a=mid:(\S+)/m)?.[1]}`];
    for (const c of candidates) lines.push(c ? `a=${c.candidate}` : 'a=end-of-candidates');
    return lines.join('\r\n') + '\r\n';
  }

  // ---- ICE restart (RFC 9725, section 4.3.3) ----

  #recover(): void {
    this.#restarting = true;
    this.#restartTimer = setTimeout(() => {
      if (this.pc.connectionState === 'connected') return;
      this.#restartTimer = setTimeout(() => this.#finish('lost'), RESTART_TIMEOUT);
      this.#enqueue(() => this.#renew());
    }, this.pc.connectionState === 'failed' ? 0 : RESTART_AFTER);
  }

  async #renew(): Promise<void> {
    const { pc } = this;
    if (!this.#etag) return this.#finish('lost');
    this.#queue.length = 0;
    await pc.setLocalDescription(await pc.createOffer({ iceRestart: true }));
    // The ETag rather than "*": to that, servers answer with one candidate only, for
    // the sake of a player that takes no more.
    let match = this.#etag;
    let res: Response;
    for (;;) {
      let wait = RETRY;
      try {
        res = await this.#patch(this.#fragment([]), match);
        const later = postponed(res);
        // The server may have restarted already, and its answer was lost: then it has an
        // ETag that we don't know.
        if (res.status === 412 && match !== '*') match = '*';
        else if (later === undefined) break;
        wait = later ?? 0;
      } catch {
        // Not reachable now.
      }
      if (!this.#url) return;
      await new Promise((resolve) => setTimeout(resolve, wait));
      if (!this.#url) return;
    }
    if (res.status !== 200) return this.#finish('lost');
    this.#etag = res.headers.get('ETag');
    const fragment = await res.text();
    const { ufrag, pwd } = credentials(fragment);
    this.#answer = this.#answer
      .replace(/^a=(candidate:.*|end-of-candidates)\r?\n/gm, '')
      .replace(/^a=ice-ufrag:.*$/gm, () => `a=ice-ufrag:${ufrag}`)
      .replace(/^a=ice-pwd:.*$/gm, () => `a=ice-pwd:${pwd}`);
    await pc.setRemoteDescription({ type: 'answer', sdp: this.#answer });
    const mid = fragment.match(/^a=mid:(\S+)/m)?.[1] ?? pc.getTransceivers()[0]?.mid ?? null;
    for (const [, candidate] of fragment.matchAll(/^a=(candidate:.*)$/gm)) {
      await pc.addIceCandidate({ candidate: candidate ?? '', sdpMid: mid });
    }
    this.restarts++;
  }

  // ---- requests ----

  #enqueue(work: () => Promise<void>): void {
    this.#work = this.#work.then(work).catch(() => {}); // a failure shows in the connection
  }

  #patch(body: string, match: string): Promise<Response> {
    if (!this.#url) return Promise.reject(new TypeError('the session is over'));
    return ask(this.#url, this.#token, { method: 'PATCH', headers: { 'Content-Type': FRAGMENT, 'If-Match': match }, body });
  }
}

// cause reads the answer to the DELETE of a session that has ended.
async function cause(res: Response): Promise<string> {
  await res.text();
  return res.ok ? (res.headers.get('Sightline-Ended') ?? '') : 'unknown';
}

type Timer = ReturnType<typeof setTimeout> | undefined;

// postponed returns for how long the server wants to be left alone, undefined if it doesn't.
function postponed(res: Response): number | undefined {
  return res.status === 429 || res.status === 503 ? (delay(res.headers.get('Retry-After')) || RETRY) : undefined;
}

function credentials(sdp: string): { ufrag: string | undefined; pwd: string | undefined } {
  return {
    ufrag: sdp.match(/^a=ice-ufrag:(\S+)/m)?.[1],
    pwd: sdp.match(/^a=ice-pwd:(\S+)/m)?.[1],
  };
}

export interface Link {
  target: string;
  rel: string;
  params: Record<string, string>;
}

// links reads Link header fields (RFC 8288).
export function links(header: string | null): Link[] {
  const out: Link[] = [];
  for (const [, target = '', rest = ''] of (header ?? '').matchAll(/<([^>]*)>((?:\s*;\s*[\w-]+(?:=(?:"[^"]*"|[^\s",;]*))?)*)/g)) {
    const params = Object.fromEntries(
      [...rest.matchAll(/;\s*([\w-]+)=(?:"([^"]*)"|([^\s",;]*))/g)].map(([, name = '', quoted, bare]) => [name.toLowerCase(), quoted ?? bare ?? '']),
    );
    out.push({ target, rel: params.rel ?? '', params });
  }
  return out;
}

// servers returns the links with rel="ice-server" (RFC 9725, section 4.6).
export function servers(links: Link[]): RTCIceServer[] {
  return links
    .filter(({ target, rel }) => rel === 'ice-server' && /^(stun|turn)s?:/i.test(target))
    .map(({ target: urls, params: { username, credential = '' } }) => (username === undefined ? { urls } : { urls, username, credential }));
}
