// What one's own devices do in a meeting.
import type { PublisherState } from '../media/publisher.ts';
import type { Device, Track } from '../client/rooms.ts';
import type { State } from '../ui/state.tsx';
import { words } from '../ui/strings.ts';

export interface Told {
  state: PublisherState;
  words: string;
  detail: string;
}

export const idle: Told = { state: 'idle', words: '', detail: '' };

export interface Own {
  begun: boolean; // it is decided whether microphone and camera begin as on
  full: number; // how many others were there, if that is why the microphone began as off
  microphone: boolean; // he wants to be heard
  open: boolean; // the microphone has been asked for: while off, it still tells whether he talks
  camera: boolean;
  voice: Told;
  face: Told;
  screen: Told;
}

export const beginning: Own = { begun: false, full: 0, microphone: false, open: false, camera: false, voice: idle, face: idle, screen: idle };

// broken reports whether a publisher has no device, or may not publish.
export function broken({ state }: Told): boolean {
  return state === 'failed' || state === 'refused' || state === 'device-lost';
}

export function busy({ state }: Told): boolean {
  return state !== 'idle' && state !== 'failed' && state !== 'refused';
}

// said is what the others are told of microphone and camera.
export function said(own: Own): { microphone: Device; camera: Device } {
  return {
    microphone: !own.begun || (own.open && broken(own.voice)) ? 'none' : own.microphone ? 'on' : 'off',
    camera: !own.begun || (own.camera && broken(own.face)) ? 'none' : own.camera ? 'on' : 'off',
  };
}

// shown is the state of one's own picture as tiles have it. track is what the gateway gets of it: a camera that hangs
// is live to the browser alone.
export function shown(told: Told, track?: Track): { state: State; words: string; detail: string } {
  if (broken(told)) return { ...told, state: 'off' };
  const state = told.state === 'idle' ? 'starting' : told.state === 'live' && track?.state === 'stalled' ? 'stalled' : told.state;
  return state === told.state ? { ...told, state } : { ...told, state, words: words.states[state] };
}

// A Talk tells from levels whether somebody talks: for a good part of a second, not once.
export class Talk {
  static readonly every = 100; // ms between levels
  #loud = 0;

  take(level: number): boolean {
    this.#loud = level > 0.02 ? this.#loud + 1 : Math.max(0, this.#loud - 1);
    if (this.#loud < 6) return false;
    this.#loud = 0;
    return true;
  }
}
