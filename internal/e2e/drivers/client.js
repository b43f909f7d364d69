// client.js is put into every page before its own scripts. It is a small WHIP and WHEP client, written to the standards
// and not to Sightline, and it watches the peer connections of pages that have a client of their own.
'use strict';
(() => {
  const sessions = new Map(); // by the name that the test gave

  // Pages with their own client: all that they connect, newest last.
  const connections = []; // weak: what a page lets go of must not stay for the sake of a test
  window.RTCPeerConnection = class extends window.RTCPeerConnection {
    constructor(...args) {
      super(...args);
      connections.push(new WeakRef(this));
    }
  };

  const timeout = (ms, what) => new Promise((_, fail) => setTimeout(() => fail(new Error(`${what} took over ${ms} ms`)), ms));

  function prefer(transceiver, kind, codec, list) {
    const all = list.getCapabilities(kind).codecs;
    const wanted = all.filter((c) => c.mimeType.toLowerCase() === `${kind}/${codec}`);
    if (!wanted.length) throw new Error(`this browser has no ${codec}`);
    transceiver.setCodecPreferences([...wanted, ...all.filter((c) => /\/(rtx|red|ulpfec|flexfec-03)$/i.test(c.mimeType))]);
  }

  // gathered makes an offer and returns it once it has all candidates.
  async function gathered({ pc }) {
    await pc.setLocalDescription();
    if (pc.iceGatheringState !== 'complete') {
      await Promise.race([timeout(5000, 'gathering'), new Promise((done) => {
        pc.addEventListener('icegatheringstatechange', () => pc.iceGatheringState === 'complete' && done());
      })]);
    }
    return pc.localDescription.sdp;
  }

  async function exchange(s, url) {
    const sdp = await gathered(s);
    // A token stands behind a #, which no request carries.
    const token = new URL(url).hash.slice(1);
    const headers = { 'Content-Type': 'application/sdp', ...(token && { Authorization: `Bearer ${token}` }) };
    const res = await fetch(url, { method: 'POST', headers, body: sdp });
    const body = await res.text();
    if (res.status !== 201) throw new Error(`POST is answered ${res.status}: ${body}`);
    s.resource = new URL(res.headers.get('Location'), res.url).href;
    await s.pc.setRemoteDescription({ type: 'answer', sdp: body });
  }

  function session(name, bundlePolicy = 'max-bundle') {
    const s = { pc: new window.RTCPeerConnection({ bundlePolicy }), t0: performance.now() };
    sessions.set(name, s);
    return s;
  }

  // publish sends the browser's camera and microphone. codec is a lower-case encoding name.
  async function publish(name, url, codec) {
    const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 640, height: 360, frameRate: 30 } });
    const s = session(name);
    s.media = media;
    s.pc.addTransceiver(media.getAudioTracks()[0], { direction: 'sendonly', streams: [media] });
    const video = s.pc.addTransceiver(media.getVideoTracks()[0], { direction: 'sendonly', streams: [media], sendEncodings: [{ maxBitrate: 1e6 }] });
    if (codec) prefer(video, 'video', codec, RTCRtpSender);
    await exchange(s, url);
  }

  // talk sends a tone, as loud as a voice, in place of the microphone.
  async function talk(name, url, frequency) {
    const s = session(name);
    const sound = new AudioContext();
    const tone = new OscillatorNode(sound, { frequency });
    const mouth = sound.createMediaStreamDestination();
    tone.connect(new GainNode(sound, { gain: 0.2 })).connect(mouth);
    tone.start();
    s.media = mouth.stream;
    s.pc.addTransceiver(mouth.stream.getAudioTracks()[0], { direction: 'sendonly', streams: [mouth.stream] });
    await exchange(s, url);
  }

  // play receives kinds, such as ['audio', 'video'], and returns once the answer is in. codec and policy may be left out.
  async function play(name, url, kinds, codec, policy) {
    const s = session(name, policy);
    s.frames = [];
    const stream = new MediaStream();
    s.element = document.createElement('video');
    Object.assign(s.element, { autoplay: true, playsInline: true, srcObject: stream, width: 640, height: 360 });
    document.body.append(s.element);
    s.pc.ontrack = (e) => {
      stream.addTrack(e.track);
      s.element.play().catch((err) => console.error(`play: ${err}`));
    };
    for (const kind of kinds) {
      const t = s.pc.addTransceiver(kind, { direction: 'recvonly' });
      if (kind === 'video' && codec) prefer(t, 'video', codec, RTCRtpReceiver);
    }
    count(s);
    await exchange(s, url);
  }

  // count notes each frame that a session's element shows.
  function count(s) {
    if (!s.element.requestVideoFrameCallback) return;
    const seen = () => {
      s.frames.push({ at: performance.timeOrigin + performance.now(), mark: readMark(s) });
      s.element.requestVideoFrameCallback(seen);
    };
    s.element.requestVideoFrameCallback(seen);
  }

  // watch counts the frames of one of our players under a name: of all its sessions, one after the other.
  function watch(name, selector) {
    const s = { element: document.querySelector(selector).shadowRoot.querySelector('video'), frames: [], t0: performance.now() };
    sessions.set(name, s);
    count(s);
  }

  // via is a session's URL at another address of the gateway; '' is where it was made.
  const via = (s, base) => (base ? new URL(new URL(s.resource).pathname, base).href : s.resource);

  // restart restarts ICE by a PATCH at base (RFC 9725, section 4.3.3).
  async function restart(name, base) {
    const s = sessions.get(name);
    s.pc.restartIce();
    await s.pc.setLocalDescription();
    const offer = s.pc.localDescription.sdp;
    const one = (sdp, key) => sdp.match(new RegExp(`^a=${key}:(\\S+)`, 'm'))[1];
    // Without candidates of its own: the gateway has a public address, and learns the rest from checks.
    const lines = [`a=ice-ufrag:${one(offer, 'ice-ufrag')}`, `a=ice-pwd:${one(offer, 'ice-pwd')}`, offer.match(/^m=.*/m)[0].trim(), `a=mid:${one(offer, 'mid')}`];
    const headers = { 'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': '*' };
    const res = await fetch(via(s, base), { method: 'PATCH', headers, body: `${lines.join('\r\n')}\r\n` });
    const body = await res.text();
    if (res.status !== 200) throw new Error(`PATCH is answered ${res.status}: ${body}`);
    const sdp = s.pc.remoteDescription.sdp
      .replace(/^a=(candidate:.*|end-of-candidates)\r\n/gm, '')
      .replace(/^a=ice-(ufrag|pwd):.*/gm, (_, key) => `a=ice-${key}:${one(body, `ice-${key}`)}`);
    await s.pc.setRemoteDescription({ type: 'answer', sdp });
    for (const c of body.match(/^a=candidate:.*/gm)) await s.pc.addIceCandidate({ candidate: c.slice(2).trim(), sdpMid: one(offer, 'mid') });
  }

  // readMark reads the number that the camera has written into the top left corner: 24 bits, the highest first, each a
  // square of a 32nd of the picture's width, after a white and a black one; -1 if there is none. Each square becomes
  // three pixels, of which the middle one counts: compression blurs the edges. It is drawn at once, since for every
  // drawing Firefox converts the whole picture.
  const squares = 26;
  const canvas = document.createElement('canvas');
  Object.assign(canvas, { width: 3 * squares, height: 1 });
  const context = canvas.getContext('2d', { willReadFrequently: true });
  function readMark({ element: v }) {
    const square = v.videoWidth / 32;
    context.drawImage(v, 0, square / 3, squares * square, square / 3, 0, 0, 3 * squares, 1);
    const pixels = context.getImageData(0, 0, 3 * squares, 1).data;
    const bright = (i) => pixels[4 * (3 * i + 1) + 1] > 127;
    if (!bright(0) || bright(1)) return -1;
    let n = 0;
    for (let i = 2; i < squares; i++) n = 2 * n + bright(i);
    return n;
  }

  // frames returns what a player has shown since the last call: [{at, mark}], at in milliseconds since 1970.
  const frames = (name) => sessions.get(name).frames.splice(0);

  // firstFrame resolves to the milliseconds from the beginning of play to the first frame.
  async function firstFrame(name, limit) {
    const s = sessions.get(name);
    const shown = async () => {
      while (!s.frames.length) await new Promise((r) => setTimeout(r, 5));
      return s.frames[0].at - performance.timeOrigin - s.t0;
    };
    return Promise.race([timeout(limit, 'the first frame'), shown()]);
  }

  // hear returns the last samples of what a session plays, or the page's own newest connection if name is '': {rate, pcm}, pcm
  // being 32-bit floats in base64. The ear is made by the first call, and has heard nothing yet then.
  const ears = new WeakMap(); // by connection
  function hear(name) {
    const pc = name ? sessions.get(name).pc : connections.at(-1)?.deref();
    let ear = ears.get(pc);
    if (!ear) {
      const track = pc.getReceivers().map((r) => r.track).find((t) => t.kind === 'audio');
      const sound = new AudioContext();
      ear = new AnalyserNode(sound, { fftSize: 32768 });
      new MediaStreamAudioSourceNode(sound, { mediaStream: new MediaStream([track]) }).connect(ear);
      ear.connect(new GainNode(sound, { gain: 0 })).connect(sound.destination);
      ears.set(pc, ear);
    }
    const samples = new Float32Array(ear.fftSize);
    ear.getFloatTimeDomainData(samples);
    let bytes = '';
    for (const b of new Uint8Array(samples.buffer)) bytes += String.fromCharCode(b);
    return { rate: ear.context.sampleRate, pcm: btoa(bytes) };
  }

  // stats returns the readings of a session, or of the page's own newest connection if name is ''.
  async function stats(name) {
    const pc = name ? sessions.get(name).pc : connections.at(-1)?.deref();
    if (!pc) return { state: 'new' };
    const report = await pc.getStats();
    const out = { state: pc.connectionState };
    report.forEach((r) => {
      if (r.type === 'transport') out.transport = r; // bundled: there is one
      if (r.type !== 'inbound-rtp' && r.type !== 'outbound-rtp') return;
      out[r.kind] = { ...r, codec: report.get(r.codecId)?.mimeType };
    });
    return out;
  }

  // stop ends a session by a DELETE at base, and returns its status.
  async function stop(name, base) {
    const s = sessions.get(name);
    sessions.delete(name);
    s.pc.close();
    s.media?.getTracks().forEach((t) => t.stop());
    s.element?.remove();
    return (await fetch(via(s, base), { method: 'DELETE' })).status;
  }

  // load adds what a module exports to these functions.
  const load = async (url) => void Object.assign(window.e2e, await import(url));

  // element is what one of our elements says of itself, and the states that it has told since the first call.
  const told = new WeakMap();
  async function element(selector) {
    const e = document.querySelector(selector);
    if (!told.has(e)) {
      const states = [];
      told.set(e, states);
      e.addEventListener('statechange', ({ detail }) => detail.state !== states.at(-1) && states.push(detail.state));
    }
    const shadow = e.shadowRoot;
    const video = shadow?.querySelector('video');
    return {
      state: e.state ?? '',
      states: told.get(e),
      age: e.age ?? 0,
      level: e.level ?? 0,
      text: shadow?.querySelector('[part=message]').textContent ?? '',
      background: shadow ? getComputedStyle(e).backgroundColor : '',
      width: video?.videoWidth ?? 0,
      height: video?.videoHeight ?? 0,
      stats: (await e.stats?.()) ?? null,
      still: (await e.still?.().catch(() => undefined))?.size ?? 0,
    };
  }

  // change changes an element: its attributes, or whether it is in the page.
  function change(selector, attributes) {
    const e = document.querySelector(selector);
    if (!attributes) return e.remove();
    for (const [name, value] of Object.entries(attributes)) value === null ? e.removeAttribute(name) : e.setAttribute(name, value);
  }

  const click = (selector) => document.querySelector(selector).click();
  const text = () => document.body.innerText;

  // What the watch page has been since it was opened: its states in turn, and the connections that it has made.
  const states = [];
  addEventListener('DOMContentLoaded', () => {
    const note = () => document.body.dataset.state !== states.at(-1) && states.push(document.body.dataset.state);
    new MutationObserver(note).observe(document.body, { attributes: true, attributeFilter: ['data-state'] });
    note();
  });
  // level is the length of the page's meter, 0 to 1.
  function page() {
    const right = document.getElementById('level')?.style.clipPath.match(/inset\(\S+ ([\d.]+)%/)?.[1];
    return { states, connections: connections.length, level: right === undefined ? 0 : 1 - right / 100, text: text() };
  }


  // What somebody without a mouse finds.
  const name = (e) => `${e.localName} ${e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.textContent}`.trim();

  // usable returns all that can have the focus, in the order of the page.
  function usable() {
    return [...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex="0"]')]
      .filter((e) => !e.disabled && e.checkVisibility())
      .map(name);
  }

  // focus returns what has the focus, and whether that can be seen.
  function focus() {
    const e = document.activeElement;
    const seen = [e, e.nextElementSibling, e.closest('label')].some((o) => o && getComputedStyle(o).outlineStyle !== 'none' && parseFloat(getComputedStyle(o).outlineWidth) >= 2);
    return { name: name(e), visible: seen };
  }

  // saved clicks and returns the text of the file that the page saves.
  function saved(selector) {
    return new Promise((resolve, reject) => {
      const create = URL.createObjectURL;
      URL.createObjectURL = (blob) => {
        URL.createObjectURL = create;
        blob.text().then(resolve, reject);
        return create.call(URL, blob);
      };
      document.querySelector(selector).click();
    });
  }

  window.e2e = { publish, talk, play, watch, restart, hear, frames, firstFrame, stats, stop, load, element, change, click, text, page, usable, focus, saved, origin: () => location.origin };
})();
