// States, as they look everywhere: a shape, a colour and a word, so that none is needed to
// tell the others.
import type { JSX } from 'preact';

import { grade, percent, type Quality } from './format.ts';
import { Bars, Icon } from './icons.tsx';
import { words } from './strings.ts';

// The states of players, publishers (docs/STATIONS.md) and tracks of the room API.
export type State =
  | 'idle' | 'starting' | 'connecting' | 'waiting' | 'live' | 'frozen' | 'stalled' | 'reconnecting' | 'ended' | 'gone' | 'busy' | 'refused' | 'failed'
  | 'unplayable' | 'paused' | 'device-lost' | 'off';

export type Tone = 'good' | 'work' | 'warn' | 'alarm' | 'privacy' | 'none';

const tones: Record<State, Tone> = {
  idle: 'none', off: 'none', starting: 'work', connecting: 'work', waiting: 'work', live: 'good', frozen: 'alarm', stalled: 'alarm', reconnecting: 'warn',
  ended: 'warn', gone: 'warn', busy: 'warn', refused: 'alarm', failed: 'alarm', unplayable: 'alarm', paused: 'privacy', 'device-lost': 'alarm',
};

export function tone(state: State): Tone {
  return tones[state] ?? 'warn';
}

export function StateBadge({ state, text = words.states[state] ?? state }: { state: State; text?: string }): JSX.Element {
  return (
    <span class={`state ${tone(state)}`} data-state={state}>
      <span class="mark" aria-hidden="true" />
      {text}
    </span>
  );
}

// A LossMark says that pictures suffer: above 1, 3 and 5 % of a leg's packets are lost.
export function LossMark({ loss, leg }: { loss: number | null | undefined; leg: 'publisher' | 'own' }): JSX.Element | null {
  const g = grade(loss);
  if (!g) return null;
  return (
    <span class={`loss loss-${g}`} title={words.loss.tip[leg]}>
      <Icon name={g === 1 ? 'info' : g === 2 ? 'warn' : 'alarm'} />
      <span>
        {words.loss[leg]} <b>{percent(loss ?? 0)}</b>
      </span>
    </span>
  );
}

const bars: Record<Quality, number> = { unknown: 3, good: 3, fair: 2, poor: 1, lost: 0 };

// ConnectionQuality says how good this page's connection is.
export function ConnectionQuality({ quality, detail }: { quality: Quality; detail?: string | undefined }): JSX.Element {
  return (
    <span class={`quality ${quality}`} role="status" title={detail ?? words.quality.tip}>
      <Bars n={bars[quality]} />
      <span class="words">{words.quality[quality]}</span>
    </span>
  );
}
