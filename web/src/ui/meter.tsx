import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';

import { loudness } from '../media/level.ts';

const PERIOD = 80; // ms

export interface MeterProps {
  label: string; // whose level
  level: (() => number) | undefined; // root mean square, 0 to 1; undefined: nothing to measure
  small?: boolean;
}

// A Meter shows how loud it is, without rendering anything anew.
export function Meter({ label, level, small }: MeterProps): JSX.Element {
  const ref = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = ref.current;
    if (!element) return undefined;
    let shown = 0;
    let told = 0;
    const show = () => {
      if (document.hidden) return;
      const now = level ? loudness(level()) : 0;
      shown = Math.max(now, shown * 0.8); // falls slowly, so that eyes can follow
      element.style.setProperty('--level', shown.toFixed(3));
      if (Date.now() - told < 1_000) return;
      told = Date.now();
      element.setAttribute('aria-valuenow', String(Math.round(shown * 100)));
    };
    show();
    if (!level) return undefined;
    const timer = setInterval(show, PERIOD);
    return () => clearInterval(timer);
  }, [level]);
  return <div ref={ref} class={`meter${small ? ' small' : ''}${level ? '' : ' none'}`} role="meter" aria-label={label} aria-valuemin={0} aria-valuemax={100} aria-valuenow={0} />;
}
