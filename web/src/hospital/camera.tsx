import type { JSX } from 'preact';
import { useState } from 'preact/hooks';

import type { Publisher, Room, Stations } from '../client/rooms.ts';
import { Button } from '../ui/button.tsx';
import { Confirm } from '../ui/dialog.tsx';
import { rate } from '../ui/format.ts';
import { Icon } from '../ui/icons.tsx';
import type { Action } from '../ui/menu.tsx';
import { video, watchers } from '../ui/room.ts';
import type { State } from '../ui/state.tsx';
import { Tile } from '../ui/tile.tsx';
import { toast } from '../ui/toasts.tsx';
import { Quality, Rename } from './adding.tsx';
import type { Camera, Desk, Report } from './desk.ts';
import { CameraSource } from './sources.tsx';
import { words } from './words.ts';

const w = words.camera;

export interface Shown {
  state: State;
  words?: string;
  detail?: string;
  again?: boolean; // somebody has to do something, and then to try again
}

// shown is what a source's report means for people. stalled: the gateway says that nothing
// comes, whatever the browser thinks that it sends.
export function shown(name: string, { on, privacy, stalled }: { on: boolean; privacy: boolean; stalled: boolean }, report: Report): Shown {
  if (!on) return { state: 'off', words: w.isOff, detail: w.offMore };
  const { state, reason } = report;
  if (state === 'failed' || state === 'refused') return { state, words: report.words, detail: report.detail, again: true };
  if (state === 'device-lost') {
    if (reason === undefined || reason === 'missing') return { state, words: w.unplugged(name), detail: w.unpluggedMore };
    return { state, words: report.words, detail: report.detail };
  }
  if (privacy) return { state: 'paused', words: words.privacy.tile, detail: words.privacy.tileMore };
  if (state === 'idle' || state === 'starting') return { state: 'starting', words: w.starting, detail: w.startingMore };
  if (state === 'live' && stalled) return { state: 'stalled', words: w.stalled, detail: w.stalledMore };
  return state === 'live' ? { state } : { state, words: report.words, detail: report.detail };
}

export interface CameraTileProps {
  desk: Desk;
  camera: Camera;
  number: number; // from 1
  report: Report;
  privacy: boolean;
  limits: Stations;
  room: Room | undefined;
  source: Publisher | undefined; // as the room has it
  me: string | undefined; // id
  isTaken(publisher: string): boolean;
}

// A CameraTile is a camera as it is seen from outside: its picture, and all that concerns it.
export function CameraTile({ desk, camera, number, report, privacy, limits, room, source, me, isTaken }: CameraTileProps): JSX.Element {
  const [open, setOpen] = useState<'' | 'name' | 'quality' | 'remove'>('');
  const { name, on, device } = camera;
  const track = source && video(source);
  const now = shown(name, { on, privacy, stalled: track?.state === 'stalled' }, report);
  const live = now.state === 'live';
  const names = room && track ? watchers(room, track).filter((p) => p.id !== me).map((p) => p.name) : [];
  const others = Math.max(0, (track?.viewers ?? 0) - (track?.watchers?.length ?? 0));
  const figures = live && track?.width ? [`${track.width}×${track.height}`, rate(track.bitrate)].filter(Boolean).join(' · ') : '';
  const actions: Action[] = [
    { label: w.rename, icon: 'info', run: () => setOpen('name') },
    { label: w.quality, icon: 'settings', run: () => setOpen('quality') },
    { label: w.remove, icon: 'remove', run: () => setOpen('remove'), danger: true },
  ];
  const close = () => setOpen('');
  return (
    <>
      <Tile
        label={name}
        sub={figures || camera.deviceLabel.replace(/ \([0-9a-f]{4}:[0-9a-f]{4}\)$/i, '')}
        state={now.state}
        {...(now.words ? { words: now.words } : {})}
        {...(now.detail ? { detail: now.detail } : {})}
        hasPicture={live}
        publisher={live ? track : undefined}
        actions={actions}
        badges={
          live && (
            <span class="watched">
              <Icon name="eye" />
              {w.watched(names, others)}
            </span>
          )
        }
        controls={
          <>
            <Button icon={on ? 'camera-off' : 'camera'} size="large" kind={on ? 'plain' : 'primary'} onClick={() => desk.change(device, { on: !on })} {...(number < 10 ? { keys: String(number) } : {})}>
              {on ? w.off : w.on} <span class="unseen">{name}</span> {number < 10 && <kbd aria-hidden="true">{number}</kbd>}
            </Button>
            {now.again && (
              <Button size="large" onClick={() => desk.retry(device)} label={`${w.again}: ${name}`}>
                {w.again}
              </Button>
            )}
          </>
        }
      >
        {on && <CameraSource key={camera.publisher} desk={desk} camera={camera} limits={limits} paused={privacy} />}
      </Tile>
      <Rename open={open === 'name'} onClose={close} name={name} isTaken={isTaken} onName={(name) => desk.change(device, { name })} />
      <Quality open={open === 'quality'} onClose={close} camera={camera} limits={limits} onChange={(what) => desk.change(device, what)} />
      <Confirm
        title={w.removeTitle(name)}
        open={open === 'remove'}
        onClose={close}
        confirm={w.remove}
        danger
        onConfirm={() => {
          desk.remove(device);
          toast(w.removed(name));
        }}
      >
        <p>{w.removeMore}</p>
      </Confirm>
    </>
  );
}
