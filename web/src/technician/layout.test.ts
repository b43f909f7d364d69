import assert from 'node:assert/strict';
import { test } from 'node:test';

import { arrange, type Place, type Size } from './layout.ts';

const REM = 16;
const desk: Size = { width: 1248, height: 600 };

function overlaps(a: Place, b: Place): boolean {
  return a.x < b.x + b.width - 0.01 && b.x < a.x + a.width - 0.01 && a.y < b.y + b.height - 0.01 && b.y < a.y + a.height - 0.01;
}

function whole(places: readonly Place[], wall: Size, height: number): void {
  for (const [i, p] of places.entries()) {
    assert.ok(p.x > -0.01 && p.x + p.width < wall.width + 0.01 && p.y > -0.01 && p.y + p.height < height + 0.01, `tile ${i} is outside: ${JSON.stringify(p)}`);
    for (const q of places.slice(i + 1)) assert.ok(!overlaps(p, q), `${JSON.stringify(p)} and ${JSON.stringify(q)} overlap`);
  }
}

test('up to nine tiles fit a desk’s window without scrolling', () => {
  for (const wall of [desk, { width: 1000, height: 560 }, { width: 1880, height: 880 }]) {
    for (let n = 1; n <= 9; n++) {
      const { places, height } = arrange(n, [], wall, REM);
      assert.equal(places.length, n);
      assert.ok(height <= wall.height + 0.01, `${n} tiles are ${height} high in ${wall.height}`);
      whole(places, wall, height);
    }
  }
});

test('tiles stand in their order, row by row', () => {
  const { places } = arrange(9, [], desk, REM);
  for (let i = 1; i < 9; i++) {
    const [p, q] = [places[i - 1]!, places[i]!];
    assert.ok(q.y > p.y || (q.y === p.y && q.x > p.x), `tile ${i} stands before tile ${i - 1}`);
  }
});

test('an enlarged picture is far larger, and all others are still in the window', () => {
  for (const [n, wall, rem] of [2, 3, 4, 5, 6, 7, 8, 9].flatMap((n) => [[n, desk, 16], [n, { width: 1264, height: 650 }, 16], [n, { width: 1264, height: 650 }, 17], [n, { width: 1904, height: 930 }, 16]] as const)) {
    for (const big of [[0], [n - 1], [0, 1]]) {
      const { places, height } = arrange(n, big, wall, rem);
      assert.ok(height <= wall.height + 0.01, `${n} tiles with ${big} are ${height} high in ${wall.height}`);
      whole(places, wall, height);
      if (big.length > 1) continue;
      const rest = places.filter((_, i) => !big.includes(i));
      assert.ok(places[big[0]!]!.width > 1.8 * Math.max(...rest.map((p) => p.width)), `${n} tiles with ${big}: ${JSON.stringify(places)}`);
    }
  }
});

test('a phone scrolls, with one picture in a row', () => {
  const phone: Size = { width: 340, height: 560 };
  const { places, height } = arrange(4, [], phone, REM);
  whole(places, phone, height);
  assert.ok(places.every((p) => p.width === phone.width && p.form === 'full'));
  assert.ok(height > phone.height);
  const big = arrange(4, [2], phone, REM);
  whole(big.places, phone, big.height);
  assert.equal(big.places[2]!.y, 0);
});

test('an index that is no tile enlarges nothing', () => {
  assert.deepEqual(arrange(3, [7], desk, REM), arrange(3, [], desk, REM));
});
