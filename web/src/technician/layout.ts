// Where each picture of the wall stands. All sizes are CSS pixels but those in rem, which
// grow with the reader's own setting.

export interface Size {
  width: number;
  height: number;
}

// A Place is one tile's. A tile has its words and buttons below the picture (full), or its
// buttons beside and one line of words below it (slim), which leaves more to a small picture.
export interface Place extends Size {
  x: number;
  y: number;
  form: 'full' | 'slim';
}

export interface Plan {
  places: Place[]; // one for each tile, in their order
  height: number; // of all of them; more than the wall's if it has to be scrolled
}

// In rem.
const GAP = 0.5;
const BAR = 3.85; // words and buttons below a picture
const LINE = 2.1; // one line of words
const SIDE = 3.4; // buttons beside
const SMALL = 11; // a picture narrower than this shows nothing: rather scroll
const PHONE = 30; // a wall narrower than this is held in a hand, where scrolling is easy
const STRIP = 9; // the same for those beside an enlarged one
const COMFORT = 17; // a tile's width where the wall is scrolled

const MORE = 9.5; // what an enlarged tile has below its picture besides, where it is as narrow as a phone

const TALL = 4 / 3; // the highest picture
const SHAPE = 16 / 9; // of most pictures; others have black beside them

// arrange places n tiles in a wall, those of big (indices) as large as can be and all others
// beside or below them. rem is in pixels.
export function arrange(n: number, big: readonly number[], wall: Size, rem: number): Plan {
  const large = big.filter((i) => i >= 0 && i < n);
  if (!large.length) return grid(n, wall, rem);
  const rest = [...Array(n).keys()].filter((i) => !large.includes(i));
  const gap = GAP * rem;
  const places: Place[] = [];
  let height = wall.height;
  const put = (which: readonly number[], plan: Plan, x: number, y: number) => which.forEach((i, k) => (places[i] = { ...plan.places[k]!, x: plan.places[k]!.x + x, y: plan.places[k]!.y + y }));

  const beside = strip(rest.length, wall, rem);
  if (rest.length && beside) {
    const width = wall.width - beside.width - gap;
    put(large, grid(large.length, { width, height: wall.height }, rem, true), 0, 0);
    put(rest, beside, width + gap, 0);
  } else {
    const one = Math.min(wall.width / SHAPE + below(wall, rem), Math.max(wall.height, 18 * rem));
    const natural = large.length * one + (large.length - 1) * gap;
    const above = rest.length ? Math.min(natural, Math.max(wall.height * 0.62, one)) : wall.height;
    const plan = grid(large.length, { width: wall.width, height: above }, rem, true);
    put(large, plan, 0, 0);
    const top = plan.height + gap;
    const others = grid(rest.length, { width: wall.width, height: wall.height - top }, rem);
    put(rest, others, 0, top);
    if (rest.length) height = Math.max(height, top + others.height);
    else height = plan.height;
  }
  return { places, height };
}

// below is how high all is that an enlarged tile has below its picture.
function below({ width }: Size, rem: number): number {
  return (BAR + (width < PHONE * rem ? MORE : 2)) * rem;
}

// grid places tiles in rows, such that the pictures are as wide as can be. fill takes the
// space even where the pictures get small.
function grid(n: number, wall: Size, rem: number, fill = false): Plan {
  if (!n) return { places: [], height: 0 };
  const gap = GAP * rem;
  let best = { picture: 0, cols: 1, rows: n };
  for (let cols = 1; cols <= n; cols++) {
    const rows = Math.ceil(n / cols);
    const cell = { width: (wall.width - gap * (cols - 1)) / cols, height: (wall.height - gap * (rows - 1)) / rows };
    const picture = shape(cell, rem).picture;
    if (picture > best.picture + 1) best = { picture, cols, rows };
  }
  let { cols, rows } = best;
  let height = (wall.height - gap * (rows - 1)) / rows;
  if (!fill && best.picture < (wall.width < PHONE * rem ? 1.4 : 1) * SMALL * rem) {
    cols = Math.max(1, Math.min(n, Math.floor((wall.width + gap) / (COMFORT * rem + gap))));
    rows = Math.ceil(n / cols);
    height = (wall.width - gap * (cols - 1)) / cols / SHAPE + BAR * rem;
  }
  const width = (wall.width - gap * (cols - 1)) / cols;
  height = Math.min(height, width / TALL + (fill ? below({ width, height }, rem) : BAR * rem));
  const form = fill ? 'full' : shape({ width, height }, rem).form;
  const places = Array.from({ length: n }, (_, i): Place => ({ x: (i % cols) * (width + gap), y: Math.floor(i / cols) * (height + gap), width, height, form }));
  return { places, height: rows * height + gap * (rows - 1) };
}

// strip places tiles in columns as high as the wall, if that leaves enough beside them.
function strip(n: number, wall: Size, rem: number): (Plan & { width: number }) | undefined {
  const gap = GAP * rem;
  for (let cols = 1; cols <= 3; cols++) {
    const rows = Math.ceil(n / cols);
    const height = (wall.height - gap * (rows - 1)) / rows;
    const form = (height - BAR * rem) * SHAPE >= STRIP * 1.3 * rem ? 'full' : 'slim';
    const side = form === 'slim' ? SIDE * rem : 0;
    const most = (wall.width * 0.42 - (cols - 1) * gap) / cols - side;
    const picture = Math.min((height - (form === 'full' ? BAR : LINE) * rem) * SHAPE, 18 * rem, wall.width * 0.22, most);
    if (picture < STRIP * rem) continue;
    const width = picture + side;
    const all = cols * width + (cols - 1) * gap;
    const high = Math.min(height, picture / SHAPE + (form === 'full' ? BAR : LINE) * rem);
    return {
      width: all,
      height: wall.height,
      places: Array.from({ length: n }, (_, i) => ({ x: (i % cols) * (width + gap), y: Math.floor(i / cols) * (high + gap), width, height: high, form })),
    };
  }
  return undefined;
}

// shape tells in which form a tile shows more, and how wide its picture is then.
function shape({ width, height }: Size, rem: number): { form: Place['form']; picture: number } {
  const full = Math.min(width, (height - BAR * rem) * SHAPE);
  const slim = Math.min(width - SIDE * rem, (height - LINE * rem) * SHAPE);
  return slim > full * 1.08 ? { form: 'slim', picture: slim } : { form: 'full', picture: full };
}
