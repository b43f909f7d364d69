// What a connection tells of itself (webrtc-stats), for people who look for what is wrong.
import type { Kind } from '../client/session.ts';

export interface Stats {
  connection: RTCPeerConnectionState;
  path?: 'udp' | 'tcp' | 'relay'; // of ICE
  rttMs?: number;
  timeToFirstFrame?: number; // ms
  audio?: StreamStats;
  video?: StreamStats;
}

export interface StreamStats {
  codec: string; // 'H264', 'opus'
  bitrate: number; // bit/s since the last reading
  loss: number; // fraction since the last reading, before repair
  packetsLost: number; // in all
  jitterMs?: number;
  width?: number;
  height?: number;
  fps?: number;
  limitation?: string; // what keeps the sender's quality down: 'cpu', 'bandwidth'
}

// A Readings reads one connection. Rates are between two readings, and zero at the first.
export class Readings {
  #before = new Map<string, Counters>();

  constructor(private readonly pc: RTCPeerConnection) {}

  async read(): Promise<Stats> {
    return this.take(await this.pc.getStats(), this.pc.connectionState);
  }

  take(report: RTCStatsReport, connection: RTCPeerConnectionState): Stats {
    const out: Stats = { connection };
    const sources = new Map<string, Fields>(); // what the other end says of what is sent
    report.forEach((r: Fields) => {
      if (r.type === 'remote-inbound-rtp' && r.localId) sources.set(String(r.localId), r);
    });
    report.forEach((r: Fields) => {
      if (r.type === 'candidate-pair' && (r.nominated || r.selected) && r.state === 'succeeded') this.#path(out, r, report);
      if (r.type === 'inbound-rtp') out[r.kind as Kind] = this.#stream(r, r, report, Number(r.bytesReceived ?? 0), Number(r.packetsReceived ?? 0));
      if (r.type === 'outbound-rtp') {
        const remote = sources.get(String(r.id)) ?? {};
        const stream = this.#stream(r, remote, report, Number(r.bytesSent ?? 0), Number(r.packetsSent ?? 0));
        if (r.qualityLimitationReason && r.qualityLimitationReason !== 'none') stream.limitation = String(r.qualityLimitationReason);
        out[r.kind as Kind] = stream;
      }
    });
    return out;
  }

  #path(out: Stats, pair: Fields, report: RTCStatsReport): void {
    if (pair.currentRoundTripTime !== undefined) out.rttMs = Number(pair.currentRoundTripTime) * 1000;
    const local = report.get(String(pair.localCandidateId)) as Fields | undefined;
    if (!local) return;
    out.path = local.candidateType === 'relay' ? 'relay' : local.protocol === 'tcp' ? 'tcp' : 'udp';
  }

  // Of what is sent, the packets that were lost are known to the other end only.
  #stream(r: Fields, lossOf: Fields, report: RTCStatsReport, bytes: number, packets: number): StreamStats {
    const now: Counters = { at: Number(r.timestamp ?? 0), bytes, packets, lost: Number(lossOf.packetsLost ?? 0) };
    const was = this.#before.get(String(r.id));
    this.#before.set(String(r.id), now);
    const out: StreamStats = {
      codec: String((report.get(String(r.codecId)) as Fields | undefined)?.mimeType ?? '').replace(/^.*\//, ''),
      bitrate: 0,
      loss: 0,
      packetsLost: now.lost,
    };
    if (was && now.at > was.at) {
      out.bitrate = Math.max(0, (8_000 * (now.bytes - was.bytes)) / (now.at - was.at));
      const lost = Math.max(0, now.lost - was.lost);
      const arrived = Math.max(0, now.packets - was.packets) + (r.type === 'inbound-rtp' ? lost : 0);
      out.loss = arrived ? Math.min(1, lost / arrived) : 0;
    }
    if (lossOf.jitter !== undefined) out.jitterMs = Number(lossOf.jitter) * 1000;
    if (r.frameWidth) [out.width, out.height] = [Number(r.frameWidth), Number(r.frameHeight ?? 0)];
    if (r.framesPerSecond !== undefined) out.fps = Number(r.framesPerSecond);
    return out;
  }
}

interface Counters {
  at: number;
  bytes: number;
  packets: number;
  lost: number;
}

type Fields = Record<string, string | number | boolean | undefined>;
