// The board says in big letters what goes out of the room, and who is on the other side. It
// is made to be read from two metres away.
import type { ComponentChildren, JSX } from 'preact';

import type { Participant, Room } from '../client/rooms.ts';
import { Icon, type IconName } from '../ui/icons.tsx';
import { Meter } from '../ui/meter.tsx';
import type { Tone } from '../ui/state.tsx';
import type { Camera, Decided, Report } from './desk.ts';
import type { Hearing } from './sources.tsx';
import { words } from './words.ts';

const w = words.board;

interface CellProps {
  icon: IconName;
  tone: Tone;
  name: string;
  title: string;
  more?: string;
  children?: ComponentChildren;
  id?: string;
}

function Cell({ icon, tone, name, title, more, children, id }: CellProps): JSX.Element {
  return (
    <section class={`cell ${tone}`} aria-label={name} id={id}>
      <Icon name={icon} />
      <div class="cell-words" role="status">
        <strong>{title}</strong>
        {more && <span>{more}</span>}
      </div>
      {children && <div class="cell-more">{children}</div>}
    </section>
  );
}

export interface BoardProps {
  decided: Decided;
  reports: ReadonlyMap<string, Report>;
  voice: Report;
  voiceLevel: (() => number) | undefined;
  hearing: Hearing;
  room: Room | undefined;
  known: boolean; // the gateway answers: what it says of the room is what is
  people: readonly Participant[]; // the others
}

export function Board(props: BoardProps): JSX.Element {
  return (
    <div class="board" role="group" aria-label={w.title}>
      <Cell name={w.cameras} {...cameras(props)} id="board-cameras" />
      <Cell name={w.microphone} {...voice(props)} id="board-voice">
        {voice(props).tone === 'good' && <Meter label={words.microphone.level} level={props.voiceLevel} />}
      </Cell>
      <Cell name={w.people} {...others(props)} id="board-people">
        {props.people.length > 0 && props.decided.hearing && props.hearing.state === 'live' && <Meter label={words.room.level} level={props.hearing.level} />}
      </Cell>
    </div>
  );
}

type Told = Pick<CellProps, 'icon' | 'tone' | 'title' | 'more'>;

export function cameras({ decided: { cameras, privacy, screen }, reports, room }: Pick<BoardProps, 'decided' | 'reports' | 'room'>): Told {
  if (privacy) return { icon: 'camera-off', tone: 'privacy', title: w.paused, more: w.pausedMore };
  const on = cameras.filter((c) => c.on);
  const source = (c: Camera) => room?.publishers.find((p) => p.name === c.publisher);
  // A camera may hang: the gateway says that nothing comes, whatever the browser thinks that it sends.
  const stalled = (c: Camera) => source(c)?.tracks.some((t) => t.kind === 'video' && t.state === 'stalled');
  const state = (c: Camera) => (reports.get(c.device)?.state === 'live' && stalled(c) ? 'stalled' : reports.get(c.device)?.state);
  const live = on.filter((c) => state(c) === 'live').length;
  const lost = on.filter((c) => ['device-lost', 'failed', 'refused', 'reconnecting', 'stalled'].includes(state(c) ?? ''));
  const shared = screen ? w.screen : '';
  if (lost.length) return { icon: 'alarm', tone: 'alarm', title: w.lost(lost.map((c) => c.name)), more: [w.lostMore(live), shared].filter(Boolean).join(' ') };
  if (live < on.length) return { icon: 'camera', tone: 'work', title: w.starting(on.length - live), ...(live ? { more: w.live(live) } : {}) };
  if (!on.length) return { icon: screen ? 'screen' : 'camera-off', tone: screen ? 'good' : 'none', title: screen ? words.screen.name : w.noCamera };
  return { icon: 'camera', tone: 'good', title: w.live(live), ...(shared ? { more: shared } : {}) };
}

function voice({ decided: { microphone, privacy }, voice: { state, words: said, detail } }: BoardProps): Told {
  const m = words.microphone;
  if (privacy) return { icon: 'microphone-off', tone: 'privacy', title: w.paused, more: m.unheard };
  if (!microphone) return { icon: 'microphone-off', tone: 'none', title: m.off, more: m.unheard };
  switch (state) {
    case 'live':
      return { icon: 'microphone', tone: 'good', title: m.on, more: m.heard };
    case 'failed':
    case 'refused':
    case 'device-lost':
      return { icon: 'microphone-off', tone: 'alarm', title: m.failed, more: said };
    case 'reconnecting':
      return { icon: 'alarm', tone: 'alarm', title: m.reconnecting, more: detail };
  }
  return { icon: 'microphone', tone: 'work', title: m.starting };
}

export function others({ decided: { hearing, privacy }, hearing: { state }, room, known, people }: Pick<BoardProps, 'decided' | 'hearing' | 'room' | 'known' | 'people'>): Told {
  if (!room || !known) return { icon: 'people', tone: 'none', title: w.unknown };
  const names = (all: readonly Participant[]) => all.map((p) => p.name);
  const watching = people.filter((p) => room.publishers.some((s) => s.tracks.some((t) => t.watchers?.includes(p.id))));
  const speaking = people.filter((p) => p.speaking);
  const more = !hearing ? words.room.off : state !== 'live' && state !== 'connecting' ? words.room.interrupted : speaking.length ? words.room.speaks(names(speaking)) : undefined;
  if (watching.length && !privacy) return { icon: 'eye', tone: 'good', title: w.watch(names(watching)), ...(more ? { more } : {}) };
  if (people.length) return { icon: 'people', tone: 'none', title: w.here(names(people)), ...(more ? { more } : {}) };
  return { icon: 'people', tone: 'none', title: w.nobody, more: more ?? w.nobodyMore };
}
