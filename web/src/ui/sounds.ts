// Sounds that the page makes itself: somebody comes, leaves, calls. There are no files.
import { choices } from './choices.ts';

let context: AudioContext | undefined;
let sink = '';

interface Note {
  hz: number;
  at: number; // s
  for: number; // s
}

const JOIN: Note[] = [{ hz: 523, at: 0, for: 0.12 }, { hz: 784, at: 0.11, for: 0.22 }];
const LEAVE: Note[] = [{ hz: 659, at: 0, for: 0.12 }, { hz: 440, at: 0.11, for: 0.24 }];
const RING: Note[] = [0, 0.22, 0.44].flatMap((at) => [{ hz: 880, at, for: 0.16 }, { hz: 1109, at, for: 0.16 }]);
const RING_EVERY = 2_000; // ms

function play(notes: Note[], volume: number): void {
  try {
    context ??= new AudioContext();
    void context.resume().catch(() => {}); // browsers want a click before
    const setSink = (context as { setSinkId?: (id: string) => Promise<void> }).setSinkId;
    if (setSink) void setSink.call(context, sink).catch(() => {});
    for (const n of notes) {
      const from = context.currentTime + 0.02 + n.at;
      const tone = new OscillatorNode(context, { frequency: n.hz, type: 'triangle' });
      const gain = new GainNode(context, { gain: 0 });
      gain.gain.setValueAtTime(0, from);
      gain.gain.linearRampToValueAtTime(volume, from + 0.015); // a hard edge would click
      gain.gain.setTargetAtTime(0, from + n.for * 0.5, n.for * 0.25);
      tone.connect(gain).connect(context.destination);
      tone.start(from);
      tone.stop(from + n.for * 2);
    }
  } catch {
    // No sound here: what it tells can be seen, too.
  }
}

// speakBy has sounds come out of a loudspeaker, where the browser can.
export function speakBy(device: string): void {
  sink = device;
}

export function joinSound(): void {
  if (choices.value.sounds) play(JOIN, 0.12);
}

export function leaveSound(): void {
  if (choices.value.sounds) play(LEAVE, 0.1);
}

// ring calls until the function that it returns is called. It can't be switched off: a
// call that nobody hears is none.
export function ring(): () => void {
  play(RING, 0.3);
  const timer = setInterval(() => play(RING, 0.3), RING_EVERY);
  return () => clearInterval(timer);
}

// unlock lets sounds come later, when called in a click.
export function unlock(): void {
  play([], 0);
}
