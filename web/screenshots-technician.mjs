// screenshots-technician.mjs WORK OUT NODE_MODULES
// Pictures of the technician's station in each of its states, and what axe says of each; see
// screenshots-technician.sh. ONLY, a regular expression, chooses some by name.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';

const [work, out, modules] = process.argv.slice(2);
const only = new RegExp(process.env.ONLY ?? '.');
const puppeteer = createRequire(path.join(modules, 'x.js'))('puppeteer-core');
const axe = fs.readFileSync(new URL('node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const ROOM = 'MRI-2';

async function freePort() {
  return new Promise((resolve) => {
    const s = http.createServer().listen(0, '127.0.0.1', () => {
      const { port } = s.address();
      s.close(() => resolve(port));
    });
  });
}

const port = await freePort();
const root = `http://127.0.0.1:${port}`;
const gateway = spawn(path.join(work, 'sightline'), ['serve'], {
  env: { ...process.env, SIGHTLINE_HTTP_LISTEN: `127.0.0.1:${port}`, SIGHTLINE_AUTH_OPEN: 'true', SIGHTLINE_ICE_UDP_LISTEN: '127.0.0.1:0', SIGHTLINE_ROOMS_GRACE: '4s' },
  stdio: ['ignore', 'ignore', fs.openSync(path.join(work, 'gateway.log'), 'w')],
});
for (let i = 0; !(await fetch(`${root}/readyz`).then((r) => r.ok, () => false)); i++) {
  if (i > 100) throw new Error('the gateway does not start');
  await sleep(100);
}

const browser = await puppeteer.launch({
  browser: 'chrome', executablePath: '/usr/bin/chromium', headless: true, userDataDir: path.join(work, 'profile'),
  args: [
    '--no-sandbox', '--disable-gpu', '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream', '--disable-background-networking',
    '--autoplay-policy=no-user-gesture-required', '--disable-renderer-backgrounding', '--disable-backgrounding-occluded-windows',
  ],
});

// ---- the other side: cameras that draw what a scanner's room looks like ----

const stage = await browser.newPage();
await stage.goto(`${root}/`);
await stage.evaluate(() => {
  const scenes = {
    console(g, t) {
      g.fillStyle = '#10151c'; g.fillRect(0, 0, 640, 360);
      for (let i = 0; i < 3; i++) {
        const x = 20 + i * 150;
        g.fillStyle = '#000'; g.fillRect(x, 40, 140, 140);
        for (let r = 60; r > 0; r -= 3) {
          const v = 40 + 150 * Math.abs(Math.sin(r / 9 + i * 2 + t / 4));
          g.fillStyle = `rgb(${v},${v},${v})`;
          g.beginPath(); g.ellipse(x + 70, 110, r * 0.85, r, 0, 0, 7); g.fill();
        }
      }
      g.fillStyle = '#9fb6c9'; g.font = '15px sans-serif';
      g.fillText('T2 TSE sag   TR 4000  TE 102   slice 12/24', 20, 26);
      for (let i = 0; i < 8; i++) { g.fillStyle = i === Math.floor(t) % 8 ? '#2f7dd1' : '#1d2833'; g.fillRect(480, 40 + i * 34, 140, 28); g.fillStyle = '#cfe0ee'; g.fillText(['Localizer', 'T1 TSE sag', 'T2 TSE sag', 'T2 TIRM', 'T1 TSE tra', 'T2 TSE tra', 'DWI b800', 'T1 + KM'][i], 490, 60 + i * 34); }
      g.fillStyle = '#1d2833'; g.fillRect(20, 200, 440, 140);
      g.strokeStyle = '#4bd6a5'; g.lineWidth = 2; g.beginPath();
      for (let x = 0; x < 440; x++) { const p = ((x + t * 60) % 110) / 110; g.lineTo(20 + x, 280 - (p > 0.4 && p < 0.46 ? 60 * Math.sin((p - 0.4) * 52) : 6 * Math.sin(p * 12))); }
      g.stroke();
    },
    gantry(g, t) {
      g.fillStyle = '#b9c4cc'; g.fillRect(0, 0, 640, 360);
      g.fillStyle = '#93a1ab'; g.fillRect(0, 290, 640, 70);
      g.fillStyle = '#f2f5f7'; g.beginPath(); g.ellipse(330, 170, 190, 165, 0, 0, 7); g.fill();
      g.fillStyle = '#2b343c'; g.beginPath(); g.ellipse(330, 170, 85, 78, 0, 0, 7); g.fill();
      g.fillStyle = '#dfe6ea'; const x = 30 * Math.sin(t / 3); g.fillRect(40 + x, 205, 330, 26); g.fillStyle = '#7c8a94'; g.fillRect(60, 231, 90, 80);
      g.fillStyle = '#3d7ea6'; g.fillRect(110 + x, 180, 210, 26);
    },
    table(g, t) {
      g.fillStyle = '#39424a'; g.fillRect(0, 0, 640, 360);
      g.fillStyle = '#aab6bf'; g.fillRect(120, 90, 400, 180); g.fillStyle = '#e9eef1'; g.fillRect(140, 110, 360, 140);
      g.fillStyle = '#5d7f99'; g.beginPath(); g.ellipse(200, 180, 45, 45, 0, 0, 7); g.fill(); g.fillRect(230, 140, 230, 80);
      g.fillStyle = '#ffc53d'; g.fillRect(500, 300 - 6 * Math.sin(t * 2), 60, 8);
    },
    injector(g, t) {
      g.fillStyle = '#0e2a3f'; g.fillRect(0, 0, 640, 360);
      g.fillStyle = '#fff'; g.font = 'bold 90px sans-serif'; g.fillText((2.5 + Math.sin(t) * 0.1).toFixed(1), 60, 150); g.font = '28px sans-serif'; g.fillText('ml/s', 230, 150);
      g.font = 'bold 90px sans-serif'; g.fillText(String(Math.floor(t * 2) % 100), 380, 150); g.font = '28px sans-serif'; g.fillText('ml', 520, 150);
      g.fillStyle = '#4bd6a5'; g.fillRect(60, 220, 520 * ((t / 8) % 1), 40); g.strokeStyle = '#fff'; g.strokeRect(60, 220, 520, 40);
    },
  };
  const kinds = Object.values(scenes);
  window.cameras = {};
  // camera publishes a drawn picture at 10 frames/s, with the time in its corner.
  window.camera = async (name, whip, { scene = name, width = 640, height = 360, sound = 0 } = {}) => {
    const canvas = Object.assign(document.createElement('canvas'), { width, height });
    const g = canvas.getContext('2d');
    const draw = scenes[scene] ?? kinds[name.length % kinds.length];
    const began = performance.now();
    const timer = setInterval(() => {
      const t = (performance.now() - began) / 1000;
      g.setTransform(width / 640, 0, 0, height / 360, 0, 0);
      draw(g, t);
      g.fillStyle = 'rgba(0,0,0,.6)'; g.fillRect(500, 332, 136, 24); g.fillStyle = '#fff'; g.font = '16px monospace';
      g.fillText(new Date().toISOString().slice(11, 21), 508, 350);
    }, 100);
    const stream = canvas.captureStream(10);
    const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
    const video = pc.addTransceiver(stream.getVideoTracks()[0], { direction: 'sendonly', streams: [stream], sendEncodings: [{ maxBitrate: 600_000 }] });
    if (sound) {
      const context = new AudioContext();
      const tone = new OscillatorNode(context, { frequency: sound });
      const sink = context.createMediaStreamDestination();
      tone.connect(new GainNode(context, { gain: 0.1 })).connect(sink);
      tone.start();
      pc.addTransceiver(sink.stream.getAudioTracks()[0], { direction: 'sendonly', streams: [stream] });
    }
    await pc.setLocalDescription();
    await new Promise((done) => { const look = () => pc.iceGatheringState === 'complete' ? done() : setTimeout(look, 20); look(); });
    const res = await fetch(whip, { method: 'POST', headers: { 'Content-Type': 'application/sdp' }, body: pc.localDescription.sdp });
    if (res.status !== 201) throw new Error(`${name}: ${res.status} ${await res.text()}`);
    await pc.setRemoteDescription({ type: 'answer', sdp: await res.text() });
    window.cameras[name] = {
      freeze: () => video.sender.replaceTrack(null),
      thaw: () => video.sender.replaceTrack(stream.getVideoTracks()[0]),
      end: async () => { clearInterval(timer); pc.close(); await fetch(new URL(res.headers.get('Location'), whip), { method: 'DELETE' }); },
    };
  };
});

const camera = (name, label, options = {}) =>
  stage.evaluate((...a) => window.camera(...a), name, `${root}/whip/${ROOM}/${name}?role=hospital&label=${encodeURIComponent(label)}`, options);
const at = (name, what) => stage.evaluate((n, w) => window.cameras[n][w](), name, what);

const mine = [];
async function person(self) {
  const res = await fetch(`${root}/api/rooms/${ROOM}/participants`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(self) });
  if (!res.ok) throw new Error(`${res.status} ${await res.text()}`);
  const url = new URL(res.headers.get('Location'), res.url).href;
  mine.push(url);
  return {
    say: (what) => fetch(url, { method: 'PATCH', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(what) }),
    leave: () => { mine.splice(mine.indexOf(url), 1); return fetch(url, { method: 'DELETE' }); },
  };
}
const beat = setInterval(() => mine.forEach((url) => fetch(url, { method: 'PATCH', headers: { 'Content-Type': 'application/json' }, body: '{}' }).catch(() => {})), 2_000);

// ---- this side ----

const wide = { width: 1280, height: 800 };
const large = { width: 1920, height: 1080 };
const narrow = { width: 360, height: 740, isMobile: true, hasTouch: true };
const zoomed = { width: 640, height: 400, deviceScaleFactor: 2 }; // 1280 by 800 at 200 %
let bad = 0;

async function open({ view = wide, scheme = 'light', choices = {}, media = true, speech = false } = {}) {
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  page.name = '';
  page.on('pageerror', (e) => { bad++; console.error(`${page.name}: ${e.message}`); });
  page.on('console', (m) => { if (m.type() === 'error' && !/404|favicon|Failed to load resource/.test(m.text())) { bad++; console.error(`${page.name}: ${m.text()}`); } });
  await page.setViewport(view);
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }, { name: 'prefers-reduced-motion', value: 'reduce' }]);
  await page.evaluateOnNewDocument((mode) => {
    if (!location.protocol.startsWith('http')) return;
    localStorage.setItem('sightline', JSON.stringify({ name: 'Dr. Berg', ...mode.choices }));
    if (!mode.media) navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('Requested device not found', 'NotFoundError'));
    if (!mode.speech) {
      // Chromium's own fake microphone beeps: here nobody speaks.
      const get = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      if (mode.media) navigator.mediaDevices.getUserMedia = async (c) => {
        if (!c.audio) return get(c);
        return new AudioContext().createMediaStreamDestination().stream;
      };
    } else {
      navigator.mediaDevices.getUserMedia = async () => {
        const context = new AudioContext();
        const sink = context.createMediaStreamDestination();
        const tone = new OscillatorNode(context, { frequency: 300 });
        tone.connect(new GainNode(context, { gain: 0.2 })).connect(sink);
        tone.start();
        return sink.stream;
      };
    }
  }, { choices, media, speech });
  await page.goto(`${root}/${ROOM}/technician`, { waitUntil: 'load' });
  return page;
}

async function close(page) {
  await page.goto('about:blank'); // it leaves the room, as people do
  await page.browserContext().close();
}

async function shot(page, name) {
  page.name = name;
  const complain = (what) => { bad++; console.error(`${name}: ${what}`); };
  await page.bringToFront();
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (over > 0) complain(`is ${over} px wider than the window`);
  const small = await page.evaluate(() =>
    [...document.querySelectorAll('button, select, input:not(.switch input, .choice input), summary, a.button, .switch, .choice-row label')]
      .filter((e) => e.checkVisibility() && !e.matches('.skip'))
      .map((e) => [e, e.getBoundingClientRect()])
      .filter(([, r]) => r.width > 0 && (r.width < 47.5 || r.height < 47.5))
      .map(([e, r]) => `${e.tagName} ${e.className} ${e.textContent.slice(0, 30)} ${r.width.toFixed(0)}x${r.height.toFixed(0)}`));
  for (const t of small) complain(`too small: ${t}`);
  const cropped = await page.evaluate(() => [...document.querySelectorAll('.place')].filter((p) => {
    const r = p.getBoundingClientRect();
    const t = p.querySelector('.tile').getBoundingClientRect();
    return t.right > r.right + 1 || t.bottom > r.bottom + 1;
  }).map((p) => p.dataset.name));
  if (cropped.length) complain(`tiles leave their places: ${cropped}`);
  await page.screenshot({ path: path.join(out, `${name}.png`) });
  await page.evaluate(axe);
  const found = await page.evaluate(async () => (await window.axe.run(document, { resultTypes: ['violations'] })).violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => n.target.join(' ') + ' ' + (n.any[0]?.message ?? '')).slice(0, 3).join(' | ')}`));
  for (const f of found) complain(`axe: ${f}`);
}

const live = (page, n) => page.waitForFunction((n) => document.querySelectorAll('.tile[data-state=live]').length >= n, { timeout: 20_000 }, n);
const states = [];
const state = (name, run) => states.push({ name, run });
const looks = [['light', {}], ['dark', { scheme: 'dark' }], ['narrow', { view: narrow, scheme: 'dark' }], ['200', { view: zoomed }]];
const each = (name, prepare, options = {}) => {
  for (const [look, o] of looks) {
    state(`technician-${name}-${look}`, async (shotName) => {
      const page = await open({ ...o, ...options });
      const undo = await prepare(page);
      await shot(page, shotName);
      if (typeof undo === 'function') await undo();
      await close(page);
    });
  }
};

const hospital = await person({ name: 'Anna Berg', role: 'hospital', microphone: 'on', camera: 'on', publishers: ['hospital', 'console', 'gantry', 'table', 'injector'] });

each('empty', () => sleep(900));
state('setup-1', () => camera('console', 'Console'));
each('one', (page) => live(page, 1));
state('setup-4', async () => { await camera('gantry', 'Gantry'); await camera('table', 'Patient table', { width: 640, height: 480 }); await camera('injector', 'Injector'); });
each('four', (page) => live(page, 4).then(() => sleep(1500)));
each('enlarged', async (page) => { await live(page, 4); await page.keyboard.press('2'); await sleep(2600); });
state('technician-two-light', async (name) => {
  const page = await open({ view: large });
  await live(page, 4);
  await page.keyboard.press('1');
  await page.keyboard.down('Shift'); await page.keyboard.press('Digit4'); await page.keyboard.up('Shift');
  await sleep(2600);
  await shot(page, name);
  await close(page);
});
state('technician-zoomed-light', async (name) => {
  const page = await open();
  await live(page, 4);
  await page.keyboard.press('1');
  for (let i = 0; i < 3; i++) await page.keyboard.press('+');
  await page.keyboard.press('ArrowLeft');
  await sleep(2500);
  await shot(page, name);
  await close(page);
});
each('menu', async (page) => { await live(page, 4); await page.click('.place .menu button'); await sleep(300); });
each('frozen', async (page) => { await live(page, 4); await at('gantry', 'freeze'); await sleep(6_500); return async () => { await at('gantry', 'thaw'); await sleep(1_500); }; });
each('frozen-big', async (page) => { await live(page, 4); await page.keyboard.press('2'); await at('gantry', 'freeze'); await sleep(6_500); return async () => { await at('gantry', 'thaw'); await sleep(1_500); }; });
each('privacy', async (page) => { await live(page, 4); await hospital.say({ privacy: true }); await sleep(1200); return () => hospital.say({ privacy: false }); });
each('call', async (page) => { await live(page, 4); await hospital.say({ call: 'technician' }); await sleep(1200); return () => hospital.say({ call: '' }); });
each('muted', async (page) => { await live(page, 4); await page.keyboard.press('m'); await page.waitForSelector('.hint-bubble', { timeout: 15_000 }); }, { speech: true });
each('own-camera', async (page) => { await live(page, 4); await page.keyboard.press('c'); await sleep(2_500); });
each('sound-only', () => sleep(1_200), { choices: { audioOnly: true } });
each('no-device', () => sleep(1_500), { media: false });
each('publish', async (page) => { await live(page, 4); await page.click('.dock-part.more .menu button'); await sleep(200); await page.click('.dock .menu-list > :nth-child(2)'); await sleep(400); });
each('help', async (page) => { await live(page, 4); await page.keyboard.press('?'); await sleep(400); });
each('debug', async (page) => { await live(page, 4); await page.keyboard.press('d'); await sleep(2_600); });
each('gateway-lost', async (page) => { await live(page, 4); await page.setOfflineMode(true); gateway.kill('SIGSTOP'); await sleep(5_000); return async () => { gateway.kill('SIGCONT'); await page.setOfflineMode(false); await sleep(2_000); }; });
// Those of docs/TECHNICIAN.md, small enough for a repository.
const page72 = { view: { ...wide, deviceScaleFactor: 0.72 } };
const doc = (name, prepare) => {
  if (!process.env.ONLY?.startsWith('doc')) return;
  state(`doc-${name}`, async () => {
    const page = await open(page72);
    await live(page, 4);
    await sleep(2_500);
    const undo = await prepare(page);
    await page.screenshot({ path: path.join(out, `technician-${name}.png`) });
    if (typeof undo === 'function') await undo();
    await close(page);
  });
};
doc('four', () => {});
doc('enlarged', async (page) => { await page.keyboard.press('2'); await sleep(2_000); });
doc('frozen', async () => { await at('gantry', 'freeze'); await sleep(6_500); return async () => { await at('gantry', 'thaw'); await sleep(1_500); }; });
doc('privacy', async () => { await hospital.say({ privacy: true }); await sleep(1_000); return () => hospital.say({ privacy: false }); });
doc('call', async () => { await hospital.say({ call: 'technician' }); await sleep(1_000); return () => hospital.say({ call: '' }); });
state('setup-gone', async () => { await sleep(8_000); });
state('technician-gone', async (name) => {
  const pages = [];
  for (const [look, o] of looks) { const page = await open(o); await live(page, 4); pages.push([look, page]); }
  await at('table', 'end');
  await sleep(8_000);
  for (const [look, page] of pages) { await shot(page, `${name}-${look}`); await close(page); }
});
state('setup-9', async () => {
  await camera('table', 'Patient table', { width: 640, height: 480 });
  for (const [name, label] of [['ecg', 'ECG monitor'], ['anaesthesia', 'Anaesthesia'], ['door', 'Door'], ['coil', 'Coil, head 20-channel, left connector'], ['control', 'Control room']]) await camera(name, label);
});
each('nine', (page) => live(page, 9).then(() => sleep(2_000)));
each('nine-enlarged', async (page) => { await live(page, 9); await page.keyboard.press('5'); await sleep(2600); });
state('technician-nine-large', async (name) => {
  const page = await open({ view: large, scheme: 'dark' });
  await live(page, 9);
  await sleep(2_000);
  await shot(page, name);
  await close(page);
});

try {
  for (const s of states) {
    const setup = s.name.startsWith('setup');
    if (!setup && !only.test(s.name)) continue;
    if (s.name === 'setup-9' && !only.test('technician-nine-light') && !only.test('technician-nine-enlarged-light') && !only.test('technician-nine-large')) continue;
    try {
      await s.run(s.name);
    } catch (e) {
      bad++;
      console.error(`${s.name}: ${e.message}`);
      gateway.kill('SIGCONT');
    }
  }
} finally {
  await browser.close();
  clearInterval(beat);
  gateway.kill('SIGKILL');
}
console.log(`${out} ${bad ? `(${bad} complaints)` : ''}`);
process.exit(bad ? 1 : 0);
