// screenshots-hospital.mjs WORK OUT NODE_MODULES
// See screenshots-hospital.sh. ONLY, a regular expression, chooses some by name. The cameras are drawn: a console, a
// gantry, an injector; and a technician is there by the API.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';

const [work, out, modules] = process.argv.slice(2);
const only = new RegExp(process.env.ONLY ?? '^(?!doc-)');
const puppeteer = createRequire(path.join(modules, 'x.js'))('puppeteer-core');
const axe = fs.readFileSync(new URL('node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

const port = await new Promise((resolve) => {
  const s = http.createServer().listen(0, '127.0.0.1', () => {
    const { port } = s.address();
    s.close(() => resolve(port));
  });
});
const root = `http://127.0.0.1:${port}`;
const log = path.join(work, 'serve.log');
const gateway = spawn(path.join(work, 'sightline'), ['serve'], {
  env: { PATH: process.env.PATH, SIGHTLINE_HTTP_LISTEN: `127.0.0.1:${port}`, SIGHTLINE_AUTH_OPEN: 'true', SIGHTLINE_ICE_UDP_LISTEN: '127.0.0.1:0' },
  stdio: ['ignore', 'ignore', fs.openSync(log, 'w')],
});
for (let i = 0; !(await fetch(`${root}/readyz`).then((r) => r.ok, () => false)); i++) {
  if (i > 100 || gateway.exitCode !== null) throw new Error(`the gateway does not start: ${fs.readFileSync(log)}`);
  await sleep(100);
}

// scene makes the cameras of this machine those that are drawn. It runs in the page.
function scene({ rooms, deny, none }) {
  const names = { c1: 'HD Pro Webcam C920', c2: 'Logitech BRIO', c3: 'Elgato Cam Link 4K', c4: 'USB2.0 PC CAMERA' };
  if (rooms) {
    const cameras = [['c1', 'Console'], ['c2', 'Gantry'], ['c3', 'Injector']].map(([device, name]) => ({ device, name, deviceLabel: names[device], quality: '', bitrate: 0 }));
    localStorage.setItem('sightline.hospital', JSON.stringify({ cameras, rooms }));
  }
  localStorage.setItem('sightline', JSON.stringify({ name: 'Anna Berg', sounds: false }));
  const media = navigator.mediaDevices;
  const [get, list] = [media.getUserMedia.bind(media), media.enumerateDevices.bind(media)];
  const gone = new Set();
  media.enumerateDevices = async () => {
    const others = (await list()).filter((d) => d.kind !== 'videoinput');
    return none ? others : [...others, ...Object.entries(names).filter(([id]) => !gone.has(id)).map(([deviceId, label]) => ({ deviceId, label, kind: 'videoinput', groupId: deviceId, toJSON() {} }))];
  };
  media.getUserMedia = async (c) => {
    if (deny) throw new DOMException('Permission denied', 'NotAllowedError');
    if (!c.video) return get(c);
    const id = c.video.deviceId?.exact ?? 'c1';
    if (none) throw new DOMException('', 'NotFoundError');
    if (gone.has(id)) throw Object.assign(new DOMException('', 'OverconstrainedError'), { constraint: 'deviceId' });
    return picture(id);
  };
  window.unplug = (id) => {
    gone.add(id);
    for (const e of document.querySelectorAll(`sightline-publisher[device="${id}"]`)) {
      for (const t of e.stream.getTracks()) {
        t.stop();
        t.dispatchEvent(new Event('ended'));
      }
    }
    media.dispatchEvent(new Event('devicechange'));
  };
  window.plug = (id) => {
    gone.delete(id);
    media.dispatchEvent(new Event('devicechange'));
  };

  function picture(id) {
    const canvas = Object.assign(document.createElement('canvas'), { width: 1280, height: 720 });
    const c = canvas.getContext('2d');
    const text = (s, x, y, size, colour = '#dfe7ee') => {
      c.font = `${size}px sans-serif`;
      c.fillStyle = colour;
      c.fillText(s, x, y);
    };
    let n = 0;
    const draw = () => {
      n++;
      c.fillStyle = '#10161c';
      c.fillRect(0, 0, 1280, 720);
      if (id === 'c1') {
        text('t2_tse_sag  TR 4000  TE 102  SL 3.0', 40, 60, 36);
        for (let i = 0; i < 4; i++) {
          const [x, y] = [40 + (i % 2) * 420, 90 + Math.floor(i / 2) * 300];
          c.fillStyle = '#000';
          c.fillRect(x, y, 400, 285);
          for (let r = 120; r > 0; r -= 24) {
            c.fillStyle = `rgb(${(200 - r) * 1.1}, ${(200 - r) * 1.1}, ${(200 - r) * 1.15})`;
            c.beginPath();
            c.ellipse(x + 200, y + 142, r * 1.1, r, i * 0.4, 0, 7);
            c.fill();
          }
        }
        text('Scan 3 of 7', 900, 140, 40, '#7fd6b0');
        text(`${Math.floor(n / 10) % 60} s of 3:42`, 900, 200, 40);
        c.fillStyle = '#24506e';
        c.fillRect(900, 230, 330, 30);
        c.fillStyle = '#7fd6b0';
        c.fillRect(900, 230, (n * 2) % 330, 30);
      } else if (id === 'c2') {
        c.fillStyle = '#5d6a74';
        c.fillRect(0, 0, 1280, 720);
        c.fillStyle = '#cfd8de';
        c.beginPath();
        c.arc(640, 340, 320, 0, 7);
        c.fill();
        c.fillStyle = '#1a2026';
        c.beginPath();
        c.arc(640, 340, 190, 0, 7);
        c.fill();
        c.fillStyle = '#8da2b0';
        c.fillRect(440, 430 - (n % 60) / 6, 400, 290);
        c.strokeStyle = '#e14b3c';
        c.lineWidth = 3;
        c.strokeRect(640, 100, 0.1, 500);
      } else {
        text('A', 200, 160, 90, '#7fb8ff');
        text(`${(3.5).toFixed(1)} ml/s`, 140, 300, 70);
        text('B', 800, 160, 90, '#7fd6b0');
        text('2.0 ml/s', 740, 300, 70);
        c.fillStyle = '#7fb8ff';
        c.fillRect(160, 380, 200, 260 - (n % 200));
        c.fillStyle = '#7fd6b0';
        c.fillRect(780, 380, 200, 240);
      }
    };
    draw();
    const timer = setInterval(draw, 100);
    const stream = canvas.captureStream(10);
    const [track] = stream.getTracks();
    Object.defineProperty(track, 'label', { value: names[id] });
    const stop = track.stop.bind(track);
    track.stop = () => {
      clearInterval(timer);
      stop();
    };
    track.applyConstraints = async () => {};
    return stream;
  }
}

const wide = { width: 1280, height: 800 };
const narrow = { width: 360, height: 740 };
const zoomed = { width: 640, height: 400, deviceScaleFactor: 2 }; // 1280 by 800 at 200 %
const shots = [];
const shot = (name, options = {}) => shots.push({ name, view: wide, scheme: 'light', act: async () => {}, ...options });
const each = (name, options = {}) => {
  shot(`${name}-light`, options);
  shot(`${name}-dark`, { ...options, scheme: 'dark' });
  shot(`${name}-narrow`, { ...options, view: narrow, scheme: 'dark', full: true });
  shot(`${name}-200`, { ...options, view: zoomed });
};
const shown = (more = {}) => ({ cameras: ['c1', 'c2', 'c3'].map((device) => ({ device, on: true })), microphone: true, privacy: false, ...more });
const live = (page) => page.waitForFunction(() => document.querySelector('#board-cameras').textContent.includes('3 cameras live'), { timeout: 20_000 });
const berg = { name: 'Dr. Berg', role: 'technician', microphone: 'on' };
const touch = (page, selector, text) => page.evaluate(([selector, text]) => [...document.querySelectorAll(selector)].find((e) => e.textContent.trim().startsWith(text) && e.checkVisibility()).click(), [selector, text]);

const states = {
  empty: {},
  three: { room: shown(), people: [berg], watch: true, act: live },
  lost: {
    room: shown(), people: [berg], watch: true,
    act: async (page) => {
      await live(page);
      await page.evaluate(() => window.unplug('c2'));
      await sleep(2_500);
    },
  },
  privacy: {
    room: shown(), people: [berg], watch: true,
    act: async (page) => {
      await live(page);
      await page.keyboard.press('p');
      await sleep(800);
    },
  },
  calling: {
    room: shown(), people: [berg],
    act: async (page) => {
      await live(page);
      await page.keyboard.press('c');
      await sleep(1_500);
    },
  },
  adding: {
    room: shown({ cameras: [{ device: 'c1', on: true }] }),
    act: async (page) => {
      await page.waitForFunction(() => document.querySelector('#board-cameras').textContent.includes('1 camera live'), { timeout: 20_000 });
      await page.keyboard.press('a');
      await page.waitForFunction(() => document.querySelector('dialog[open] video')?.videoWidth > 0, { timeout: 10_000 });
    },
  },
  denied: {
    room: shown({ cameras: [{ device: 'c1', on: true }] }), deny: true, act: () => sleep(1_500),
  },
};
for (const [name, state] of Object.entries(states)) each(`hospital-${name}`, state);
for (const name of ['three', 'lost', 'privacy', 'calling', 'adding']) shot(`doc-hospital-${name}`, { ...states[name], view: { ...wide, deviceScaleFactor: 0.8 } });
shot('hospital-muted', { room: shown({ microphone: false }), people: [berg], act: live });
shot('hospital-answered', {
  room: shown(), people: [berg],
  act: async (page, tell) => {
    await states.calling.act(page);
    await tell(0, { answer: await page.evaluate(async () => (await (await fetch(`/api/rooms/${document.body.dataset.room}/participants`)).json()).participants.find((p) => p.call).id) });
    await sleep(1_000);
  },
});
shot('hospital-unanswered', {
  room: shown(),
  act: async (page) => {
    await live(page);
    await page.evaluate(() => {
      const now = Date.now;
      window.later = () => (Date.now = () => now() + 65_000);
    });
    await page.keyboard.press('c');
    await sleep(1_500);
    await page.evaluate(() => window.later());
    await sleep(2_500);
  },
});
shot('hospital-off-and-screen', {
  room: shown(),
  act: async (page) => {
    await live(page);
    await page.keyboard.press('2');
    await page.keyboard.press('s');
    await sleep(3_000);
  },
});
shot('hospital-menu', {
  room: shown(),
  act: async (page) => {
    await live(page);
    await page.click('.tile .menu button');
  },
});
shot('hospital-rename', {
  room: shown(),
  act: async (page) => {
    await states.three.act(page);
    await page.click('.tile .menu button');
    await touch(page, '[role=menuitem]', 'Name');
    await sleep(300);
    await page.keyboard.press('Tab');
    await page.keyboard.type(' ');
    await touch(page, 'dialog[open] button', 'Take this name');
  },
});
shot('hospital-quality', {
  room: shown(),
  act: async (page) => {
    await live(page);
    await page.click('.tile .menu button');
    await touch(page, '[role=menuitem]', 'Quality');
  },
});
shot('hospital-remove', {
  room: shown(),
  act: async (page) => {
    await live(page);
    await page.click('.tile .menu button');
    await touch(page, '[role=menuitem]', 'Remove');
  },
});
shot('hospital-no-camera-found', { none: true, act: (page) => page.keyboard.press('a').then(() => sleep(1_000)) });
shot('hospital-help', { room: shown(), act: (page) => live(page).then(() => page.keyboard.press('?')) });
shot('hospital-numbers', { room: shown(), act: (page) => live(page).then(() => page.keyboard.press('d')).then(() => sleep(2_500)) });
shot('hospital-crowd', {
  room: shown(), act: live,
  people: [berg, { name: 'Dr. Maximiliane Hohenstein-Oberwiesenthal', role: 'technician', hand: true }, ...['Piet', 'Lind', 'Noor', 'Ole'].map((name) => ({ name, role: 'meeting' }))],
});
shot('hospital-forced', { ...states.lost, forced: true });

const browser = await puppeteer.launch({
  browser: 'chrome', executablePath: '/usr/bin/chromium', headless: true, userDataDir: path.join(work, 'profile'),
  args: ['--no-sandbox', '--disable-gpu', '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream', '--disable-background-networking', '--autoplay-policy=no-user-gesture-required'],
});
let bad = 0;
for (const [i, s] of shots.entries()) {
  if (!only.test(s.name)) continue;
  const room = s.name.startsWith('doc-') ? 'MRI-2' : `MRI-${i + 1}`;
  const complain = (what) => {
    bad++;
    console.error(`${s.name}: ${what}`);
  };
  const mine = [];
  for (const self of s.people ?? []) {
    const res = await fetch(`${root}/api/rooms/${room}/participants`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(self) });
    mine.push({ url: new URL(res.headers.get('Location'), res.url).href, id: (await res.json()).id });
  }
  const tell = (n, what) => fetch(mine[n].url, { method: 'PATCH', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(what) });
  const beat = setInterval(() => mine.forEach((_, n) => tell(n, {}).catch(() => {})), 2_000);
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  page.on('pageerror', (e) => complain(e.message));
  page.on('console', (m) => m.type() === 'error' && !/40[49]/.test(m.text()) && complain(m.text()));
  await page.setViewport(s.view);
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: s.scheme }]);
  if (s.forced) await (await page.createCDPSession()).send('Emulation.setEmulatedMedia', { features: [{ name: 'forced-colors', value: 'active' }, { name: 'prefers-color-scheme', value: 'dark' }] });
  await page.evaluateOnNewDocument(scene, { rooms: s.room && { [room]: s.room }, deny: s.deny, none: s.none });
  try {
    await page.goto(`${root}/${room}/hospital`, { waitUntil: 'load' });
    await sleep(1_000);
    let viewer;
    if (s.watch) {
      await page.waitForFunction(() => document.querySelector('#board-cameras').textContent.includes('3 cameras live'), { timeout: 20_000 });
      viewer = await context.newPage(); // Dr. Berg's eyes and ears
      await viewer.goto(`${root}/watch/${room}/console/video?participant=${mine[0].id}`, { waitUntil: 'load' });
      await viewer.evaluate(async ([room, id]) => {
        for (const [path, kind] of [['console/video', 'video'], ['gantry/video', 'video'], ['~mix', 'audio']]) {
          const pc = new RTCPeerConnection();
          pc.addTransceiver(kind, { direction: 'recvonly' });
          await pc.setLocalDescription();
          await new Promise((done) => (pc.iceGatheringState === 'complete' ? done() : (pc.onicegatheringstatechange = () => pc.iceGatheringState === 'complete' && done())));
          const res = await fetch(`/whep/${room}/${path}?participant=${id}`, { method: 'POST', headers: { 'Content-Type': 'application/sdp' }, body: pc.localDescription.sdp });
          await pc.setRemoteDescription({ type: 'answer', sdp: await res.text() });
          (window.kept ??= []).push(pc);
        }
      }, [room, mine[0].id]);
      await page.bringToFront();
      await sleep(1_500);
    }
    await s.act(page, tell);
    await sleep(500);
    const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    if (over > 0) complain(`is ${over} px wider than the window`);
    const small = await page.evaluate(() =>
      [...document.querySelectorAll('button, select, input:not(.switch input, .choice input), summary, a.button, .switch, .choice-row label')]
        .filter((e) => e.checkVisibility() && !e.matches('.skip'))
        .map((e) => [e, e.getBoundingClientRect()])
        .filter(([, r]) => r.width > 0 && (r.width < 47.5 || r.height < 47.5))
        .map(([e, r]) => `${e.tagName} ${e.className} ${e.textContent.slice(0, 30)} ${r.width.toFixed(0)}x${r.height.toFixed(0)}`),
    );
    for (const t of small) complain(`too small for a glove: ${t}`);
    if (!s.name.startsWith('doc-') && !s.forced) { // axe does not know the system's colours
      await page.evaluate(axe);
      const violations = await page.evaluate(async () => (await window.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })).violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target).join(', ')}: ${v.nodes[0].any.concat(v.nodes[0].all, v.nodes[0].none).map((c) => c.message)}`));
      for (const v of violations) complain(`axe: ${v}`);
    }
    await page.screenshot({ path: path.join(out, `${s.name.replace(/^doc-/, '')}.png`), fullPage: s.full ?? false });
  } catch (err) {
    complain(err.message);
    await page.screenshot({ path: path.join(out, `${s.name}-failed.png`) });
  }
  clearInterval(beat);
  await context.close();
  await Promise.all(mine.map(({ url }) => fetch(url, { method: 'DELETE' })));
}
await browser.close();
gateway.kill('SIGKILL');
console.log(`${out}${bad ? ` (${bad} complaints)` : ''}`);
process.exit(bad ? 1 : 0);
