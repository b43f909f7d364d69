// One picture of the wall.
import type { JSX } from 'preact';

import type { Participant } from '../client/rooms.ts';
import { IconButton } from '../ui/button.tsx';
import { copy } from '../ui/copy.tsx';
import { debugOpen, readings } from '../ui/debug.tsx';
import { save } from '../ui/diagnostics.ts';
import { duration } from '../ui/format.ts';
import type { Action } from '../ui/menu.tsx';
import { gateway, here, href } from '../ui/page.ts';
import { roleName } from '../ui/people.tsx';
import { useStore, useTick } from '../ui/store.ts';
import { Tile } from '../ui/tile.tsx';
import { toast } from '../ui/toasts.tsx';
import type { Desk, Picture } from './desk.ts';
import type { Place } from './layout.ts';
import { judge, type Verdict } from './verdict.ts';
import { Viewport } from './viewport.tsx';
import { w } from './words.ts';
import { STEP, WHOLE, by } from './zoom.ts';

export interface PictureTileProps {
  desk: Desk;
  picture: Picture;
  index: number;
  place: Place | undefined; // undefined until the wall has been measured
  big: boolean;
  several: boolean; // others are big, too
  gateway: boolean; // it answers
  people: readonly Participant[];
  full: boolean;
  onOpen(name: string, beside: boolean): void;
  onFull(): void;
  onLinks(name: string, what: 'play' | 'publish'): void;
}

export const labelOf = ({ track, name }: Picture): string => track.label || name;

// privacyOf is who has paused a publisher.
export function privacyOf(people: readonly Participant[], publisher: string): Participant | undefined {
  return people.find((p) => p.privacy && p.publishers.includes(publisher));
}

export function verdictOf({ player, track, gone, silent, name }: Picture, people: readonly Participant[], gatewayAnswers: boolean): Verdict {
  const since = (then: number) => (then ? performance.now() - then : 0);
  return judge({ player, track: gone ? undefined : track, goneFor: since(gone), silentFor: since(silent), gateway: gatewayAnswers, privacy: gone ? undefined : privacyOf(people, name) });
}

export function PictureTile({ desk, picture, index, place, big, several, gateway: answers, people, full, onOpen, onFull, onLinks }: PictureTileProps): JSX.Element {
  const { name, track, gone, zoom, changed } = picture;
  useStore(changed);
  const own = useStore(readings, (all) => all.get(name));
  const z = useStore(zoom);
  const verdict = verdictOf(picture, people, answers);
  useTick(verdict.state === 'live' || verdict.state === 'paused' ? 0 : 250); // ages count
  const label = labelOf(picture);
  const key = index < 9 ? String(index + 1) : undefined;
  const owner = people.find((p) => p.publishers.includes(name));
  const speaking = !gone && (desk.room?.publishers.find((p) => p.name === name)?.speaking ?? false);

  const whep = gateway.whep(here.room, name, 'video');
  const watch = new URL(href('watch', here.room, name, 'video'), location.href).href;
  const share = async (text: string) => void toast((await copy(text)) ? w.copied : text, 'good');
  const a = w.actions;
  const actions: Action[] = [
    { label: a.enlarge, icon: 'enlarge', run: () => onOpen(name, false), disabled: big && !several, ...(key ? { keys: key } : {}) },
    { label: big ? a.notBeside : a.beside, icon: 'pin', run: () => onOpen(name, true), ...(key ? { keys: `⇧ ${key}` } : {}) },
    { label: a.still, icon: 'still', run: () => void still(picture, verdict), disabled: !verdict.hasPicture },
    { label: full ? a.notFull : a.full, icon: 'full', run: onFull, disabled: !document.fullscreenEnabled },
    { label: a.whep, icon: 'link', run: () => void share(whep) },
    { label: a.watch, icon: 'link', run: () => void share(watch.replace(/#.*$/, '')) },
    { label: a.open, icon: 'eye', run: () => {}, href: watch },
    { label: a.play, icon: 'play', run: () => onLinks(name, 'play') },
    { label: a.publish, icon: 'plus', run: () => onLinks(name, 'publish') },
    { label: a.debug, icon: 'debug', run: () => debugOpen.set(true), keys: 'D' },
  ];
  if (gone) actions.push({ label: a.remove, icon: 'remove', run: () => desk.remove(name), danger: true });

  const tools = !big ? (
    key && (
      <kbd class="tile-key" aria-hidden="true">
        {key}
      </kbd>
    )
  ) : verdict.hasPicture && place?.form === 'full' && (
    <>
      <IconButton icon="minus" label={`${a.zoomOut}: ${label}`} kind="quiet" keys="-" disabled={z.scale === 1} onClick={() => zoom.set(by(zoom.value, 1 / STEP))} />
      <button type="button" class="button quiet zoom" aria-label={`${a.reset}: ${label}, ${w.zoom(z.scale)}`} aria-keyshortcuts="0" title={`${a.reset} (0)`} disabled={z.scale === 1} onClick={() => zoom.set(WHOLE)}>
        {w.zoom(z.scale)}
      </button>
      <IconButton icon="plus" label={`${a.zoomIn}: ${label}`} kind="quiet" keys="+" onClick={() => zoom.set(by(zoom.value, STEP))} />
      <IconButton icon="still" label={`${a.still}: ${label}`} kind="quiet" keys="s" onClick={() => void still(picture, verdict)} />
    </>
  );
  const style = place && { left: `${place.x}px`, top: `${place.y}px`, width: `${place.width}px`, height: `${place.height}px` };
  return (
    <div class={`place ${place?.form ?? 'full'}${big ? ' big' : ''}`} style={style} data-name={name}>
      <Tile
        label={label}
        sub={[owner?.name !== label && owner?.name, track.role && roleName(track.role)].filter(Boolean).join(' · ')}
        state={verdict.state}
        {...(verdict.words ? { words: verdict.words } : {})}
        {...(verdict.detail ? { detail: verdict.detail } : {})}
        age={verdict.age}
        hasPicture={verdict.hasPicture}
        publisher={gone ? undefined : { loss: answers ? track.loss : undefined, rttMs: answers ? track.rttMs : undefined, state: answers ? track.state : undefined }}
        own={gone || !own ? undefined : { loss: own.video?.loss, rttMs: own.rttMs }}
        actions={actions}
        onOpen={big ? () => onOpen(name, several) : undefined}
        enlarged={big}
        speaking={speaking}
        tools={tools}
        {...(key ? { hotkey: key } : {})}
      >
        <Viewport picture={picture} label={label} hotkey={key} zooms={big} onOpen={(beside) => onOpen(name, beside)} />
      </Tile>
    </div>
  );
}

// still saves the picture as it is shown, at its full size, under the time at which it was
// new: a picture that has stood still for a minute is one of a minute ago.
export async function still(picture: Picture, verdict: Verdict): Promise<void> {
  if (!verdict.hasPicture) return toast(w.noStill, 'warn');
  try {
    const blob = await picture.player.still();
    const name = stillName(here.room, labelOf(picture), new Date(Date.now() - verdict.age), verdict.age > 0);
    save(blob, name);
    if (verdict.age > 0) toast(`${w.saved(name)} – ${w.oldStill(duration(verdict.age))}`, 'warn');
    else toast(w.saved(name), 'good');
  } catch {
    toast(w.noStill, 'warn');
  }
}

// stillName has the room, the camera and the local time: "MRI-2 console 2026-11-24 19-33-24.123.png".
export function stillName(room: string, camera: string, at: Date, old: boolean): string {
  const two = (n: number, digits = 2) => String(n).padStart(digits, '0');
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const time = `${two(at.getHours())}-${two(at.getMinutes())}-${two(at.getSeconds())}.${two(at.getMilliseconds(), 3)}`;
  const plain = (text: string) => text.replace(/[^\p{L}\p{N} ._-]+/gu, '-').trim();
  return `${plain(room)} ${plain(camera)} ${day} ${time}${old ? ' old' : ''}.png`;
}
