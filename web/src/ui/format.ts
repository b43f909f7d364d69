// Numbers as people read them.
import type { Track } from '../client/rooms.ts';

export function rate(bits: number): string {
  if (!bits) return '';
  return bits < 1e6 ? `${Math.round(bits / 1e3)} kbit/s` : `${(bits / 1e6).toFixed(1)} Mbit/s`;
}

// duration takes milliseconds.
export function duration(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 3600)} h`;
}

// percent takes a fraction.
export function percent(fraction: number): string {
  const p = fraction * 100;
  if (p > 0 && p < 0.1) return 'under 0.1 %';
  return `${p < 10 ? p.toFixed(1).replace(/\.0$/, '') : Math.round(p)} %`;
}

export function milliseconds(ms: number): string {
  return ms < 1 ? 'under 1 ms' : `${Math.round(ms)} ms`;
}

export function count(n: number, one: string, many = `${one}s`): string {
  return `${n} ${n === 1 ? one : many}`;
}

// list is "A", "A and B", "A, B and C".
export function list(all: readonly string[]): string {
  return all.length < 2 ? (all[0] ?? '') : `${all.slice(0, -1).join(', ')} and ${all[all.length - 1]}`;
}

const codecs: Record<string, string> = { opus: 'Opus', H264: 'H.264', H265: 'H.265' };

export function format(t: Track): string {
  const parts = [[codecs[t.codec] ?? t.codec, t.profile].filter(Boolean).join(' ')];
  if (t.muted) parts.push('muted by the gateway');
  if (t.width) parts.push(`${t.width}×${t.height}`);
  if (t.kind === 'video' && t.fps) parts.push(`${Math.round(t.fps)} frames/s`);
  return parts.filter(Boolean).join(' · ');
}

// A Grade is how well a leg of the way does, by the loss that people notice.
export type Grade = 0 | 1 | 2 | 3; // above 1, 3 and 5 %

export function grade(loss: number | null | undefined): Grade {
  if (!loss) return 0;
  return loss > 0.05 ? 3 : loss > 0.03 ? 2 : loss > 0.01 ? 1 : 0;
}

export type Quality = 'unknown' | 'good' | 'fair' | 'poor' | 'lost';

// quality takes the loss as a fraction, and the round trip in milliseconds.
export function quality({ connected = true, loss = 0, rttMs = 0 }: { connected?: boolean | undefined; loss?: number | undefined; rttMs?: number | undefined }): Quality {
  if (!connected) return 'lost';
  if (loss > 0.05 || rttMs > 400) return 'poor';
  return loss > 0.01 || rttMs > 200 ? 'fair' : 'good';
}
