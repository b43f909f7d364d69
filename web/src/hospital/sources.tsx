// What goes out of the room, each as a WHIP session of its own, and what comes in.
import { h, type JSX } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';

import '../elements/sightline.ts';
import type { Participant, Stations } from '../client/rooms.ts';
import type { SightlinePlayer } from '../elements/player.ts';
import type { SightlinePublisher } from '../elements/publisher.ts';
import type { Source as Kind } from '../media/devices.ts';
import { choices } from '../ui/choices.ts';
import { measure } from '../ui/debug.tsx';
import { useDevices } from '../ui/devices.tsx';
import { note } from '../ui/diagnostics.ts';
import { gateway, here } from '../ui/page.ts';
import { useStore, useTick } from '../ui/store.ts';
import { toast } from '../ui/toasts.tsx';
import { bounds, SCREEN, VOICE, type Camera, type Desk } from './desk.ts';
import { words } from './words.ts';

const ROLE = 'hospital';

interface SourceProps {
  desk: Desk;
  id: string;
  kind: Kind;
  publisher: string; // its name for the gateway
  label?: string;
  device?: string;
  limits?: { quality: string; maxBitrate: number; frameRate: number };
  paused: boolean;
  idle?: boolean; // nothing to measure
}

// A Source keeps one device published as long as it is in the page.
function Source({ desk, id, kind, publisher, label, device, limits, paused, idle }: SourceProps): JSX.Element {
  const ref = useRef<SightlinePublisher>(null);
  useLayoutEffect(() => {
    const element = ref.current;
    if (!element) return undefined;
    const changed = (e: Event) => {
      const { state, words: said } = (e as CustomEvent<{ state: string; words: string }>).detail;
      note(`${publisher} ${state}`, said);
    };
    const lost = (e: Event) => {
      const { instead } = (e as CustomEvent<{ instead?: string }>).detail;
      if (instead) toast(words.microphone.instead(instead), 'warn');
    };
    element.addEventListener('statechange', changed);
    element.addEventListener('devicelost', lost);
    const detach = desk.attach(id, element);
    return () => {
      element.removeEventListener('statechange', changed);
      element.removeEventListener('devicelost', lost);
      detach();
    };
  }, [desk, id, publisher]);
  useEffect(() => {
    const element = ref.current;
    if (!element || idle) return undefined;
    return measure({ name: publisher, direction: 'out', stats: () => element.stats() });
  }, [publisher, idle]);
  const src = gateway.whip(here.room, publisher, { role: ROLE, ...(label ? { label } : {}) });
  return h('sightline-publisher', {
    ref, src, source: kind, paused,
    ...(gateway.token ? { token: gateway.token } : {}),
    ...(device ? { device } : {}),
    ...(limits ? { quality: limits.quality, 'max-bitrate': limits.maxBitrate, 'frame-rate': limits.frameRate } : {}),
  } as object);
}

export function CameraSource({ desk, camera, limits, paused }: { desk: Desk; camera: Camera; limits: Stations; paused: boolean }): JSX.Element {
  const saver = useStore(choices, (c) => c.saver);
  return <Source desk={desk} id={camera.device} kind="camera" publisher={camera.publisher} label={camera.name} device={camera.device} limits={bounds(camera, limits, saver)} paused={paused} />;
}

export function ScreenSource({ desk, voice, paused, active }: { desk: Desk; voice: string; paused: boolean; active: boolean }): JSX.Element {
  return <Source idle={!active} desk={desk} id={SCREEN} kind="screen" publisher={`${voice}-screen`} label={voice === ROLE ? words.screen.name : `${words.screen.name} (${voice})`} paused={paused} />;
}

export function VoiceSource({ desk, voice, paused }: { desk: Desk; voice: string; paused: boolean }): JSX.Element {
  const { audioinput } = useDevices().chosen;
  return (
    <div hidden>
      <Source desk={desk} id={VOICE} kind="microphone" publisher={voice} device={audioinput} paused={paused} />
    </div>
  );
}

// ---- what comes in ----

const PATIENCE = 3_000; // ms to wait for being a participant: listening matters more than by whose name

export interface Hearing {
  state: string; // of the player
  blocked: boolean; // by the browser, until somebody clicks
  level: (() => number) | undefined;
}

interface ListenerProps {
  voice: string;
  me: Participant | undefined;
  on: boolean;
  onChange(hearing: Hearing): void;
}

// A Listener plays the sound of the room without one's own voice.
export function Listener({ voice, me, on, onChange }: ListenerProps): JSX.Element | null {
  const ref = useRef<SightlinePlayer>(null);
  const { audiooutput } = useDevices().chosen;
  const [patient, setPatient] = useState(true);
  const told = useRef('');
  useEffect(() => {
    const timer = setTimeout(() => setPatient(false), PATIENCE);
    return () => clearTimeout(timer);
  }, []);
  const ready = !!me || !patient;
  const id = useRef('');
  if (me) id.current = me.id;
  useEffect(() => {
    const element = ref.current;
    if (!element) return undefined;
    return measure({ name: 'room', direction: 'in', stats: () => element.stats() });
  }, [ready]);
  useTick(500); // the browser's refusal of sound makes no event
  useEffect(() => {
    const element = ref.current;
    if (!element) return;
    const now = `${element.state} ${element.blocked}`;
    if (now === told.current) return;
    told.current = now;
    onChange({ state: element.state, blocked: element.blocked, level: () => element.level });
  });
  if (!ready) return null;
  const src = gateway.mix(here.room, { for: voice, role: ROLE, ...(id.current ? { participant: id.current } : {}) });
  return (
    <div hidden>
      {h('sightline-player', { ref, id: 'room-sound', src, muted: !on, ...(gateway.token ? { token: gateway.token } : {}), ...(audiooutput ? { sink: audiooutput } : {}) } as object)}
    </div>
  );
}

// useUnblock plays what the browser has kept back at the next click or key, wherever that is.
export function useUnblock(blocked: boolean): void {
  useEffect(() => {
    if (!blocked) return undefined;
    const unblock = () => {
      const player = document.getElementById('room-sound') as SightlinePlayer | null;
      if (player?.blocked) player.muted = false;
    };
    const types = ['click', 'keydown', 'touchend'];
    for (const type of types) addEventListener(type, unblock);
    return () => types.forEach((type) => removeEventListener(type, unblock));
  }, [blocked]);
}
