// The station at /{room}/hospital.
import type { JSX } from 'preact';

import { Station } from './station.tsx';

export function Hospital(): JSX.Element {
  return <Station role="hospital">{() => null}</Station>;
}
