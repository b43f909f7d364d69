import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Clock, settle } from '../testing/clock.ts';
import { Backoff, Pause, delay } from './retry.ts';

const clock = Clock.install();

test('the wait grows with each failure, and starts over after a success', () => {
  const backoff = new Backoff([300, 600]);
  assert.deepEqual([backoff.next(), backoff.next(), backoff.next()], [300, 600, 600]);
  backoff.reset();
  assert.equal(backoff.next(), 300);
});

test('what the server asks for counts, up to a minute', () => {
  const backoff = new Backoff([300, 600]);
  assert.equal(backoff.next(2_000), 2_000);
  assert.equal(backoff.next(3_600_000), 60_000);
  assert.equal(backoff.next(), 300);
});

test('a server that asks for no wait is not asked without a pause', () => {
  const backoff = new Backoff([300, 600]);
  assert.deepEqual([backoff.next(0), backoff.next(0), backoff.next(0)], [300, 600, 600]);
});

test('clients do not come back in step', () => {
  const random = Math.random;
  Math.random = () => 0.8;
  assert.equal(new Backoff([1_000]).next(), 1_200);
  Math.random = random;
});

test('Retry-After is seconds or a date', () => {
  assert.equal(delay('2'), 2_000);
  assert.equal(delay(new Date(clock.now + 5_000).toUTCString()), 5_000);
  assert.equal(delay(new Date(clock.now - 5_000).toUTCString()), 0);
  assert.equal(delay('soon'), undefined);
  assert.equal(delay(null), undefined);
});

test('a pause ends by itself, when it is woken, and when nobody waits any more', async () => {
  const pause = new Pause();
  let ended = 0;
  void pause.of(1_000).then(() => ended++);
  await clock.advance(1_000);
  assert.equal(ended, 1);
  void pause.of(1_000).then(() => ended++);
  pause.wake();
  await settle();
  assert.equal(ended, 2);
  const abort = new AbortController();
  void pause.of(1_000, abort.signal).then(() => ended++);
  abort.abort();
  await settle();
  assert.equal(ended, 3);
  assert.equal(clock.pending, 0);
});
