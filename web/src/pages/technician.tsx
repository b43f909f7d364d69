// The station at /{room}/technician.
import type { JSX } from 'preact';

import { Station } from './station.tsx';

export function Technician(): JSX.Element {
  return <Station role="technician">{() => null}</Station>;
}
