// datachannel.mjs NODE_MODULES publish URL VIDEO AUDIO
// datachannel.mjs NODE_MODULES play URL
// A WHIP and WHEP client on libdatachannel, with the chain of handlers that OBS's own WHIP output has. VIDEO is H.264 in
// Annex B with access unit delimiters, 30 pictures/s; AUDIO is Opus, nothing but packets of 160 bytes and 20 ms. Both
// are repeated. It ends with SIGINT or when the connection does, and prints what happened as JSON.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const [modules, mode, url, ...media] = process.argv.slice(2);
const rtc = createRequire(path.join(modules, 'x.js'))('node-datachannel');
const audioPT = 111, videoPT = 96, audioSSRC = 1 + Math.floor(Math.random() * 2 ** 31), videoSSRC = audioSSRC + 1;

function split(file, isStart) {
  const starts = [];
  for (let i = 0; i < file.length; i++) if (isStart(i)) starts.push(i);
  return starts.map((from, n) => file.subarray(from, starts[n + 1]));
}

const result = { states: [], video: 0, audio: 0 };
const pc = new rtc.PeerConnection('e2e', { iceServers: [], disableAutoNegotiation: true, forceMediaTransport: true });
const ended = new Promise((end) => {
  process.on('SIGINT', () => end('SIGINT'));
  pc.onStateChange((state) => {
    result.states.push(state);
    if (['disconnected', 'failed', 'closed'].includes(state)) end(state);
  });
});
const offered = new Promise((done) => pc.onLocalDescription(done));

const direction = mode === 'publish' ? 'SendOnly' : 'RecvOnly';
const audio = new rtc.Audio('0', direction), video = new rtc.Video('1', direction);
audio.addOpusCodec(audioPT);
video.addH264Codec(videoPT);
const tracks = {};
if (mode === 'publish') {
  audio.addSSRC(audioSSRC, 'e2e', 'e2e', 'audio');
  video.addSSRC(videoSSRC, 'e2e', 'e2e', 'video');
  const [videoFile, audioFile] = media.map((f) => fs.readFileSync(f));
  const delimiter = Buffer.from([0, 0, 0, 1, 9]);
  const send = (kind, description, config, packetizer, units, perSecond) => {
    const track = pc.addTrack(description);
    packetizer.addToChain(new rtc.RtcpSrReporter(config));
    packetizer.addToChain(new rtc.RtcpNackResponder());
    track.setMediaHandler(packetizer);
    const begin = Date.now();
    let next = 0;
    setInterval(() => {
      for (; next < (Date.now() - begin) * perSecond / 1000; next++) {
        if (!track.isOpen()) continue;
        config.timestamp = (config.timestamp + config.clockRate / perSecond) >>> 0;
        track.sendMessageBinary(units[next % units.length]);
        result[kind]++;
      }
    }, 5);
    tracks[kind] = track;
  };
  const audioConfig = new rtc.RtpPacketizationConfig(audioSSRC, 'e2e', audioPT, 48000);
  const videoConfig = new rtc.RtpPacketizationConfig(videoSSRC, 'e2e', videoPT, 90000);
  send('audio', audio, audioConfig, new rtc.RtpPacketizer(audioConfig), split(audioFile, (i) => i % 160 === 0), 50);
  send('video', video, videoConfig, new rtc.H264RtpPacketizer('StartSequence', videoConfig, 1200),
    split(videoFile, (i) => videoFile[i] === 0 && videoFile.compare(delimiter, 0, 5, i, i + 5) === 0), 30);
} else {
  for (const [kind, description] of Object.entries({ audio, video })) {
    const track = tracks[kind] = pc.addTrack(description);
    track.setMediaHandler(new rtc.RtcpReceivingSession());
    track.onMessage(() => result[kind]++);
  }
}
pc.setLocalDescription('offer');

const response = await fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/sdp' }, body: await offered });
const body = await response.text();
if (response.status !== 201) throw new Error(`POST is answered ${response.status}: ${body}`);
pc.setRemoteDescription(body, 'answer');
result.end = await ended;
pc.close(); // OBS, too, sends its DELETE after the close of DTLS
result.delete = (await fetch(new URL(response.headers.get('Location'), response.url), { method: 'DELETE' })).status;
console.log(JSON.stringify(result));
process.exit(0);
