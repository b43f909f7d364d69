// Playing: a WHEP session.
import { Session, type Kind } from './session.ts';

export interface PlayOptions {
  kinds: readonly Kind[];
  token?: string | undefined;
  signal?: AbortSignal | undefined;
  onTrack(track: MediaStreamTrack, receiver: RTCRtpReceiver): void;
  onState?(state: RTCPeerConnectionState): void;
}

// play asks for kinds at a WHEP endpoint. It throws what Session.open throws.
export function play(endpoint: string, { kinds, ...options }: PlayOptions): Promise<Session> {
  return Session.open(endpoint, {
    ...options,
    offer: stereo,
    setup: (pc) => {
      for (const kind of kinds) pc.addTransceiver(kind, { direction: 'recvonly' });
    },
  });
}

// stereo asks for stereo where the browser's default is mono (RFC 7587, section 7.1).
export function stereo(sdp: string): string {
  const opus = sdp.match(/^a=rtpmap:(\d+) opus\/48000\/2/im)?.[1];
  if (!opus) return sdp;
  return sdp.replace(new RegExp(`^(a=fmtp:${opus} (?!.*stereo=).*)$`, 'm'), '$1;stereo=1');
}
