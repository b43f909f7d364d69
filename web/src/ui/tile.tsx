import type { ComponentChildren, JSX } from 'preact';
import { useId } from 'preact/hooks';

import { IconButton } from './button.tsx';
import { duration, milliseconds, percent } from './format.ts';
import { Menu, type Action } from './menu.tsx';
import { Meter } from './meter.tsx';
import { LossMark, StateBadge, tone, type State } from './state.tsx';
import { words } from './strings.ts';

// A Leg is one half of a picture's way: from its publisher to the gateway, or from there
// to this page.
export interface Leg {
  loss?: number | null | undefined; // fraction
  rttMs?: number | null | undefined;
  state?: string | undefined; // of the publisher's: the room API's word
}

export interface TileProps {
  label: string;
  sub?: string; // whose it is: "Hospital"
  children?: ComponentChildren; // the picture: a video, or an element that has one
  state: State;
  words?: string; // of the state, where the usual ones don't say enough
  detail?: string; // what it means, or what to do
  age?: number; // ms for which the picture has stood still; 0 while it moves
  hasPicture?: boolean; // something is shown, be it old
  publisher?: Leg | undefined;
  own?: Leg | undefined;
  level?: (() => number) | undefined; // of its sound
  actions?: readonly Action[]; // its menu
  onOpen?: (() => void) | undefined; // enlarge, or back
  enlarged?: boolean;
  hotkey?: string; // the key that enlarges it
  speaking?: boolean;
  badges?: ComponentChildren;
  controls?: ComponentChildren; // buttons that are always there, below
  tools?: ComponentChildren; // the same, beside that which enlarges
}

// A Tile is one picture with all that must be known about it. Words stand below the
// picture; only what says that the picture is old covers it.
export function Tile(props: TileProps): JSX.Element {
  const { label, sub, children, state, detail, age = 0, hasPicture = false, publisher, own, level, actions, onOpen, enlarged, hotkey, speaking, badges, controls, tools } = props;
  const id = useId();
  const text = props.words ?? words.states[state] ?? state;
  const live = state === 'live';
  const old = hasPicture && !live;
  return (
    <article class={['tile', live ? 'live' : 'not-live', old && 'old', enlarged && 'enlarged', speaking && 'speaking'].filter(Boolean).join(' ')} data-state={state} aria-labelledby={id}>
      <div class="tile-picture" onDblClick={onOpen}>
        {children}
        {!live && (
          <div class={`tile-words ${tone(state)}${old ? ' over' : ''}`}>
            <strong role="status">{text}</strong>
            {age >= 1000 && <span class="age">{old ? words.tile.age(duration(age)) : words.tile.since(duration(age))}</span>}
            {detail && <span class="detail">{detail}</span>}
          </div>
        )}
      </div>
      <div class="tile-bar">
        <div class="tile-name">
          <h3 id={id}>{label}</h3>
          <p>
            <StateBadge state={state} text={words.badges[state] ?? text} />
            {sub && <span class="soft">{sub}</span>}
          </p>
        </div>
        <div class="tile-buttons">
          {tools}
          {onOpen && <IconButton icon={enlarged ? 'back' : 'enlarge'} label={enlarged ? words.tile.back : `${words.tile.enlarge}: ${label}`} kind="quiet" onClick={onOpen} {...(hotkey ? { keys: hotkey } : {})} />}
          {actions && actions.length > 0 && <Menu label={words.tile.menu(label)} actions={actions} />}
        </div>
      </div>
      {(badges || level || marks(publisher, own)) && (
        <div class="tile-marks">
          {level && <Meter label={words.tile.level(label)} level={level} small />}
          <LossMark loss={publisher?.loss} leg="publisher" />
          <LossMark loss={own?.loss} leg="own" />
          {badges}
        </div>
      )}
      {enlarged && (publisher || own) && (
        <dl class="legs">
          <LegLine name={words.legs.publisher} leg={publisher} />
          <LegLine name={words.legs.own} leg={own} />
        </dl>
      )}
      {controls && <div class="tile-controls">{controls}</div>}
    </article>
  );
}

function marks(...legs: (Leg | undefined)[]): boolean {
  return legs.some((leg) => (leg?.loss ?? 0) > 0.01);
}

function LegLine({ name, leg }: { name: string; leg: Leg | undefined }): JSX.Element | null {
  if (!leg) return null;
  const parts = [
    leg.state && (words.tracks[leg.state] ?? leg.state),
    leg.loss !== undefined && leg.loss !== null && words.legs.loss(percent(leg.loss)),
    leg.rttMs !== undefined && leg.rttMs !== null && words.legs.rtt(milliseconds(leg.rttMs)),
  ].filter(Boolean);
  return (
    <div>
      <dt>{name}</dt>
      <dd>{parts.join(' · ') || words.legs.unknown}</dd>
    </div>
  );
}
