// Where the pictures of a meeting are: the stage as large as can be, the others beside or
// below it. All lengths are in pixels.

export interface Rect {
  left: number;
  top: number;
  width: number;
  height: number;
}

export interface Space {
  width: number;
  height: number; // to be filled; what does not fit goes on below
  rem: number;
}

export interface Arrangement {
  stage: Rect[];
  rest: Rect[];
  height: number; // that all together need
}

const RATIO = 9 / 16;
const BAR = 3.5; // rem, below each picture
const GAP = 0.75;
const LEAST = 9.5; // width of one of the others
const MOST = 17;
const STAGE = 20; // least width on the stage

export function arrange(space: Space, stage: number, rest: number): Arrangement {
  if (!stage) return { stage: [], ...flow(space, rest) };
  if (!rest) {
    const { rest: all, height } = flow(space, stage);
    return { stage: all, rest: [], height };
  }
  const options = [1, 2, 3].flatMap((n) => [beside(space, stage, rest, n), below(space, stage, rest, n)]).filter((o) => o && o.stage[0]!.width > o.rest[0]!.width) as Arrangement[];
  // Faces want to be seen, too. What is equal goes to the first: beside, in one column.
  const worth = (o: Arrangement) => stage * o.stage[0]!.width + o.rest[0]!.width / 2;
  return options.reduce<Arrangement | undefined>((a, b) => (a && worth(a) >= worth(b) ? a : b), undefined) ?? stacked(space, stage, rest);
}

type Box = Rect & { rem: number };

// fit puts n equal tiles into a box, as large as they can be.
function fit({ left, top, width, height, rem }: Box, n: number): Rect[] {
  const [gap, bar] = [GAP * rem, BAR * rem];
  let best = { w: 0, columns: 1 };
  for (let columns = 1; columns <= n; columns++) {
    const rows = Math.ceil(n / columns);
    const w = Math.min((width - gap * (columns - 1)) / columns, ((height - gap * (rows - 1)) / rows - bar) / RATIO);
    if (w > best.w) best = { w, columns };
  }
  return grid({ left, top, width, height }, n, best.columns, best.w, gap, bar);
}

// grid centres rows of tiles of width w; the last row may be shorter.
function grid(box: Rect, n: number, columns: number, w: number, gap: number, bar: number): Rect[] {
  const h = w * RATIO + bar;
  const rows = Math.ceil(n / columns);
  const top = box.top + Math.max(0, (box.height - rows * h - (rows - 1) * gap) / 2);
  return Array.from({ length: n }, (_, i) => {
    const row = Math.floor(i / columns);
    const inRow = Math.min(columns, n - row * columns);
    const left = box.left + (box.width - inRow * w - (inRow - 1) * gap) / 2;
    return { left: left + (i % columns) * (w + gap), top: top + row * (h + gap), width: w, height: h };
  });
}

function beside({ width, height, rem }: Space, stage: number, rest: number, columns: number): Arrangement | undefined {
  const [gap, bar] = [GAP * rem, BAR * rem];
  const rows = Math.ceil(rest / columns);
  const w = Math.min(MOST * rem, width / 4, ((height - gap * (rows - 1)) / rows - bar) / RATIO);
  if (w < LEAST * rem || rest < columns) return undefined;
  const strip = columns * w + (columns - 1) * gap;
  const all = fit({ left: 0, top: 0, width: width - strip - gap, height, rem }, stage);
  return { stage: all, rest: grid({ left: width - strip, top: 0, width: strip, height }, rest, columns, w, gap, bar), height };
}

function below({ width, height, rem }: Space, stage: number, rest: number, rows: number): Arrangement | undefined {
  const [gap, bar] = [GAP * rem, BAR * rem];
  const columns = Math.ceil(rest / rows);
  const w = Math.min(MOST * rem, (width - gap * (columns - 1)) / columns, ((height * 0.4 - gap * (rows - 1)) / rows - bar) / RATIO);
  if (w < LEAST * rem || rest < rows) return undefined;
  const strip = rows * (w * RATIO + bar) + (rows - 1) * gap;
  const all = fit({ left: 0, top: 0, width, height: height - strip - gap, rem }, stage);
  return { stage: all, rest: grid({ left: 0, top: height - strip, width, height: strip }, rest, columns, w, gap, bar), height };
}

// stacked is for windows that are too small for all: the stage comes first, each on it as
// wide as the window if he can be seen whole then, and the others go on below.
function stacked({ width, height, rem }: Space, stage: number, rest: number): Arrangement {
  const [gap, bar] = [GAP * rem, BAR * rem];
  const w = Math.min(width, Math.max((height - bar) / RATIO, STAGE * rem));
  const all = grid({ left: 0, top: 0, width, height: 0 }, stage, 1, w, gap, bar);
  const top = bottom(all) + gap;
  const others = flow({ width, height: 0, rem }, rest, top).rest;
  return { stage: all, rest: others, height: bottom(others) };
}

// flow fills the space if it can, and else goes on below it.
function flow({ width, height, rem }: Space, n: number, top = 0): { rest: Rect[]; height: number } {
  const [gap, bar] = [GAP * rem, BAR * rem];
  let all = height ? fit({ left: 0, top, width, height, rem }, n) : [];
  if (!all[0] || all[0].width < Math.min(width, LEAST * rem)) {
    const columns = Math.max(1, Math.min(n, Math.floor((width + gap) / (LEAST * rem + gap))));
    const w = Math.min(MOST * rem, (width - gap * (columns - 1)) / columns);
    all = grid({ left: 0, top, width, height: 0 }, n, columns, w, gap, bar);
  }
  return { rest: all, height: bottom(all) };
}

function bottom(all: readonly Rect[]): number {
  return Math.max(0, ...all.map((r) => r.top + r.height));
}
