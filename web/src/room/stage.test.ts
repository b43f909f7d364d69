import assert from 'node:assert/strict';
import { test } from 'node:test';

import { hands, SETTLED, Stage } from './stage.ts';

// people are named by letters; those who speak are written large.
const people = (text: string) => [...text].map((c) => ({ key: c.toLowerCase(), speaking: c !== c.toLowerCase() }));

function play(stage: Stage, size: number) {
  let now = 0;
  return (text: string, ms = SETTLED) => {
    stage.take(people(text), size, now);
    now += ms;
    return stage.take(people(text), size, now).places.join('');
  };
}

test('free places are for those who entered first', () => {
  const at = play(new Stage(), 2);
  assert.equal(at('a'), 'a');
  assert.equal(at('abc'), 'ab');
});

test('a new speaker replaces the longest silent one, in his place', () => {
  const at = play(new Stage(), 2);
  assert.equal(at('abcd'), 'ab');
  assert.equal(at('aBcd'), 'ab');
  assert.equal(at('Abcd'), 'ab');
  assert.equal(at('abCd'), 'ac', 'b was silent for longer than a');
  assert.equal(at('abcD'), 'dc');
});

test('who is on the stage keeps his place while others come, speak and are silent', () => {
  const at = play(new Stage(), 3);
  assert.equal(at('abc'), 'abc');
  for (const text of ['aBc', 'Abc', 'abC', 'abcd', 'xabcd', 'abc']) assert.equal(at(text), 'abc', text);
});

test('nobody who speaks is replaced', () => {
  const at = play(new Stage(), 2);
  assert.equal(at('ABc'), 'ab');
  assert.equal(at('ABC'), 'ab');
  assert.equal(at('aBC'), 'cb');
});

test('a short noise does not bring anybody onto the stage', () => {
  const stage = new Stage();
  stage.take(people('ab'), 1, 0);
  const { places, again } = stage.take(people('aB'), 1, 100);
  assert.deepEqual([places, again], [['a'], SETTLED]);
  assert.deepEqual(stage.take(people('ab'), 1, 300).places, ['a']);
  assert.deepEqual(stage.take(people('aB'), 1, 400).places, ['a']);
  assert.deepEqual(stage.take(people('aB'), 1, 400 + SETTLED).places, ['b']);
});

test('the place of one who leaves is for who spoke last', () => {
  const at = play(new Stage(), 2);
  assert.equal(at('abcd'), 'ab');
  assert.equal(at('ABcD'), 'ab', 'd had no place');
  assert.equal(at('acd'), 'ad');
});

test('a smaller stage keeps those who spoke last', () => {
  const stage = new Stage();
  stage.take(people('abc'), 3, 0);
  stage.take(people('aBc'), 3, 1_000);
  assert.deepEqual(stage.take(people('abc'), 1, 2_000).places, ['b']);
  assert.deepEqual(stage.take(people('abc'), 2, 3_000).places, ['b', 'a']);
});

test('hands are in the order of being raised, whoever is told of them first', () => {
  const at = (id: string, handSince: string | null) => ({ id, hand: handSince !== null, handSince });
  const people = [at('a', '2026-11-26T12:00:05.120Z'), at('b', null), at('c', '2026-11-26T12:00:05.1Z')];
  assert.deepEqual(hands(people), ['c', 'a']);
  assert.deepEqual(hands(people.slice(0, 2)), ['a']);
});
