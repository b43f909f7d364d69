// Our web components as Preact knows them.
import type { ComponentType, Ref } from 'preact';

import '../elements/sightline.ts';
import type { SightlinePlayer } from '../elements/player.ts';
import type { SightlinePublisher } from '../elements/publisher.ts';

export type StateEvent = CustomEvent<{ state: string; words: string; detail: string }>;

interface Common {
  src: string;
  token?: string | undefined;
  class?: string;
  hidden?: boolean;
  onstatechange?(e: StateEvent): void;
}

export interface PlayerProps extends Common {
  ref?: Ref<SightlinePlayer>;
  kind?: 'audio' | 'video';
  muted?: boolean;
  sink?: string;
}

export interface PublisherProps extends Common {
  ref?: Ref<SightlinePublisher>;
  source: 'camera' | 'screen' | 'microphone';
  device?: string;
  label?: string;
  'max-bitrate'?: number | undefined;
  'frame-rate'?: number | undefined;
  quality?: string | undefined;
  paused?: boolean;
  ondevicelost?(e: CustomEvent<{ device?: string; label?: string; instead?: string; error?: unknown }>): void;
}

export const Player = 'sightline-player' as unknown as ComponentType<PlayerProps>;
export const Publisher = 'sightline-publisher' as unknown as ComponentType<PublisherProps>;
export type { SightlinePlayer, SightlinePublisher };
