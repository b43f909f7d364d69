import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Participant, Self } from '../client/rooms.ts';
import { Call } from './call.ts';

const person = (id: string, call = '', role = 'hospital') => ({ id, call, role, name: `Dr. ${id}` }) as Participant;
const berg = person('berg', '', 'technician');

function begin(): { call: Call; told: Partial<Self>[]; tell: (what: Partial<Self>) => void } {
  const told: Partial<Self>[] = [];
  const tell = (what: Partial<Self>) => void told.push(what);
  const call = new Call();
  call.start(tell, 1_000);
  return { call, told, tell };
}

test('a call that ends early was answered, by the only technician', () => {
  const { call, told, tell } = begin();
  call.take(person('me'), [berg], tell, 1_100); // the gateway does not know yet
  assert.equal(call.store.value.state, 'calling');
  call.take(person('me', 'technician'), [berg], tell, 1_300);
  call.take(person('me'), [person('me'), berg], tell, 9_000);
  assert.deepEqual(call.store.value, { state: 'answered', since: 1_000, by: 'Dr. berg' });
  assert.deepEqual(told, [{ call: 'technician' }, { call: '' }]);
});

test('of two technicians it is not known who answered', () => {
  const { call, tell } = begin();
  call.take(person('me', 'technician'), [], tell, 1_300);
  call.take(person('me'), [berg, person('lind', '', 'technician')], tell, 9_000);
  assert.deepEqual([call.store.value.state, call.store.value.by], ['answered', '']);
});

test('a call that ends by itself was not answered', () => {
  const { call, tell } = begin();
  call.take(person('me', 'technician'), [berg], tell, 1_300);
  call.take(person('me'), [berg], tell, 61_200);
  assert.equal(call.store.value.state, 'unanswered');
});

test('a call goes on over a restart of the gateway, but not for ever', () => {
  const { call, tell } = begin();
  call.take(person('me', 'technician'), [berg], tell, 1_300);
  call.take(undefined, [], tell, 5_000);
  call.take(person('again'), [berg], tell, 6_000);
  assert.equal(call.store.value.state, 'calling');
  call.take(person('again'), [berg], tell, 64_000);
  assert.equal(call.store.value.state, 'unanswered');
  const other = begin();
  other.call.take(person('me', 'technician'), [berg], other.tell, 64_000); // a gateway with more patience
  assert.deepEqual([other.call.store.value.state, other.told.at(-1)], ['unanswered', { call: '' }]);
});

test('a call can be called off', () => {
  const { call, told, tell } = begin();
  call.end(tell);
  call.take(person('me'), [berg], tell, 2_000);
  assert.equal(call.store.value.state, 'none');
  assert.deepEqual(told, [{ call: 'technician' }, { call: '' }]);
});

test('a clock that is put right says nothing of a call', (t) => {
  let at = 5_000;
  t.mock.method(performance, 'now', () => at);
  const call = new Call();
  call.start(() => {});
  call.take(person('me', 'technician'), [berg], () => {});
  t.mock.method(Date, 'now', () => 1_000); // far back
  at += 60_200;
  call.take(person('me'), [berg], () => {});
  assert.equal(call.store.value.state, 'unanswered');
});
