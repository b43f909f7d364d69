// Our own icons: 24 units square, drawn by strokes in the colour of the text around them.
import type { JSX } from 'preact';

const paths = {
  microphone: 'M12 3a3 3 0 0 0-3 3v5a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3zM5.5 11a6.5 6.5 0 0 0 13 0M12 17.5V21M8.5 21h7',
  'microphone-off': 'M9 9v2a3 3 0 0 0 4.8 2.4M15 10V6a3 3 0 0 0-5.7-1.3M5.5 11a6.5 6.5 0 0 0 10.3 5.3M18.5 11a6.5 6.5 0 0 1-.6 2.7M12 17.5V21M8.5 21h7M3.5 3.5l17 17',
  camera: 'M3 7.5A1.5 1.5 0 0 1 4.5 6h9A1.5 1.5 0 0 1 15 7.5v9a1.5 1.5 0 0 1-1.5 1.5h-9A1.5 1.5 0 0 1 3 16.5zM15 10.5l6-3v9l-6-3',
  'camera-off': 'M9.5 6h4A1.5 1.5 0 0 1 15 7.5v4M15 15.5v1a1.5 1.5 0 0 1-1.5 1.5h-9A1.5 1.5 0 0 1 3 16.5v-9A1.5 1.5 0 0 1 4.5 6H6M15 11l6-3.5v9l-3-1.5M3.5 3.5l17 17',
  screen: 'M3 5h18v11H3zM8 20h8M12 16v4M9.5 10.5 12 8l2.5 2.5M12 8v5.5',
  speaker: 'M4 9v6h4l5 4V5L8 9zM16 8.5a5 5 0 0 1 0 7M18.5 6a8.5 8.5 0 0 1 0 12',
  'speaker-off': 'M4 9v6h4l5 4V5L8 9zM16.5 9.5l5 5M21.5 9.5l-5 5',
  privacy: 'M4 4l16 16M9.9 5.8A9.8 9.8 0 0 1 12 5.5c5.5 0 9 6.5 9 6.5a15.6 15.6 0 0 1-2.6 3.4M6.3 7.6C4.2 9.2 3 12 3 12s3.5 6.5 9 6.5a9 9 0 0 0 4-.9M9.9 9.9a3 3 0 0 0 4.2 4.2',
  eye: 'M3 12s3.5-6.5 9-6.5 9 6.5 9 6.5-3.5 6.5-9 6.5S3 12 3 12zM12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6z',
  call: 'M6.5 3.5h3l1.5 4.5-2 1.5a11 11 0 0 0 5.5 5.5l1.5-2 4.5 1.5v3a2 2 0 0 1-2.2 2A16 16 0 0 1 4.5 5.7a2 2 0 0 1 2-2.2z',
  hand: 'M8 12V5.5a1.5 1.5 0 0 1 3 0V11M11 11V4a1.5 1.5 0 0 1 3 0v7M14 11V5.5a1.5 1.5 0 0 1 3 0V14M8 12.5l-1.7-2a1.5 1.5 0 0 0-2.4 1.9l3.6 5.6A6 6 0 0 0 12.5 21 4.5 4.5 0 0 0 17 16.5V8.5a1.5 1.5 0 0 1 3 0V15',
  people: 'M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM2.5 20a6.5 6.5 0 0 1 13 0M16 4.3a3.5 3.5 0 0 1 0 6.4M18 14a6.5 6.5 0 0 1 3.5 6',
  settings: 'M4 7h9M17 7h3M4 17h3M11 17h9M15 4.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5zM9 14.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5z',
  help: 'M9 9a3 3 0 1 1 4.5 2.6c-1 .6-1.5 1.2-1.5 2.4M12 17.5v.1M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z',
  leave: 'M10 4H5.5A1.5 1.5 0 0 0 4 5.5v13A1.5 1.5 0 0 0 5.5 20H10M9 12h11M16 8l4 4-4 4',
  close: 'M5 5l14 14M19 5L5 19',
  more: 'M5 12h.01M12 12h.01M19 12h.01',
  copy: 'M9 9h11v11H9zM5 15H4V4h11v1',
  check: 'M4.5 12.5l5 5 10-11',
  full: 'M9 4H4v5M15 4h5v5M20 15v5h-5M9 20H4v-5',
  enlarge: 'M10 4a6 6 0 1 0 0 12 6 6 0 0 0 0-12zM14.5 14.5L20 20M10 7.5v5M7.5 10h5',
  still: 'M4 7.5h4l1.5-2.5h5L16 7.5h4v11.5H4zM12 10a3.2 3.2 0 1 0 0 6.4A3.2 3.2 0 0 0 12 10z',
  plus: 'M12 5v14M5 12h14',
  minus: 'M5 12h14',
  remove: 'M5 7h14M10 7V4.5h4V7M7 7l.8 12.5h8.4L17 7M10.5 11v5M13.5 11v5',
  info: 'M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 11v5.5M12 7.5v.1',
  warn: 'M12 4 2.5 20h19zM12 10v4.5M12 17.2v.1',
  alarm: 'M8 3h8l5 5v8l-5 5H8l-5-5V8zM12 7.5v5.5M12 16.2v.1',
  link: 'M10 14a4 4 0 0 0 6 .4l3-3a4 4 0 0 0-5.7-5.7L12 7M14 10a4 4 0 0 0-6-.4l-3 3a4 4 0 0 0 5.7 5.7L12 17',
  back: 'M20 12H5M11 6l-6 6 6 6',
  next: 'M9 5l7 7-7 7',
  download: 'M12 4v11M7.5 11l4.5 4.5 4.5-4.5M4 20h16',
  pin: 'M9 3.5h6l-.8 6 3.3 3.5h-11L9.8 9.5zM12 13v7.5',
  debug: 'M3 12h4l2.5-7 5 14L17 12h4',
  pause: 'M8 5v14M16 5v14',
  play: 'M7 4.5v15l12-7.5z',
} as const;

export type IconName = keyof typeof paths;

export function Icon({ name }: { name: IconName }): JSX.Element {
  return (
    <svg class={`icon icon-${name}`} viewBox="0 0 24 24" aria-hidden="true">
      <path d={paths[name]} />
    </svg>
  );
}

// Bars are how good a connection is: 0 (lost) to 3.
export function Bars({ n }: { n: number }): JSX.Element {
  return (
    <svg class="icon bars" viewBox="0 0 24 24" aria-hidden="true">
      {[0, 1, 2].map((i) => (
        <rect key={i} class={i < n ? 'full' : 'empty'} x={3 + i * 6.5} y={14 - i * 4.5} width="4.5" height={6 + i * 4.5} rx="1" />
      ))}
      {n === 0 && <path d="M4 4l7 7M11 4l-7 7" />}
    </svg>
  );
}
