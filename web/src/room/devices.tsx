// One's own microphone, camera and screen: publishers that the page keeps, and what goes
// wrong with them.
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';

import type { Stations } from '../client/rooms.ts';
import type { DeviceKind } from '../media/devices.ts';
import { Meter } from '../media/level.ts';
import { Banner } from '../ui/banner.tsx';
import { Button } from '../ui/button.tsx';
import { choices } from '../ui/choices.ts';
import { measure } from '../ui/debug.tsx';
import { deviceList, refreshDevices, useDevices } from '../ui/devices.tsx';
import { note } from '../ui/diagnostics.ts';
import { gateway, here } from '../ui/page.ts';
import { Store, useStore } from '../ui/store.ts';
import { toast } from '../ui/toasts.tsx';
import { Publisher, type SightlinePublisher, type StateEvent } from './elements.tsx';
import { camera, screen } from './name.ts';
import { Talk, beginning, broken, busy, idle, type Own, type Told } from './own.ts';
import { words } from './strings.ts';

const HINT = 15_000; // ms between two hints that somebody talks though his microphone is off

// Devices are one's own, with what the page does to them.
export class OwnDevices {
  readonly store = new Store<Own>(beginning);
  voice: SightlinePublisher | null = null;
  face: SightlinePublisher | null = null;
  screen: SightlinePublisher | null = null;

  // begin decides how the stay begins: as the person has chosen, but silent in a full room.
  begin(others: number, muteFrom: number): void {
    if (this.store.value.begun) return;
    const { withMicrophone, withCamera } = choices.value;
    const full = withMicrophone && others >= muteFrom;
    this.store.patch({ begun: true, full: full ? others : 0, microphone: withMicrophone && !full, open: withMicrophone, camera: withCamera });
    note('begin', { others, muteFrom, withMicrophone, withCamera });
  }

  setMicrophone(microphone: boolean): void {
    this.store.patch({ microphone, full: 0, ...(microphone ? { open: true } : {}) });
    if (microphone && broken(this.store.value.voice)) this.voice?.start();
  }

  setCamera(camera: boolean): void {
    this.store.patch({ camera, ...(camera ? {} : { face: idle }) });
  }

  // share wants a click or a key just before.
  share(on: boolean): void {
    if (on) this.screen?.start();
    else this.screen?.stop();
  }

  get sharing(): boolean {
    return busy(this.store.value.screen);
  }
}

export const canShare = !!navigator.mediaDevices && 'getDisplayMedia' in navigator.mediaDevices;

// useWanted is the device that a publisher shall have. The one that it has already is none
// to change to.
function useWanted(kind: DeviceKind, element: () => SightlinePublisher | null): string {
  useDevices();
  const chosen = useStore(deviceList, (l) => l.chosen[kind]);
  const [device, setDevice] = useState(chosen);
  useEffect(() => {
    if (element()?.stream?.getTracks()[0]?.getSettings().deviceId !== chosen) setDevice(chosen);
  }, [chosen]);
  return device;
}

function useTold(own: OwnDevices, which: 'voice' | 'face' | 'screen', name: string): (e: StateEvent) => void {
  useEffect(() => {
    if (!name) return undefined;
    return measure({ name, direction: 'out', stats: () => own[which]?.stats() ?? Promise.resolve(undefined) });
  }, [name]);
  return ({ detail }) => {
    own.store.patch({ [which]: detail as Told });
    note(which, `${detail.state} ${detail.detail}`);
    if (detail.state === 'live' || detail.state === 'paused') void refreshDevices();
  };
}

function lost({ detail }: CustomEvent<{ label?: string; instead?: string }>): void {
  if (detail.label && detail.instead) toast(words.lost(detail.label, detail.instead), 'warn');
}

export function Voice({ own, name, label }: { own: OwnDevices; name: string; label: string }): JSX.Element | null {
  const { microphone, open, voice } = useStore(own.store);
  const device = useWanted('audioinput', () => own.voice);
  const told = useTold(own, 'voice', open ? 'microphone' : '');
  useTalking(own, open && !microphone && voice.state === 'paused');
  if (!open) return null;
  return (
    <Publisher
      ref={(e: SightlinePublisher | null) => void (own.voice = e)}
      src={gateway.whip(here.room, name)}
      token={gateway.token}
      source="microphone"
      device={device}
      label={label}
      paused={!microphone}
      onstatechange={told}
      ondevicelost={lost}
      hidden
    />
  );
}

// useTalking hints to who talks though his microphone is off. What he says goes nowhere.
function useTalking(own: OwnDevices, off: boolean): void {
  useEffect(() => {
    const track = off && own.voice?.stream?.getAudioTracks()[0]?.clone();
    if (!track) return undefined;
    track.enabled = true;
    const meter = new Meter(track);
    const talk = new Talk();
    let hinted = -Infinity;
    const timer = setInterval(() => {
      if (!talk.take(meter.level) || performance.now() - hinted < HINT) return;
      hinted = performance.now();
      toast(`${words.talking}. ${words.talkingMore}`, 'warn');
    }, Talk.every);
    return () => {
      clearInterval(timer);
      meter.close();
      track.stop();
    };
  }, [off]);
}

export function Face({ own, name, label, limits }: { own: OwnDevices; name: string; label: string; limits: Stations }): JSX.Element {
  const saver = useStore(choices, (c) => c.saver);
  const device = useWanted('videoinput', () => own.face);
  const told = useTold(own, 'face', 'camera');
  return (
    <Publisher
      ref={(e: SightlinePublisher | null) => void (own.face = e)}
      src={gateway.whip(here.room, camera(name))}
      token={gateway.token}
      source="camera"
      device={device}
      label={label}
      max-bitrate={saver ? Math.min(300_000, limits.maxBitrate) : limits.maxBitrate}
      frame-rate={saver ? Math.min(15, limits.frameRate) : limits.frameRate}
      quality={saver ? '360p' : limits.quality}
      onstatechange={told}
      ondevicelost={lost}
    />
  );
}

export function Screen({ own, name, label, limits }: { own: OwnDevices; name: string; label: string; limits: Stations }): JSX.Element {
  const sharing = busy(useStore(own.store, (s) => s.screen));
  const told = useTold(own, 'screen', sharing ? 'screen' : '');
  return (
    <Publisher
      ref={(e: SightlinePublisher | null) => void (own.screen = e)}
      src={gateway.whip(here.room, screen(name))}
      token={gateway.token}
      source="screen"
      label={words.screenOf(label)}
      max-bitrate={2 * limits.maxBitrate}
      onstatechange={(e: StateEvent) => {
        told(e);
        if (e.detail.state === 'failed') toast(words.notShared, 'warn');
      }}
    />
  );
}

// Troubles say why a device can't be had, and what to do.
export function Troubles({ own }: { own: OwnDevices }): JSX.Element {
  const { open, camera: wanted, voice, face, screen } = useStore(own.store);
  const again = { voice: () => own.voice?.start(), face: () => own.face?.start() };
  const give = { voice: () => own.store.patch({ open: false, microphone: false, voice: idle }), face: () => own.setCamera(false) };
  // What is wrong with both alike is said once.
  const both = open && wanted && /^The microphone is /.test(voice.words) && voice.words.replace('microphone', 'camera') === face.words;
  const together: Told = { ...voice, words: voice.words.replace('microphone is', 'microphone and the camera are'), detail: voice.detail.replace(/the microphone/gi, 'both') };
  const all = [
    { told: together, on: both, without: words.trouble.both, again: () => (again.voice(), again.face()), give: () => (give.voice(), give.face()) },
    { told: voice, on: open && !both, without: words.trouble.microphone, again: again.voice, give: give.voice },
    { told: face, on: wanted && !both, without: words.trouble.camera, again: again.face, give: give.face },
    { told: screen, on: screen.state === 'refused', without: '', again: undefined, give: () => own.store.patch({ screen: idle }) },
  ];
  return (
    <>
      {all.map(
        ({ told, on, without, again, give }) =>
          on &&
          broken(told) && (
            <Banner
              key={without}
              kind="warn"
              title={told.words}
              onClose={give}
              actions={again && <Button onClick={again} label={`${words.trouble.again}: ${told.words}`}>{words.trouble.again}</Button>}
            >
              {told.detail} {without}
            </Banner>
          ),
      )}
    </>
  );
}
