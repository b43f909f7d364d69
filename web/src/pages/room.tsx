// The station at /{room}/room.
import type { JSX } from 'preact';

import { Station } from './station.tsx';

export function Meeting(): JSX.Element {
  return <Station role="room">{() => null}</Station>;
}
