// One seat: a picture or a name plate, with all that must be known about it.
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';

import { measure, readings } from '../ui/debug.tsx';
import { duration } from '../ui/format.ts';
import { Icon } from '../ui/icons.tsx';
import { Menu, type Action } from '../ui/menu.tsx';
import { gateway, here } from '../ui/page.ts';
import { Sign, roleName } from '../ui/people.tsx';
import { LossMark, tone, type State } from '../ui/state.tsx';
import { useStore } from '../ui/store.ts';
import { words as kit } from '../ui/strings.ts';
import { Player, type SightlinePlayer } from './elements.tsx';
import type { Rect } from './layout.ts';
import type { Seat } from './seats.ts';
import { words } from './strings.ts';

export interface SeatProps {
  seat: Seat;
  rect: Rect | undefined; // undefined: it is not shown
  large: boolean;
  pinned: boolean;
  number?: number | undefined; // the key that pins it
  hand: number; // place among the raised hands; 0: not raised
  silent: boolean; // his microphone is off, or he has none
  actions: readonly Action[];
  onPin?: (() => void) | undefined;
  participant: string | undefined; // one's own id
  audioOnly: boolean;
  own?: ComponentChildren; // one's own picture
  ownState?: { state: State; words: string; detail: string } | undefined;
}

export function SeatTile(props: SeatProps): JSX.Element {
  const { seat, rect, large, pinned, number, hand, silent, actions, onPin, participant, audioOnly, own, ownState } = props;
  const id = useId();
  const player = useRef<SightlinePlayer>(null);
  // Without an id nobody would know who watches, and one with it would follow at once.
  const shows = !seat.mine && !!seat.track && !audioOnly && !seat.privacy && !!participant;
  const picture = usePicture(player, shows ? `${seat.label} ${seat.kind === 'person' ? '' : seat.kind}`.trim() : '');
  const loss = useStore(readings, (all) => all.get(picture.name)?.video?.loss);
  const state: State = seat.privacy ? 'paused' : own ? (ownState?.state ?? 'live') : shows ? picture.state : 'off';
  const sub = seat.of ? words.of(seat.of) : seat.kind === 'person' && seat.person?.role ? roleName(seat.person.role) : '';
  const plate = state === 'off';
  const live = plate || state === 'live' || (seat.mine && !own);
  const old = shows && picture.shown && !live;
  const names = ['tile', 'seat', live ? 'live' : 'not-live', old && 'old', large && 'large', pinned && 'pinned', seat.speaking && 'speaking', seat.mine && 'mine', seat.kind];
  return (
    <article class={names.filter(Boolean).join(' ')} data-state={state} data-key={seat.key} aria-labelledby={id} style={place(rect)} hidden={!rect}>
      <div class="tile-picture">
        {own}
        {shows && (
          <Player
            ref={player}
            src={gateway.whep(here.room, seat.track!.publisher, 'video', { participant })}
            token={gateway.token}
            kind="video"
            muted
            onstatechange={(e) => picture.told(e.detail)}
          />
        )}
        {plate && (
          <div class="plate" aria-hidden="true">
            <span class="initials">{seat.kind === 'person' ? initials(seat.label) : <Icon name={seat.kind === 'screen' ? 'screen' : 'camera'} />}</span>
            {seat.track && audioOnly && <span>{words.audioOnly}</span>}
          </div>
        )}
        {!live && (
          <div class={`tile-words ${tone(state)}${old ? ' over' : ''}`}>
            <strong role="status">{ownState ? ownState.words : state === 'paused' ? kit.people.privacy : picture.words}</strong>
            {picture.age >= 1000 && shows && <span class="age">{old ? kit.tile.age(duration(picture.age)) : kit.tile.since(duration(picture.age))}</span>}
            {large && <span class="detail">{ownState?.detail ?? picture.detail}</span>}
          </div>
        )}
        {onPin && <button type="button" class="pin-it" aria-label={pinned ? words.unpin(seat.label) : words.pin(seat.label)} aria-pressed={pinned} aria-keyshortcuts={number ? String(number) : undefined} onClick={onPin} />}
      </div>
      <div class="seat-bar">
        <div class={sub ? 'tile-name two' : 'tile-name'}>
          <h3 id={id}>
            {seat.label}
            {seat.mine && seat.kind === 'person' && <span class="soft"> ({kit.people.you})</span>}
          </h3>
          {sub && <span class="soft">{sub}</span>}
        </div>
        <div class="seat-signs">
          <LossMark loss={seat.track?.loss} leg="publisher" />
          <LossMark loss={loss} leg="own" />
          {hand > 0 && (
            <span class="sign warn" title={words.handPlace(hand)}>
              <Icon name="hand" />
              <span aria-hidden="true">{hand}</span>
              <span class="unseen">{words.handPlace(hand)}</span>
            </span>
          )}
          {seat.muted ? <Sign icon="speaker-off" text={words.muted} tone="alarmed" small /> : silent && <Sign icon="microphone-off" text={words.microphone.off} small />}
          {seat.speaking && <Sign icon="speaker" text={words.speaking} tone="good" small />}
          {pinned && <Sign icon="pin" text={words.pinned} small />}
          {number !== undefined && <kbd class="seat-key" title={words.key(number)}>{number}</kbd>}
        </div>
        {actions.length > 0 && <Menu label={kit.tile.menu(seat.label)} actions={actions} />}
      </div>
    </article>
  );
}

function place(rect: Rect | undefined): JSX.CSSProperties {
  if (!rect) return {};
  const { left, top, width, height } = rect;
  return { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` };
}

export function initials(name: string): string {
  const parts = name.replace(/^(dr|prof)\.?\s+/i, '').split(/\s+/).filter(Boolean);
  return [parts[0], parts.length > 1 ? parts.at(-1) : ''].map((p) => [...(p ?? '')][0] ?? '').join('').toUpperCase();
}

interface Picture {
  name: string; // of its readings
  state: State;
  words: string;
  detail: string;
  age: number;
  shown: boolean; // there has been a picture, and it is not taken away
  told(of: { state: string; words: string; detail: string }): void;
}

// usePicture is what a player says of itself. name is empty while there is none.
function usePicture(player: { current: SightlinePlayer | null }, name: string): Picture {
  const [now, setNow] = useState({ state: 'connecting' as State, words: kit.states.connecting, detail: '', shown: false });
  const [age, setAge] = useState(0);
  useEffect(() => {
    if (!name) return undefined;
    setNow({ state: 'connecting', words: kit.states.connecting, detail: '', shown: false });
    return measure({ name, direction: 'in', stats: () => player.current?.stats() ?? Promise.resolve(undefined) });
  }, [name]);
  useEffect(() => {
    setAge(0);
    if (!name || now.state === 'live') return undefined;
    const timer = setInterval(() => setAge(player.current?.age ?? 0), 500);
    return () => clearInterval(timer);
  }, [name, now.state]);
  const told = ({ state, words, detail }: { state: string; words: string; detail: string }) =>
    setNow((was) => ({ state: state as State, words, detail, shown: state === 'live' || (was.shown && (state === 'frozen' || state === 'reconnecting')) }));
  return { name, ...now, age, told };
}
