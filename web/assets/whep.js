// A WHEP player's session (draft-ietf-wish-whep; RFC 9725 for what both share): offer by
// POST, candidates and ICE restart by PATCH, end by DELETE. It knows nothing of pages.

const SDP = 'application/sdp';
const FRAGMENT = 'application/trickle-ice-sdpfrag'; // RFC 8840

const REQUEST_TIMEOUT = 10_000; // ms; all times here are milliseconds
const CONNECT_TIMEOUT = 10_000;
const GATHER_PAUSE = 20; // candidates of this long go in one PATCH
const RESTART_AFTER = 500; // how long a connection may be disconnected before ICE is restarted
const RESTART_TIMEOUT = 8_000; // then a new session is the better way
const RESTART_RETRY = 1_000;

// Refused is an answer other than the one hoped for. retryAfter is in milliseconds, or
// undefined if the server does not say.
export class Refused extends Error {
  constructor(status, detail, retryAfter) {
    super(detail || `status ${status}`);
    this.status = status;
    this.detail = String(detail);
    this.retryAfter = retryAfter;
  }

  static async from(res) {
    let detail = '';
    const body = await res.text().catch(() => '');
    if (/^application\/problem\+json\b/i.test(res.headers.get('Content-Type') ?? '')) {
      try {
        ({ detail = '' } = JSON.parse(body)); // RFC 9457
      } catch {
        // No detail, then; the status says enough.
      }
    }
    return new Refused(res.status, detail, delay(res.headers.get('Retry-After')));
  }
}

// A Session is one WHEP session. ended resolves, with the reason as a word, when it is
// over: 'lost', 'closed' (by the server), 'unreachable' (never connected), 'stopped' (by
// close). It never rejects.
export class Session {
  #headers;
  #answer;
  #etag;
  #queue = []; // candidates that have not been sent; null ends a generation
  #work = Promise.resolve(); // one PATCH at a time, in order
  #flushTimer;
  #connectTimer;
  #restartTimer;
  #restarting = false;
  #end;

  // open asks for kinds (['audio', 'video']) at endpoint and returns a session that is
  // about to connect. It throws Refused, a TypeError if the server can't be reached, or
  // what signal is aborted with.
  static async open(endpoint, { kinds, token, signal, onTrack, onState }) {
    const session = new Session(token);
    try {
      await session.#open(endpoint, kinds, signal, onTrack, onState);
      return session;
    } catch (err) {
      session.close();
      throw err;
    }
  }

  constructor(token) {
    this.#headers = token ? { Authorization: `Bearer ${token}` } : {};
    this.pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
    this.url = undefined; // a secret: whoever has it can end the session
    this.connected = false;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  async #open(endpoint, kinds, signal, onTrack, onState) {
    const { pc } = this;
    for (const kind of kinds) pc.addTransceiver(kind, { direction: 'recvonly' });
    const offer = await pc.createOffer();
    offer.sdp = stereo(offer.sdp);

    // The offer goes out before gathering begins: the answer tells the servers that
    // gathering needs, and no round trip is spent on asking for them first.
    const res = await this.#fetch(endpoint, { method: 'POST', headers: { 'Content-Type': SDP }, body: offer.sdp, signal });
    if (res.status !== 201) throw await Refused.from(res);
    this.url = own(res.headers.get('Location'), res.url);
    this.#etag = res.headers.get('ETag');
    this.#answer = await res.text();

    const iceServers = servers(res.headers.get('Link'));
    if (iceServers.length) pc.setConfiguration({ ...pc.getConfiguration(), iceServers });
    pc.ontrack = (e) => onTrack(e.track, e.receiver);
    pc.onicecandidate = (e) => this.#gathered(e.candidate);
    pc.onconnectionstatechange = () => {
      this.#changed();
      onState(pc.connectionState);
    };
    this.#connectTimer = setTimeout(() => this.#finish('unreachable'), CONNECT_TIMEOUT);
    await pc.setLocalDescription(offer);
    await pc.setRemoteDescription({ type: 'answer', sdp: this.#answer });
    signal.throwIfAborted();
    // The server ends a session by closing DTLS; the connection state does not tell that.
    for (const t of new Set(pc.getReceivers().map((r) => r.transport))) {
      t?.addEventListener('statechange', () => {
        if (t.state === 'closed' || t.state === 'failed') this.#finish('closed');
      });
    }
  }

  // kinds returns what the server sends: it may have refused a part of the offer.
  get kinds() {
    return this.pc.getTransceivers().filter((t) => t.currentDirection === 'recvonly').map((t) => t.receiver.track.kind);
  }

  // check asks the server for the session, which is quicker than waiting for consent to
  // expire when the server has been restarted. No answer says nothing.
  async check() {
    if (!this.url) return;
    const res = await this.#fetch(this.url, {}).catch(() => undefined);
    if (res?.status === 404 || res?.status === 410) this.#finish('closed');
    await res?.text().catch(() => {});
  }

  // close ends the session. The DELETE outlives the page.
  close() {
    this.#finish('stopped');
  }

  #finish(reason) {
    clearTimeout(this.#connectTimer);
    clearTimeout(this.#restartTimer);
    clearTimeout(this.#flushTimer);
    this.pc.onconnectionstatechange = this.pc.onicecandidate = this.pc.ontrack = null;
    this.pc.close();
    if (this.url) {
      const url = this.url;
      this.url = undefined;
      // Also after a loss: the server shall not keep what nobody watches.
      fetch(url, { method: 'DELETE', headers: this.#headers, keepalive: true, cache: 'no-store' }).then((res) => res.text()).catch(() => {});
    }
    this.#end(reason);
  }

  #changed() {
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
        else if (!this.#restarting) this.#restart();
        break;
    }
  }

  // ---- trickle (RFC 9725, section 4.3.2) ----

  #gathered(candidate) {
    this.#queue.push(candidate?.candidate ? candidate : null);
    clearTimeout(this.#flushTimer);
    this.#flushTimer = setTimeout(() => this.#enqueue(() => this.#flush()), candidate ? GATHER_PAUSE : 0);
  }

  async #flush() {
    const queue = this.#queue.splice(0);
    const { ufrag } = credentials(this.pc.localDescription.sdp);
    // Those of a generation before a restart mean nothing any more.
    const current = queue.filter((c) => c === null || !c.usernameFragment || c.usernameFragment === ufrag);
    if (!current.length || !this.#etag || !this.url) return;
    const res = await this.#patch(this.#fragment(current));
    // The connection mostly works without: the server learns addresses from checks.
    if (res.status === 404 || res.status === 410) this.#finish('closed');
  }

  #fragment(candidates) {
    const { sdp } = this.pc.localDescription;
    const { ufrag, pwd } = credentials(sdp);
    // Everything is bundled: all candidates are the first section's.
    const lines = [`a=ice-ufrag:${ufrag}`, `a=ice-pwd:${pwd}`, 'm=audio 9 RTP/AVP 0', `a=mid:${sdp.match(/^a=mid:(\S+)/m)?.[1]}`];
    for (const c of candidates) lines.push(c ? `a=${c.candidate}` : 'a=end-of-candidates');
    return lines.join('\r\n') + '\r\n';
  }

  // ---- ICE restart (RFC 9725, section 4.3.3) ----

  #restart() {
    this.#restarting = true;
    this.#restartTimer = setTimeout(() => {
      if (this.pc.connectionState === 'connected') return;
      this.#restartTimer = setTimeout(() => this.#finish('lost'), RESTART_TIMEOUT);
      this.#enqueue(() => this.#renew());
    }, this.pc.connectionState === 'failed' ? 0 : RESTART_AFTER);
  }

  async #renew() {
    const { pc } = this;
    if (!this.#etag) return this.#finish('lost');
    this.#queue.length = 0;
    await pc.setLocalDescription(await pc.createOffer({ iceRestart: true }));
    let res;
    for (;;) {
      try {
        // The ETag rather than "*": to that, servers answer with one candidate only, for
        // the sake of a player that takes no more.
        res = await this.#patch(this.#fragment([]));
        break;
      } catch (err) {
        if (!this.url) return;
        await new Promise((resolve) => setTimeout(resolve, RESTART_RETRY)); // not reachable now
      }
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
    const mid = fragment.match(/^a=mid:(\S+)/m)?.[1];
    for (const [, candidate] of fragment.matchAll(/^a=(candidate:.*)$/gm)) {
      await pc.addIceCandidate({ candidate, sdpMid: mid ?? pc.getTransceivers()[0].mid });
    }
  }

  // ---- requests ----

  #enqueue(work) {
    this.#work = this.#work.then(work).catch(() => {}); // a failure shows in the connection
  }

  #patch(body) {
    return this.#fetch(this.url, { method: 'PATCH', headers: { 'Content-Type': FRAGMENT, 'If-Match': this.#etag }, body });
  }

  #fetch(url, { headers, signal, ...init }) {
    const abort = new AbortController(); // not AbortSignal.any: the browser inside OBS 30 has none
    const stop = () => abort.abort(signal?.reason ?? new DOMException('no answer in time', 'TimeoutError'));
    const timer = setTimeout(stop, REQUEST_TIMEOUT);
    signal?.addEventListener('abort', stop);
    return fetch(url, { ...init, headers: { ...this.#headers, ...headers }, cache: 'no-store', credentials: 'omit', signal: abort.signal })
      .finally(() => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', stop);
      });
  }
}

function credentials(sdp) {
  return {
    ufrag: sdp.match(/^a=ice-ufrag:(\S+)/m)?.[1],
    pwd: sdp.match(/^a=ice-pwd:(\S+)/m)?.[1],
  };
}

// stereo asks for stereo where the browser's default is mono (RFC 7587, section 7.1).
function stereo(sdp) {
  const opus = sdp.match(/^a=rtpmap:(\d+) opus\/48000\/2/im)?.[1];
  if (!opus) return sdp;
  return sdp.replace(new RegExp(`^(a=fmtp:${opus} (?!.*stereo=).*)$`, 'm'), '$1;stereo=1');
}

// servers reads Link header fields (RFC 8288) with rel="ice-server" (RFC 9725, section 4.6).
export function servers(link) {
  const out = [];
  for (const [, urls, params] of (link ?? '').matchAll(/<([^>]*)>((?:\s*;\s*[\w-]+(?:=(?:"[^"]*"|[^\s",;]*))?)*)/g)) {
    const value = Object.fromEntries(
      [...params.matchAll(/;\s*([\w-]+)=(?:"([^"]*)"|([^\s",;]*))/g)].map(([, name, quoted, bare]) => [name.toLowerCase(), quoted ?? bare]),
    );
    if (value.rel !== 'ice-server' || !/^(stun|turn)s?:/i.test(urls)) continue;
    out.push(value.username === undefined ? { urls } : { urls, username: value.username, credential: value.credential ?? '' });
  }
  return out;
}

// delay reads Retry-After: seconds or a date (RFC 9110, section 10.2.3).
export function delay(value) {
  if (!value) return undefined;
  if (/^\d+$/.test(value)) return Number(value) * 1000;
  const at = Date.parse(value);
  return Number.isNaN(at) ? undefined : Math.max(0, at - Date.now());
}

// own returns the session's URL. A gateway names it under its public address; if this
// page came by another of its addresses, only there it may ask, and the session is there
// too.
function own(location, base) {
  if (!location) return undefined;
  const url = new URL(location, base);
  if (url.origin === new URL(base).origin) return url.href;
  const root = new URL(base).pathname.replace(/\/whep\/.*$/, '');
  return new URL(root + url.pathname.replace(/^.*(?=\/sessions\/)/, ''), base).href;
}
