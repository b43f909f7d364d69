// The connection test: sound without anything in it goes to the gateway by WHIP and comes
// back by WHEP, as that of a publisher of its own which hears nobody and is soon gone.
import { Refused } from '../client/http.ts';
import { publish, type Publication } from '../client/whip.ts';
import { play } from '../client/whep.ts';
import type { Gateway } from '../client/rooms.ts';
import type { Session } from '../client/session.ts';
import { Readings, type Stats } from '../media/stats.ts';
import { note } from './diagnostics.ts';
import { quality, type Quality } from './format.ts';
import { TEST } from './room.ts';

const LISTEN = 4_000; // ms
const CONNECT = 10_000;

export type Step = 'gateway' | 'send' | 'receive';

export interface Result {
  step: Step; // the last that was tried
  failed?: 'silent' | 'blocked' | 'not-allowed' | 'busy' | 'refused' | undefined;
  detail?: string | undefined; // the gateway's own words
  answerMs?: number; // of a request
  quality: Quality;
  path?: Stats['path'];
  rttMs?: number | undefined;
  jitterMs?: number | undefined;
  sent?: number | undefined; // loss, fractions
  received?: number | undefined;
}

// probe takes some seconds. It never rejects, and leaves nothing open.
export async function probe(gateway: Gateway, room: string, onStep: (step: Step) => void, signal: AbortSignal): Promise<Result> {
  const result: Result = { step: 'gateway', quality: 'lost' };
  const step = (s: Step) => {
    result.step = s;
    onStep(s);
  };
  let context: AudioContext | undefined;
  let sending: Publication | undefined;
  let receiving: Session | undefined;
  try {
    step('gateway');
    const asked = performance.now();
    await gateway.rooms(signal);
    result.answerMs = performance.now() - asked;

    step('send');
    context = new AudioContext();
    // Quieter than anybody can hear, and still more than nothing: it is sent as sound.
    const tone = new OscillatorNode(context, { frequency: 200 });
    const sink = context.createMediaStreamDestination();
    tone.connect(new GainNode(context, { gain: 0.0005 })).connect(sink);
    tone.start();
    const audio = sink.stream.getAudioTracks()[0];
    if (!audio) throw new Error('no sound to test with');
    const name = TEST + crypto.getRandomValues(new Uint32Array(1))[0]!.toString(36);
    const { token } = gateway;
    sending = await publish(gateway.whip(room, name, { label: 'Connection test' }), { audio, token, signal });
    await connected(sending.session, signal);

    step('receive');
    receiving = await play(gateway.whep(room, name, 'audio'), { kinds: ['audio'], token, signal, onTrack: () => {} });
    await connected(receiving, signal);
    const out = new Readings(sending.session.pc);
    const back = new Readings(receiving.pc);
    await Promise.all([out.read(), back.read()]);
    await wait(LISTEN, signal);
    const [sent, received] = await Promise.all([out.read(), back.read()]);
    result.sent = sent.audio?.loss;
    result.received = received.audio?.loss;
    result.jitterMs = received.audio?.jitterMs;
    result.rttMs = received.rttMs ?? sent.rttMs;
    result.path = received.path ?? sent.path;
    const arrived = (received.audio?.bitrate ?? 0) > 0;
    result.quality = quality({ connected: arrived, loss: Math.max(result.sent ?? 0, result.received ?? 0), rttMs: result.rttMs });
    if (!arrived) result.failed = 'blocked';
  } catch (err) {
    result.failed = reason(err);
    result.detail = err instanceof Refused ? err.detail : undefined;
  }
  receiving?.close();
  sending?.close();
  await context?.close().catch(() => {});
  note('connection test', result);
  return result;
}

class Blocked extends Error {}

function reason(err: unknown): Result['failed'] {
  if (err instanceof Blocked) return 'blocked';
  if (!(err instanceof Refused)) return 'silent';
  if (err.status === 401 || err.status === 403) return 'not-allowed';
  return err.status === 429 || err.status === 503 ? 'busy' : 'refused';
}

async function connected(session: Session, signal: AbortSignal): Promise<void> {
  const end = Date.now() + CONNECT;
  let over = false;
  void session.ended.then(() => (over = true));
  while (!session.connected) {
    if (over || Date.now() > end) throw new Blocked();
    await wait(50, signal);
  }
}

function wait(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', stop);
      resolve();
    }, ms);
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    signal.addEventListener('abort', stop, { once: true });
  });
}
