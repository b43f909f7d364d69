import assert from 'node:assert/strict';
import { test } from 'node:test';

import { arrange, type Rect } from './layout.ts';

const windows = { laptop: [1256, 600, 16], wall: [1896, 900, 16], phone: [336, 560, 16], zoomed: [616, 250, 16], sideways: [700, 220, 16], tiny: [160, 200, 16] } as const;

test('no tile lies on another or beside the window, and the stage is larger than the rest', () => {
  for (const [name, [width, height, rem]] of Object.entries(windows)) {
    for (let stage = 0; stage <= 4; stage++) {
      for (let rest = 0; rest <= 20; rest++) {
        if (!stage && !rest) continue;
        const a = arrange({ width, height, rem }, stage, rest);
        const what = `${name}: ${stage} on the stage, ${rest} others`;
        assert.equal(a.stage.length, stage, what);
        assert.equal(a.rest.length, rest, what);
        const all = [...a.stage, ...a.rest];
        for (const [i, r] of all.entries()) {
          assert.ok(r.width >= Math.min(width, 9.4 * rem) && r.left >= -0.1 && r.left + r.width <= width + 0.1, `${what}: ${i} is ${JSON.stringify(r)}`);
          assert.ok(r.top >= -0.1 && r.top + r.height <= a.height + 0.1, `${what}: ${i} is ${JSON.stringify(r)} of ${a.height}`);
          for (const o of all.slice(0, i)) assert.ok(apart(r, o), `${what}: ${JSON.stringify(r)} is on ${JSON.stringify(o)}`);
        }
        const [s, o] = [a.stage[0], a.rest[0]];
        if (stage === 1 && s && o) assert.ok(s.width >= o.width - 0.1, `${what}: ${s.width} is smaller than ${o.width}`);
      }
    }
  }
});

test('a laptop shows six people without scrolling', () => {
  assert.ok(arrange({ width: 1256, height: 600, rem: 16 }, 2, 4).height <= 600);
  assert.ok(arrange({ width: 1256, height: 600, rem: 16 }, 1, 6).height <= 600);
});

function apart(a: Rect, b: Rect): boolean {
  const e = 0.01;
  return a.left + a.width <= b.left + e || b.left + b.width <= a.left + e || a.top + a.height <= b.top + e || b.top + b.height <= a.top + e;
}
