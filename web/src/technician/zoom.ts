// Zooming and panning inside a picture. x and y are where the picture's top left corner
// lies, as fractions of the frame's size; the picture never leaves the frame.

export interface Zoom {
  scale: number;
  x: number;
  y: number;
}

export const WHOLE: Zoom = { scale: 1, x: 0, y: 0 };
export const STEP = 1.5; // of a key or a button
const MOST = 10;

const clamp = (n: number, low: number, high: number) => Math.min(high, Math.max(low, n));

function within({ scale, x, y }: Zoom): Zoom {
  if (scale <= 1.001) return WHOLE;
  return { scale, x: clamp(x, 1 - scale, 0), y: clamp(y, 1 - scale, 0) };
}

// by zooms such that the point at (px, py), fractions of the frame, stays where it is.
export function by(z: Zoom, factor: number, px = 0.5, py = 0.5): Zoom {
  const scale = clamp(z.scale * factor, 1, MOST);
  const f = scale / z.scale;
  return within({ scale, x: px - (px - z.x) * f, y: py - (py - z.y) * f });
}

// pan moves the picture by fractions of the frame.
export function pan(z: Zoom, dx: number, dy: number): Zoom {
  return within({ scale: z.scale, x: z.x + dx, y: z.y + dy });
}

export function transform({ scale, x, y }: Zoom): string {
  return scale === 1 ? 'none' : `translate(${(x * 100).toFixed(3)}%, ${(y * 100).toFixed(3)}%) scale(${scale.toFixed(4)})`;
}
