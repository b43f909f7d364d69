// All pictures of the room.
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';

import type { Participant } from '../client/rooms.ts';
import { Button } from '../ui/button.tsx';
import { choices, choose } from '../ui/choices.ts';
import { useHotkeys, type Hotkey } from '../ui/hotkeys.tsx';
import { Icon } from '../ui/icons.tsx';
import type { View } from '../ui/room.ts';
import { StateBadge } from '../ui/state.tsx';
import { Store, useStore, useTick } from '../ui/store.ts';
import { toast } from '../ui/toasts.tsx';
import type { Desk, Picture } from './desk.ts';
import { arrange, type Size } from './layout.ts';
import { linksOpen } from './links.tsx';
import { PictureTile, labelOf, still, verdictOf } from './tile.tsx';
import { titleAlarm } from './title.ts';
import { w } from './words.ts';
import { STEP, WHOLE, by, pan } from './zoom.ts';

const big = new Store<readonly string[]>([]); // names of the enlarged
const full = new Store(false);

// Full screen is the whole page's, so that a call, or that nobody hears you, is still seen.
export function toggleFull(): void {
  if (document.fullscreenElement) void document.exitFullscreen().catch(() => {});
  else void document.documentElement.requestFullscreen?.().catch(() => {});
}

export function useFull(): boolean {
  useEffect(() => {
    const look = () => {
      full.set(!!document.fullscreenElement);
      document.documentElement.classList.toggle('is-full', full.value);
    };
    document.addEventListener('fullscreenchange', look);
    return () => document.removeEventListener('fullscreenchange', look);
  }, []);
  return useStore(full);
}

export interface WallProps {
  desk: Desk;
  view: View;
  people: readonly Participant[];
}

export function Wall({ desk, view, people }: WallProps): JSX.Element {
  const pictures = useStore(desk.pictures);
  const audioOnly = useStore(choices, (c) => c.audioOnly);
  if (audioOnly) return <SoundOnly pictures={pictures} people={people} answers={view.state === 'open'} />;
  if (!pictures.length) return <Empty view={view} />;
  return <Pictures {...{ desk, view, people, pictures }} />;
}

function Empty({ view }: { view: View }): JSX.Element {
  return (
    <div class="wall-empty">
      <Icon name="eye" />
      <h2>
        <span role="status">{view.state === 'asking' ? w.asking : view.state === 'lost' ? (view.refused ? w.refusedFirst : w.lostFirst) : w.empty}</span>
      </h2>
      {view.state === 'open' && <p>{w.emptyMore}</p>}
      {view.state === 'open' && (
        <Button icon="plus" onClick={() => linksOpen.set({ what: 'publish', name: '' })}>
          {w.actions.publish}
        </Button>
      )}
    </div>
  );
}

function SoundOnly({ pictures, people, answers }: { pictures: readonly Picture[]; people: readonly Participant[]; answers: boolean }): JSX.Element {
  return (
    <div class="wall-empty sound-only">
      <Icon name="speaker" />
      <h2>{w.audioOnly}</h2>
      <p>{w.audioOnlyMore}</p>
      <Button icon="eye" kind="primary" onClick={() => choose({ audioOnly: false })}>
        {w.withPictures}
      </Button>
      {pictures.length > 0 && (
        <section aria-labelledby="cameras">
          <h3 id="cameras">{w.cameras}</h3>
          <ul>
            {pictures.map((p) => {
              // No picture is loaded: what is known is the publisher's leg alone.
              const paused = people.some((o) => o.privacy && o.publishers.includes(p.name));
              return (
                <li key={p.name}>
                  <span>{labelOf(p)}</span> <StateBadge state={!answers ? 'reconnecting' : p.gone ? 'gone' : paused ? 'paused' : p.track.state} />
                </li>
              );
            })}
          </ul>
        </section>
      )}
    </div>
  );
}

function Pictures({ desk, view, people, pictures }: WallProps & { pictures: readonly Picture[] }): JSX.Element {
  const wall = useRef<HTMLElement>(null);
  const { size, rem } = useSize(wall);
  const names = useStore(big).filter((n) => pictures.some((p) => p.name === n));
  const isFull = useStore(full);
  const answers = view.state === 'open';
  const plan = size && arrange(pictures.length, names.map((n) => pictures.findIndex((p) => p.name === n)), size, rem);
  const scrolls = !!plan && !!size && plan.height > size.height + 1;

  const open = (name: string, beside: boolean) => {
    const now = big.value.filter((n) => pictures.some((p) => p.name === n));
    if (beside) big.set(now.includes(name) ? now.filter((n) => n !== name) : [...now, name]);
    else big.set(now.length === 1 && now[0] === name ? [] : [name]);
    if (!big.value.includes(name)) pictures.find((p) => p.name === name)?.zoom.set(WHOLE);
  };
  const back = () => {
    for (const p of pictures) p.zoom.set(WHOLE);
    big.set([]);
  };
  useHotkeys(keys({ pictures, names, open, back, answers, people }));
  return (
    <>
      <NotLive {...{ pictures, people, answers, scrolls }} />
      <section class="wall" ref={wall} aria-labelledby="wall" style={{ height: plan ? `${plan.height}px` : '100%' }}>
        <h2 class="unseen" id="wall">
          {w.wall}
        </h2>
        {pictures.map((p, i) => (
          <PictureTile
            key={p.name}
            {...{ desk, people }}
            picture={p}
            index={i}
            place={plan?.places[i]}
            big={names.includes(p.name)}
            several={names.length > 1}
            gateway={answers}
            full={isFull}
            onOpen={open}
            onFull={toggleFull}
            onLinks={(name, what) => linksOpen.set({ what, name })}
          />
        ))}
      </section>
    </>
  );
}

// NotLive names those that are not live, where they may be out of sight: in the title, and
// in a line of its own where the wall is scrolled.
function NotLive({ pictures, people, answers, scrolls }: { pictures: readonly Picture[]; people: readonly Participant[]; answers: boolean; scrolls: boolean }): JSX.Element | null {
  useTick(500);
  const names = pictures.filter((p) => ['frozen', 'reconnecting', 'ended'].includes(verdictOf(p, people, answers).state)).map(labelOf);
  useEffect(() => titleAlarm(names.length ? w.frozen(names) : ''), [names.join('\n')]);
  useEffect(() => () => titleAlarm(''), []);
  if (!scrolls) return null;
  return (
    <p class={`wall-alarm${names.length ? '' : ' none'}`} role="status">
      {names.length > 0 && (
        <>
          <Icon name="alarm" /> {w.frozen(names)}
        </>
      )}
    </p>
  );
}

interface Keys {
  pictures: readonly Picture[];
  names: readonly string[];
  answers: boolean;
  people: readonly Participant[];
  open(name: string, beside: boolean): void;
  back(): void;
}

function keys({ pictures, names, open, back, answers, people }: Keys): Hotkey[] {
  const group = w.keys.group;
  const one = pictures.find((p) => p.name === names[0]); // the enlarged one that keys are for
  const at = one ? pictures.indexOf(one) : -1;
  const go = (by: number) => {
    const next = pictures[(at + by + pictures.length) % pictures.length];
    if (next && one) open(next.name, false);
  };
  const zoomed = () => !!one && one.zoom.value.scale > 1;
  const move = (dx: number, dy: number) => one?.zoom.set(pan(one.zoom.value, dx, dy));
  const zoom = (f: number) => one?.zoom.set(by(one.zoom.value, f));
  const digits = Array.from({ length: 9 }, (_, i) => i + 1);
  const nth = (n: number, beside: boolean) => () => {
    const p = pictures[n - 1];
    if (p) open(p.name, beside);
  };
  return [
    ...digits.map((n): Hotkey => ({ key: String(n), shown: '1–9', does: w.keys.enlarge, group, hidden: n > 1, run: nth(n, false) })),
    ...digits.map((n): Hotkey => ({ key: `shift+${n}`, shown: '⇧ 1–9', does: w.keys.beside, group, hidden: n > 1, run: nth(n, true) })),
    { key: '', shown: 'Enter', does: w.keys.enter, group, run: () => {} }, // the picture itself takes it
    { key: 'escape', does: w.keys.back, group, run: back },
    { key: 'arrowright', does: w.keys.next, group, run: () => (zoomed() ? move(-0.2, 0) : go(1)) },
    { key: 'arrowleft', does: w.keys.previous, group, run: () => (zoomed() ? move(0.2, 0) : go(-1)) },
    { key: '+', does: w.keys.zoomIn, group, run: () => zoom(STEP) },
    { key: '=', does: w.keys.zoomIn, group, hidden: true, run: () => zoom(STEP) },
    { key: '-', does: w.keys.zoomOut, group, run: () => zoom(1 / STEP) },
    { key: '0', does: w.keys.reset, group, run: () => one?.zoom.set(WHOLE) },
    { key: 'arrowup', shown: '← ↑ ↓ →', does: w.keys.pan, group, run: () => move(0, 0.2) },
    { key: 'arrowdown', does: w.keys.pan, group, hidden: true, run: () => move(0, -0.2) },
    { key: 's', does: w.keys.still, group, run: () => (one ? void still(one, verdictOf(one, people, answers)) : toast(w.enlargeFirst)) },
    { key: 'f', does: w.keys.full, group, run: toggleFull },
  ];
}

// useSize is how much room the wall has. Where the page itself scrolls that is a good part
// of the window.
function useSize(wall: { current: HTMLElement | null }): { size: Size | undefined; rem: number } {
  const [now, setNow] = useState<{ size: Size | undefined; rem: number }>({ size: undefined, rem: 16 });
  useEffect(() => {
    const main = wall.current?.closest('main');
    if (!main) return undefined;
    const look = () => {
      const style = getComputedStyle(main);
      const rem = parseFloat(getComputedStyle(document.documentElement).fontSize) || 16;
      const [x, y] = [parseFloat(style.paddingLeft) + parseFloat(style.paddingRight), parseFloat(style.paddingTop) + parseFloat(style.paddingBottom)];
      const width = main.clientWidth - x;
      const height = style.overflowY === 'auto' ? main.clientHeight - y : innerHeight - (document.querySelector('.dock')?.clientHeight ?? 0) - 3 * rem;
      setNow((was) => (was.size && was.rem === rem && Math.abs(was.size.width - width) < 0.5 && Math.abs(was.size.height - height) < 0.5 ? was : { size: { width, height }, rem }));
    };
    look();
    const observer = new ResizeObserver(look);
    observer.observe(main);
    addEventListener('resize', look);
    return () => {
      observer.disconnect();
      removeEventListener('resize', look);
    };
  }, []);
  return now;
}
