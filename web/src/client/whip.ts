// Publishing: a WHIP session with one audio track, one video track, or both.
import { Session, type Kind, type Reason } from './session.ts';

export interface PublishOptions extends Limits {
  audio?: MediaStreamTrack | undefined;
  video?: MediaStreamTrack | undefined;
  codecs?: readonly string[]; // of video, the best first: 'H264', 'VP8'; others come after
  token?: string | undefined;
  signal?: AbortSignal | undefined;
  onState?(state: RTCPeerConnectionState): void;
}

// Limits are of the video.
export interface Limits {
  maxBitrate?: number | undefined; // bit/s
  maxFramerate?: number | undefined;
  degradation?: 'balanced' | 'maintain-framerate' | 'maintain-resolution' | undefined; // what suffers last
  shrink?: number | undefined; // by how much width and height are divided
}

// H.264 plays everywhere and most machines encode it in hardware.
export const CODECS = ['H264', 'VP8', 'VP9', 'AV1'];

// publish offers the tracks at a WHIP endpoint. It throws what Session.open throws.
export async function publish(endpoint: string, { audio, video, codecs = CODECS, maxBitrate, maxFramerate, degradation, ...options }: PublishOptions): Promise<Publication> {
  if (!audio && !video) throw new Error('nothing to publish');
  const session = await Session.open(endpoint, {
    ...options,
    setup: (pc) => {
      const stream = new MediaStream(); // one only (RFC 9725, section 4.4.2)
      if (audio) pc.addTransceiver(audio, { direction: 'sendonly', streams: [stream] });
      if (!video) return;
      const encoding: RTCRtpEncodingParameters = {};
      if (maxBitrate) encoding.maxBitrate = maxBitrate;
      if (maxFramerate) encoding.maxFramerate = maxFramerate;
      const t = pc.addTransceiver(video, { direction: 'sendonly', streams: [stream], sendEncodings: [encoding] });
      const order = preferred(RTCRtpSender.getCapabilities?.('video')?.codecs ?? [], codecs);
      if (order.length) t.setCodecPreferences?.(order);
    },
  });
  const publication = new Publication(session);
  if (degradation) await publication.limit({ degradation }).catch(() => {}); // a wish
  return publication;
}

// A Publication is what has been published.
export class Publication {
  constructor(readonly session: Session) {}

  get ended(): Promise<Reason> {
    return this.session.ended;
  }

  // returnAudio is where the publisher hears the others, if the gateway says so.
  get returnAudio(): string | undefined {
    return this.session.links.find((l) => l.rel === 'urn:sightline:return-audio')?.target;
  }

  // codec is the name of what the gateway has chosen for video, such as 'H264'.
  get codec(): string | undefined {
    const [, section = ''] = this.session.answer.split(/^(?=m=video )/m);
    const [, payload] = section.match(/^m=video \d+ \S+ (\d+)/) ?? [];
    return section.match(new RegExp(`^a=rtpmap:${payload} ([^/\\s]+)/`, 'm'))?.[1]?.toUpperCase();
  }

  sender(kind: Kind): RTCRtpSender | undefined {
    return this.session.pc.getTransceivers().find((t) => t.receiver.track.kind === kind)?.sender;
  }

  // replace sends another track of its kind, or null for none, in the same session and
  // with nothing negotiated. It rejects if nothing of that kind was published.
  async replace(kind: Kind, track: MediaStreamTrack | null): Promise<void> {
    const sender = this.sender(kind);
    if (!sender) throw new Error(`no ${kind} in this session`);
    await sender.replaceTrack(track);
  }

  // limit changes what is named, at once.
  async limit({ maxBitrate, maxFramerate, degradation, shrink }: Limits): Promise<void> {
    const sender = this.sender('video');
    if (!sender) return;
    const parameters = sender.getParameters();
    for (const encoding of parameters.encodings ?? []) {
      if (maxBitrate !== undefined) encoding.maxBitrate = maxBitrate;
      if (maxFramerate !== undefined) encoding.maxFramerate = maxFramerate;
      if (shrink !== undefined) encoding.scaleResolutionDownBy = shrink;
    }
    if (degradation) (parameters as { degradationPreference?: string }).degradationPreference = degradation;
    await sender.setParameters(parameters);
  }

  close(): void {
    this.session.close();
  }
}

// preferred sorts what the browser has by what is wanted; what is no codec of its own, such
// as rtx, stays where it is among the rest.
export function preferred<T extends { mimeType: string }>(all: readonly T[], wanted: readonly string[]): T[] {
  const rank = ({ mimeType }: T) => {
    const i = wanted.findIndex((c) => mimeType.toLowerCase() === `video/${c.toLowerCase()}`);
    return i < 0 ? wanted.length : i;
  };
  return [...all].sort((a, b) => rank(a) - rank(b));
}
