import assert from 'node:assert/strict';
import { test } from 'node:test';

import { WHOLE, by, pan, transform } from './zoom.ts';

test('what is below the pointer stays there', () => {
  const z = by(WHOLE, 2, 0.25, 0.75);
  assert.deepEqual(z, { scale: 2, x: -0.25, y: -0.75 });
  const point = (0.25 - z.x) / z.scale;
  assert.equal(point, 0.25);
});

test('the picture never leaves the frame', () => {
  assert.deepEqual(pan(by(WHOLE, 2), 5, -5), { scale: 2, x: 0, y: -1 });
  assert.deepEqual(pan(WHOLE, 0.3, 0.3), WHOLE);
});

test('it is never smaller than the frame, nor larger than ten times', () => {
  assert.deepEqual(by(by(WHOLE, 3, 0.9, 0.9), 0.1), WHOLE);
  assert.equal(by(WHOLE, 100).scale, 10);
});

test('a whole picture is not transformed at all', () => {
  assert.equal(transform(WHOLE), 'none');
  assert.equal(transform({ scale: 2, x: -0.5, y: 0 }), 'translate(-50.000%, 0.000%) scale(2.0000)');
});
