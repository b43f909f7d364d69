import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Gateway, type Room } from '../client/rooms.ts';
import { Clock, settle } from '../testing/clock.ts';
import { FakeGateway, unreachable } from '../testing/gateway.ts';
import { Feed } from './room.ts';

const clock = Clock.install();

test('a stream that goes on where it broke off, and has nothing to tell, is no longer lost', async () => {
  let stream!: ReadableStreamDefaultController<Uint8Array>;
  const write = async (text: string) => {
    stream.enqueue(new TextEncoder().encode(`${text}\n\n`));
    await settle();
  };
  const event = (e: object) => write(`id: 1\ndata: ${JSON.stringify({ time: '', room: 'mri-2', ...e })}`);
  const answer = () => {
    const body = new ReadableStream<Uint8Array>({ start: (c) => void (stream = c) });
    void write('retry: 2000');
    return new Response(body, { headers: { 'Content-Type': 'text/event-stream' } });
  };
  const gateway = FakeGateway.install(answer);
  const feed = new Feed(new Gateway('https://gateway.example/'), { room: 'mri-2' });
  const states: string[] = [];
  feed.store.subscribe(() => states.at(-1) === feed.store.value.state || states.push(feed.store.value.state));
  feed.start();
  await settle();
  assert.deepEqual(states, [], 'before the snapshot nothing is known');
  const room = { name: 'mri-2', publishers: [{ name: 'hospital' }], participants: [{ id: '1', name: 'Anna', publishers: ['hospital'] }] } as unknown as Room;
  const speaking = () => feed.store.value.rooms.flatMap((r) => [...r.publishers, ...(r.participants ?? [])]).map((one) => one.speaking);
  await event({ type: 'snapshot', rooms: [room] });
  await event({ type: 'speaking', speakers: ['hospital'] });
  assert.deepEqual(speaking(), [true, true]);
  gateway.answer = unreachable;
  stream.close();
  await clock.advance(2_000);
  assert.deepEqual(speaking(), [false, false], 'nobody knows who speaks now');
  gateway.answer = answer;
  await clock.advance(4_000);
  assert.equal(gateway.asked.at(-1)?.headers['Last-Event-ID'], '1');
  assert.deepEqual(states, ['open', 'lost', 'open']);
  assert.deepEqual(speaking(), [true, true]);

  // Much later it is lost again, and what was there stays for the moment that all need to come back.
  for (let i = 0; i < 4; i++) {
    await clock.advance(15_000);
    await write(': ping');
  }
  stream.close();
  await clock.advance(2_000);
  await event({ type: 'snapshot', rooms: [] });
  assert.deepEqual(feed.store.value.rooms.map((r) => r.name), ['mri-2']);
  await clock.advance(5_000);
  assert.deepEqual(feed.store.value.rooms, []);
  feed.stop();
});
