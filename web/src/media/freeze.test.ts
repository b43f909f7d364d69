import assert from 'node:assert/strict';
import { test } from 'node:test';

import { FREEZE, Freshness } from './freeze.ts';
import { Energy, loudness, rms } from './level.ts';
import { Readings } from './stats.ts';

test('a standstill is told within two seconds, and how old the picture is', () => {
  const fresh = new Freshness();
  assert.equal(fresh.shown(10_000), true);
  assert.equal(fresh.shown(10_033), false);
  assert.equal(fresh.still(10_033 + FREEZE), false);
  assert.equal(fresh.still(10_033 + FREEZE + 250), true, 'with one look more');
  assert.ok(FREEZE + 250 < 2_000);
  assert.equal(fresh.age(10_033 + 1_000), 0);
  assert.equal(fresh.age(10_033 + 61_000), 61_000);
});

test('before the first frame nothing is old', () => {
  assert.equal(new Freshness().age(1e9), 0);
});

test('a picture that has just come is not told to be without sound', () => {
  const fresh = new Freshness();
  fresh.live(100_000);
  assert.equal(fresh.soundGap(101_500), 0);
  assert.equal(fresh.soundGap(102_000), 3_500);
  fresh.heard(102_000);
  assert.equal(fresh.soundGap(102_100), 0);
});

test('the level is the root mean square since the last reading', () => {
  const energy = new Energy();
  energy.take(0.25, 1); // 0.5 for a second
  assert.equal(energy.level, 0.5);
  energy.take(0.25, 1); // not read anew by the browser
  assert.equal(energy.level, 0.5);
  energy.take(0.25, 2);
  assert.equal(energy.level, 0);
  assert.equal(rms(new Float32Array([0.5, -0.5])), 0.5);
  assert.equal(loudness(1), 1);
  assert.ok(Math.abs(loudness(0.001)) < 1e-9);
  assert.equal(loudness(0), 0);
});

const report = (...entries: Record<string, unknown>[]) => new Map(entries.map((e) => [e.id, e])) as unknown as RTCStatsReport;

test('readings of a player: rates are since the last reading', () => {
  const readings = new Readings({} as RTCPeerConnection);
  const at = (timestamp: number, bytesReceived: number, packetsReceived: number, packetsLost: number) =>
    report(
      { id: 'c', type: 'codec', mimeType: 'video/H264' },
      { id: 'l', type: 'local-candidate', candidateType: 'host', protocol: 'udp' },
      { id: 'p', type: 'candidate-pair', nominated: true, state: 'succeeded', localCandidateId: 'l', currentRoundTripTime: 0.012 },
      { id: 'v', type: 'inbound-rtp', kind: 'video', codecId: 'c', timestamp, bytesReceived, packetsReceived, packetsLost, jitter: 0.003, frameWidth: 1280, frameHeight: 720, framesPerSecond: 30 },
    );
  assert.equal(readings.take(at(1_000, 1_000, 10, 0), 'connected').video?.bitrate, 0);
  assert.deepEqual(readings.take(at(2_000, 126_000, 106, 4), 'connected'), {
    connection: 'connected', path: 'udp', rttMs: 12,
    video: { codec: 'H264', bitrate: 1_000_000, loss: 0.04, packetsLost: 4, jitterMs: 3, width: 1280, height: 720, fps: 30 },
  });
});

test('readings of a publisher: loss is what the gateway reports', () => {
  const readings = new Readings({} as RTCPeerConnection);
  const at = (timestamp: number, packetsSent: number, packetsLost: number) =>
    report(
      { id: 'r', type: 'remote-inbound-rtp', localId: 'v', packetsLost, jitter: 0 },
      { id: 'v', type: 'outbound-rtp', kind: 'video', timestamp, bytesSent: 0, packetsSent, qualityLimitationReason: 'cpu' },
    );
  readings.take(at(1_000, 100, 1), 'connected');
  const { video } = readings.take(at(2_000, 200, 6), 'connected');
  assert.equal(video?.loss, 0.05);
  assert.equal(video.limitation, 'cpu');
});
