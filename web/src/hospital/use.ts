// What the hospital's page learns from the gateway and the machine, for components.
import { useEffect, useRef, useState } from 'preact/hooks';

import type { Participant, Stations } from '../client/rooms.ts';
import { Meter } from '../media/level.ts';
import type { Place } from '../pages/station.tsx';
import { gateway, here } from '../ui/page.ts';
import { publishers } from '../ui/room.ts';
import { keepVoice, keptVoice, others } from '../ui/voice.ts';
import { LIMITS, VOICE, type Desk } from './desk.ts';
import { voiceName, yields } from './naming.ts';

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

// useOthers are the people in the room but this page, under whatever id it was and is.
export function useOthers({ people, me }: Place): Participant[] {
  const past = useRef(new Set<string>());
  if (me) past.current.add(me.id);
  return others(people, me?.id, past.current);
}

// useVoice is the name of the station's voice: '' until it is clear which is free.
export function useVoice(place: Place, others: readonly Participant[]): string {
  const [voice, setVoice] = useState('');
  const [patient, setPatient] = useState(true);
  const { view, room, me } = place;
  useEffect(() => {
    const timer = setTimeout(() => setPatient(false), PATIENCE);
    return () => clearTimeout(timer);
  }, []);
  const known = view.state === 'open' || !patient;
  const late = voice !== '' && me !== undefined && yields(voice, me, others);
  useEffect(() => {
    if (!known || (voice && !late)) return;
    const before = (!voice && keptVoice('hospital', here.room)) || undefined;
    const now = voiceName('hospital', publishers(room), others, me?.id, before);
    keepVoice('hospital', here.room, now);
    setVoice(now);
  }, [known, late]);
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
