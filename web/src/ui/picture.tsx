// Tiles around the elements: a camera that is watched, and one that is shown.
import type { JSX, Ref } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';

import type { Track } from '../client/rooms.ts';
import type { SightlinePlayer } from '../elements/player.ts';
import type { SightlinePublisher } from '../elements/publisher.ts';
import '../elements/sightline.ts';
import { measure, readings } from './debug.tsx';
import { note } from './diagnostics.ts';
import type { State } from './state.tsx';
import { useStore, useTick } from './store.ts';
import { Tile, type TileProps } from './tile.tsx';

type ElementProps<E> = Record<string, unknown> & { ref?: Ref<E> };

declare module 'preact' {
  namespace JSX {
    interface IntrinsicElements {
      'sightline-player': ElementProps<SightlinePlayer>;
      'sightline-publisher': ElementProps<SightlinePublisher>;
    }
  }
}

interface Said {
  state: State;
  words: string;
  detail: string;
}

// useElement follows an element's state, and reads its connection for the overlay.
function useElement<E extends SightlinePlayer | SightlinePublisher>(name: string, direction: 'in' | 'out'): { ref: Ref<E>; element: E | undefined; said: Said | undefined } {
  const [element, setElement] = useState<E | undefined>();
  const [said, setSaid] = useState<Said | undefined>();
  const ref = useRef((e: E | null) => setElement(e ?? undefined));
  useEffect(() => {
    if (!element) return undefined;
    const change = () => {
      const { state, words, detail } = element;
      setSaid({ state, words, detail });
    };
    const tell = () => {
      change();
      note(`${name} ${element.state}`, element.detail || undefined);
    };
    change();
    element.addEventListener('statechange', tell);
    const stop = measure({ name, direction, stats: () => element.stats() });
    return () => {
      element.removeEventListener('statechange', tell);
      stop();
    };
  }, [element, name]);
  return { ref: ref.current, element, said };
}

type Passed = Omit<TileProps, 'state' | 'words' | 'detail' | 'age' | 'hasPicture' | 'publisher' | 'own' | 'children'>;

export interface PlayerTileProps extends Passed {
  src: string; // the WHEP endpoint
  token?: string | undefined;
  track?: Track | undefined; // as the room API has it: for the publisher's leg
  muted?: boolean;
  sink?: string;
  paused?: string | undefined; // it is paused over there: why, in words
  onElement?: (element: SightlinePlayer | undefined) => void; // for still, full screen, zoom
}

// A PlayerTile plays a WHEP endpoint, and tells on itself when that is not live.
export function PlayerTile({ src, token, track, muted = false, sink = '', paused, onElement, ...tile }: PlayerTileProps): JSX.Element {
  const name = track?.id ?? tile.label;
  const { ref, element, said } = useElement<SightlinePlayer>(name, 'in');
  const state: State = paused ? 'paused' : (said?.state ?? 'connecting');
  const shown = useRef(false); // a frame that may still be there
  if (state === 'live') shown.current = true;
  if (state === 'waiting' || state === 'ended' || state === 'refused') shown.current = false;
  useTick(state === 'live' ? 0 : 500); // its age
  const stats = useStore(readings, (all) => all.get(name));
  useEffect(() => onElement?.(element), [element]);
  return (
    <Tile
      {...tile}
      state={state}
      {...(paused || !said ? {} : { words: said.words })}
      detail={paused ?? said?.detail ?? ''}
      age={paused ? 0 : (element?.age ?? 0)}
      hasPicture={shown.current && !paused}
      publisher={track && { state: track.state, loss: track.loss, rttMs: track.rttMs }}
      own={stats && { loss: Math.max(stats.video?.loss ?? 0, stats.audio?.loss ?? 0), rttMs: stats.rttMs }}
    >
      <sightline-player ref={ref} src={src} token={token || undefined} muted={muted} sink={sink} />
    </Tile>
  );
}

export interface PublisherTileProps extends Passed {
  src: string; // the WHIP endpoint, with its role
  token?: string | undefined;
  source?: 'camera' | 'screen' | 'microphone';
  device?: string | undefined; // id
  maxBitrate?: number | undefined;
  frameRate?: number | undefined;
  quality?: string | undefined;
  paused?: boolean;
  onElement?: (element: SightlinePublisher | undefined) => void; // for start (of a screen), stop, replace
}

// A PublisherTile publishes a device at a WHIP endpoint, and shows what it sends.
export function PublisherTile({ src, token, source = 'camera', device, maxBitrate, frameRate, quality, paused = false, onElement, ...tile }: PublisherTileProps): JSX.Element {
  const name = tile.label;
  const { ref, element, said } = useElement<SightlinePublisher>(name, 'out');
  const stats = useStore(readings, (all) => all.get(name));
  const state: State = said?.state ?? 'starting';
  useEffect(() => onElement?.(element), [element]);
  return (
    <Tile
      {...tile}
      state={state}
      {...(said ? { words: said.words } : {})}
      detail={said?.detail ?? ''}
      hasPicture={state === 'live'}
      own={stats && { loss: Math.max(stats.video?.loss ?? 0, stats.audio?.loss ?? 0), rttMs: stats.rttMs }}
    >
      <sightline-publisher
        ref={ref}
        src={src}
        token={token || undefined}
        source={source}
        device={device || undefined}
        label={tile.label}
        max-bitrate={maxBitrate}
        frame-rate={frameRate}
        quality={quality}
        paused={paused}
      />
    </Tile>
  );
}
