// A peer connection for tests: it negotiates nothing, and becomes what they say.

class FakeTransport extends EventTarget {
  state = 'new';

  become(state: string): void {
    this.state = state;
    this.dispatchEvent(new Event('statechange'));
  }
}

export class FakeTrack extends EventTarget {
  enabled = true;
  readyState = 'live';
  contentHint = '';
  label = 'fake';

  constructor(readonly kind: string, readonly id = kind) {
    super();
  }

  getSettings(): MediaTrackSettings {
    return {};
  }

  stop(): void {
    this.readyState = 'ended';
  }
}

class FakeSender {
  parameters: { encodings: RTCRtpEncodingParameters[] } = { encodings: [{}] };
  replaced: unknown[] = [];
  encoded = 1; // frames

  constructor(readonly transport: FakeTransport, public track: unknown) {}

  getParameters() {
    return structuredClone(this.parameters);
  }

  async setParameters(p: { encodings: RTCRtpEncodingParameters[] }) {
    this.parameters = p;
  }

  async getStats() {
    return new Map([['out', { type: 'outbound-rtp', framesEncoded: this.encoded }]]);
  }

  async replaceTrack(track: unknown) {
    this.track = track;
    this.replaced.push(track);
  }
}

export interface FakeTransceiver {
  kind: string;
  mid: string;
  currentDirection: string | null;
  init: RTCRtpTransceiverInit;
  sender: FakeSender;
  receiver: { track: FakeTrack; transport: FakeTransport };
  preferences?: { mimeType: string }[];
  setCodecPreferences(codecs: { mimeType: string }[]): void;
}

export class FakePeer {
  static all: FakePeer[] = [];
  static get last(): FakePeer {
    return this.all.at(-1)!;
  }

  transport = new FakeTransport();
  transceivers: FakeTransceiver[] = [];
  connectionState = 'new';
  localDescription: { type: string; sdp: string } | null = null;
  remote: string[] = []; // answers
  added: RTCIceCandidateInit[] = [];
  configuration: RTCConfiguration;
  generation = 0;
  onicecandidate: ((e: { candidate: unknown }) => void) | null = null;
  onconnectionstatechange: (() => void) | null = null;
  ontrack: ((e: unknown) => void) | null = null;

  constructor(configuration: RTCConfiguration) {
    this.configuration = configuration;
    FakePeer.all.push(this);
  }

  static install(): void {
    Object.assign(globalThis, {
      RTCPeerConnection: FakePeer,
      MediaStream: class {
        tracks: unknown[];
        constructor(tracks: unknown[] = []) {
          this.tracks = tracks;
        }
        addTrack(track: unknown) {
          this.tracks.push(track);
        }
        getTracks() {
          return this.tracks;
        }
      },
      RTCRtpSender: {
        getCapabilities: () => ({ codecs: ['video/VP8', 'video/rtx', 'video/H264', 'video/AV1'].map((mimeType) => ({ mimeType })) }),
      },
    });
  }

  addTransceiver(what: string | FakeTrack, init: RTCRtpTransceiverInit = {}): FakeTransceiver {
    const kind = typeof what === 'string' ? what : what.kind;
    const t: FakeTransceiver = {
      kind,
      mid: String(this.transceivers.length),
      currentDirection: null,
      init,
      sender: new FakeSender(this.transport, typeof what === 'string' ? null : what),
      receiver: { track: new FakeTrack(kind), transport: this.transport },
      setCodecPreferences(codecs) {
        this.preferences = codecs;
      },
    };
    if (init.sendEncodings) t.sender.parameters.encodings = structuredClone(init.sendEncodings);
    this.transceivers.push(t);
    return t;
  }

  async createOffer({ iceRestart = false } = {}): Promise<{ type: string; sdp: string }> {
    if (iceRestart) this.generation++;
    const sections = this.transceivers.map(
      ({ kind, mid }) =>
        `m=${kind} 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:local${this.generation}\r\na=ice-pwd:secret${this.generation}\r\na=mid:${mid}\r\n` +
        (kind === 'audio' ? 'a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n' : ''),
    );
    return { type: 'offer', sdp: `v=0\r\n${sections.join('')}` };
  }

  async setLocalDescription(d: { type: string; sdp: string }): Promise<void> {
    this.localDescription = d;
  }

  async setRemoteDescription({ sdp }: { sdp: string }): Promise<void> {
    this.remote.push(sdp);
    for (const t of this.transceivers) t.currentDirection = t.init.direction ?? 'sendrecv';
  }

  async addIceCandidate(c: RTCIceCandidateInit): Promise<void> {
    this.added.push(c);
  }

  getTransceivers(): FakeTransceiver[] {
    return this.transceivers;
  }

  getConfiguration(): RTCConfiguration {
    return this.configuration;
  }

  setConfiguration(c: RTCConfiguration): void {
    this.configuration = c;
  }

  async getStats(): Promise<Map<string, unknown>> {
    return new Map();
  }

  close(): void {
    this.connectionState = 'closed';
  }

  // ---- what tests do ----

  become(state: string): void {
    this.connectionState = state;
    this.onconnectionstatechange?.();
  }

  gather(candidate: string | null): void {
    this.onicecandidate?.({ candidate: candidate === null ? null : { candidate, usernameFragment: `local${this.generation}` } });
  }
}
