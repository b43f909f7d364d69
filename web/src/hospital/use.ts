// What the hospital's page learns from the gateway and the machine, for components.
import { useEffect, useRef, useState } from 'preact/hooks';

import type { Stations } from '../client/rooms.ts';
import { Meter } from '../media/level.ts';
import type { Place } from '../pages/station.tsx';
import { gateway, here } from '../ui/page.ts';
import { publishers } from '../ui/room.ts';
import { LIMITS, VOICE, type Desk } from './desk.ts';
import { voiceName } from './naming.ts';

// useLimits are what the gateway allows, or usually does as long as it does not say.
export function useLimits(): { limits: Stations; known: boolean } {
  const [limits, setLimits] = useState<Stations | undefined>();
  useEffect(() => {
    const stop = new AbortController();
    const ask = (): void => {
      gateway.stations(stop.signal).then(setLimits, () => stop.signal.aborted || setTimeout(ask, 2_000));
    };
    ask();
    return () => stop.abort();
  }, []);
  return { limits: limits ?? LIMITS, known: limits !== undefined };
}

const PATIENCE = 3_000; // ms to wait for knowing who else is here

// useVoice is the name of the station's voice: '' until it is clear which is free.
export function useVoice(place: Place): string {
  const [voice, setVoice] = useState('');
  const [patient, setPatient] = useState(true);
  const { view, room, people, me } = place;
  useEffect(() => {
    const timer = setTimeout(() => setPatient(false), PATIENCE);
    return () => clearTimeout(timer);
  }, []);
  const key = `sightline.voice.${here.room}`;
  const known = view.state === 'open' || !patient;
  // Of two stations that took one name at the same time the later gives way.
  const first = voice && me && people.some((p) => p.id !== me.id && p.publishers.includes(voice) && `${p.since} ${p.id}` < `${me.since} ${me.id}`);
  useEffect(() => {
    if (!known || (voice && !first)) return;
    const before = voice ? undefined : (sessionStorage.getItem(key) ?? undefined);
    const now = voiceName('hospital', publishers(room), people, me?.id, before);
    sessionStorage.setItem(key, now);
    setVoice(now);
  }, [known, first]);
  return voice;
}

// useVoiceLevel measures one's own voice, also while it is muted: who then speaks is told. In
// privacy nothing is measured.
export function useVoiceLevel(desk: Desk, privacy: boolean): (() => number) | undefined {
  const [level, setLevel] = useState<(() => number) | undefined>();
  const track = desk.element(VOICE)?.stream?.getAudioTracks()[0];
  const id = track?.readyState === 'live' ? track.id : '';
  useEffect(() => {
    if (!track || !id || privacy) return undefined;
    const own = track.clone();
    own.enabled = true;
    const meter = new Meter(own);
    setLevel(() => () => meter.level);
    return () => {
      setLevel(undefined);
      meter.close();
      own.stop();
    };
  }, [id, privacy]);
  return level;
}

const LOUD = 0.02; // root mean square: speech beside a microphone, not a scanner's hum
const LISTEN = 100; // ms
const SAID = 5; // of the last 20 looks
const SHOW = 5_000; // ms

// useSpeaking reports whether somebody speaks in front of the microphone while wanted.
export function useSpeaking(level: (() => number) | undefined, wanted: boolean): boolean {
  const [speaking, setSpeaking] = useState(false);
  const until = useRef(0);
  useEffect(() => {
    if (!level || !wanted) return setSpeaking(false);
    let heard: boolean[] = [];
    const timer = setInterval(() => {
      heard = [...heard.slice(-19), level() > LOUD];
      if (heard.filter(Boolean).length >= SAID) until.current = Date.now() + SHOW;
      setSpeaking(Date.now() < until.current);
    }, LISTEN);
    return () => {
      until.current = 0;
      clearInterval(timer);
    };
  }, [level, wanted]);
  return speaking;
}

// useAwake keeps the screen on: a machine that sleeps shows no cameras.
export function useAwake(wanted: boolean): void {
  useEffect(() => {
    if (!wanted || !navigator.wakeLock) return undefined;
    let lock: WakeLockSentinel | undefined;
    let over = false;
    const take = () => {
      if (document.visibilityState !== 'visible') return;
      navigator.wakeLock.request('screen').then(
        (l) => (over ? void l.release() : (lock = l)),
        () => {}, // on a low battery, say
      );
    };
    take();
    document.addEventListener('visibilitychange', take);
    return () => {
      over = true;
      document.removeEventListener('visibilitychange', take);
      void lock?.release();
    };
  }, [wanted]);
}
