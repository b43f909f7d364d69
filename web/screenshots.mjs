// screenshots.mjs WORK OUT NODE_MODULES [PATTERN]
// See screenshots.sh. It runs the gateway with two synthetic cameras, and Chromium with fake devices.
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';

const [work, out, modules] = process.argv.slice(2);
const only = new RegExp(process.env.ONLY ?? '.');
const puppeteer = createRequire(path.join(modules, 'x.js'))('puppeteer-core');

// The gallery has the policy of the product's pages.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'";
const gallery = http.createServer((req, res) => {
  const name = new URL(req.url, 'http://x').pathname.slice(1);
  res.setHeader('Content-Security-Policy', policy);
  if (name === 'gallery.js' || name === 'ui.css') {
    res.setHeader('Content-Type', name.endsWith('js') ? 'text/javascript' : 'text/css');
    return res.end(fs.readFileSync(path.join(work, 'gallery', name)));
  }
  res.setHeader('Content-Type', 'text/html; charset=utf-8');
  res.end('<!doctype html><html lang="en"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Gallery</title><link rel="stylesheet" href="/ui.css"><script type="module" src="/gallery.js"></script><body data-page="gallery" data-root="/" data-room="mri-2"><div id="app"></div></body></html>');
});
await new Promise((listening) => gallery.listen(0, '127.0.0.1', listening));
const galleryRoot = `http://127.0.0.1:${gallery.address().port}`;

async function start(command, env = {}) {
  const port = await new Promise((resolve) => {
    const s = http.createServer().listen(0, '127.0.0.1', () => {
      const { port } = s.address();
      s.close(() => resolve(port));
    });
  });
  const p = spawn(path.join(work, 'sightline'), [command], {
    env: { ...process.env, SIGHTLINE_HTTP_LISTEN: `127.0.0.1:${port}`, SIGHTLINE_AUTH_OPEN: 'true', SIGHTLINE_ICE_UDP_LISTEN: '127.0.0.1:0', ...env },
    stdio: ['ignore', 'ignore', fs.openSync(path.join(work, `${command}.log`), 'w')],
  });
  const root = `http://127.0.0.1:${port}`;
  for (let i = 0; ; i++) {
    if (await fetch(`${root}/readyz`).then((r) => r.ok, () => false)) break;
    if (i > 100 || p.exitCode !== null) throw new Error(`the gateway does not start: ${fs.readFileSync(path.join(work, `${command}.log`))}`);
    await sleep(100);
  }
  return { root, p };
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const busy = await start('demo');
const empty = await start('serve');

// A gateway where people have to say who they are, and the page of one who may invite others.
const secret = { SIGHTLINE_AUTH_OPEN: 'false', SIGHTLINE_AUTH_JWT_SECRET: 'of nobody, and long enough for HS256' };
const closed = await start('serve', secret);
const token = (scope, expires) => execFileSync(path.join(work, 'sightline'), ['token', '-sub', 'lead', '-scope', scope, '-expires', expires], { env: { ...process.env, ...secret } }).toString().trim();
const lead = token('room:admin room:read room:speak whep:play whip:publish', '24h');
const less = token('room:admin room:read whep:play', '2h');
for (const label of ['Dr. Maximiliane Hohenstein-Oberwiesenthal', 'OR 3']) {
  const res = await fetch(`${closed.root}/api/rooms/MRI-2/invitations`, {
    method: 'POST', headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${lead}` }, body: JSON.stringify({ label, expires_in: 3600, scopes: ['room:read', 'whep:play'] }),
  });
  if (!res.ok) console.error(`invitation: ${res.status} ${await res.text()}`);
}
const inviting = async (page) => { await page.evaluate(() => [...document.querySelectorAll('button')].find((b) => b.textContent.trim() === 'Invite').click()); await sleep(300); };
const invite = async (page) => { await inviting(page); await page.click('dialog form button[type=submit]'); };

// People in the rooms, who stay as long as this runs.
const people = [
  ['demo', { name: 'Anna Berg', role: 'hospital', microphone: 'on', camera: 'on' }],
  ['demo', { name: 'Dr. Maximiliane Hohenstein-Oberwiesenthal', role: 'technician', microphone: 'off', hand: true }],
  ['CT-1', { name: 'Piet', role: 'technician' }],
];
const mine = [];
for (const [room, self] of people) {
  const res = await fetch(`${busy.root}/api/rooms/${room}/participants`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(self) });
  if (res.ok) mine.push(new URL(res.headers.get('Location'), res.url).href);
  else console.error(`participant: ${res.status} ${await res.text()}`);
}
const beat = setInterval(() => mine.forEach((url) => fetch(url, { method: 'PATCH', headers: { 'Content-Type': 'application/json' }, body: '{}' }).catch(() => {})), 2_000);

const wide = { width: 1280, height: 800 };
const narrow = { width: 360, height: 740, isMobile: true, hasTouch: true };
const zoomed = { width: 640, height: 400, deviceScaleFactor: 2 }; // 1280 by 800 at 200 %

const shots = [];
const shot = (name, url, options = {}) => shots.push({ name, url, view: wide, scheme: 'light', full: true, wait: 600, ...options });
const each = (name, url, options = {}) => {
  shot(`${name}-light`, url, options);
  shot(`${name}-dark`, url, { ...options, scheme: 'dark' });
  shot(`${name}-narrow`, url, { ...options, view: narrow, scheme: 'dark' });
  shot(`${name}-200`, url, { ...options, view: zoomed });
};

for (const part of ['buttons', 'fields', 'banners', 'states', 'tiles', 'enlarged', 'links', 'lobby']) each(`part-${part}`, `${galleryRoot}/?part=${part}`);
for (const part of ['debug', 'toasts', 'help', 'settings', 'people', 'confirm', 'frame']) each(`part-${part}`, `${galleryRoot}/?part=${part}`, { full: false });
shot('part-tiles-forced', `${galleryRoot}/?part=tiles`, { forced: true });
shot('part-buttons-forced', `${galleryRoot}/?part=buttons`, { forced: true });
shot('part-states-forced', `${galleryRoot}/?part=states`, { forced: true });
shot('part-fields-forced', `${galleryRoot}/?part=fields`, { forced: true });
shot('part-menu', `${galleryRoot}/?part=tiles`, { full: false, act: (page) => page.click('.tile .menu button') });
shot('part-menu-narrow', `${galleryRoot}/?part=tiles`, { full: false, view: narrow, act: (page) => page.click('.tile .menu button') });
shot('part-focus', `${galleryRoot}/?part=buttons`, { full: false, act: async (page) => { for (let i = 0; i < 4; i++) await page.keyboard.press('Tab'); } });

each('root-empty', `${empty.root}/`);
each('root-busy', `${busy.root}/`, { act: (page) => page.click('summary') });
shot('root-name', `${empty.root}/`, { act: (page) => page.type('input', 'MRI 2') });
shot('root-refused', `${empty.root}/`, { act: async (page) => { await page.type('input', 'metrics'); await page.keyboard.press('Enter'); } });
shot('root-failed', `${empty.root}/`, { act: (page) => page.setOfflineMode(true).then(() => page.reload().catch(() => {})), block: true });
shot('root-forbidden', `${empty.root}/`, { answer: 401 });
each('lobby-empty', `${empty.root}/MRI-2`, { devices: false });
each('lobby-busy', `${busy.root}/demo`, { devices: true, wait: 2_500 });
shot('lobby-denied', `${busy.root}/demo`, { deny: true, act: (page) => page.click('.self-ask button') });
shot('lobby-no-name', `${busy.root}/demo`, { act: (page) => page.click('.join-role') });
shot('lobby-tested', `${busy.root}/demo`, { devices: true, act: (page) => page.click('.test button'), wait: 8_000 });
shot('lobby-forbidden', `${busy.root}/demo`, { answer: 403 });
each('missing', `${empty.root}/metrics2/nothing`.replace('/metrics2/nothing', '/whip'));
for (const station of ['hospital', 'technician', 'room']) each(`station-${station}`, `${busy.root}/demo/${station}`, { full: false });

shot('station-unavailable', `${busy.root}/demo/technician`, { answer: 503, full: false });
shot('station-over', `${busy.root}/demo/hospital`, { answer: 401, full: false });
shot('station-voice-refused', `${busy.root}/demo/technician`, { answers: [['POST', '/whip/', 422, { detail: 'no codec of the offer can be used' }]], wait: 2_500, full: false });

// ---- who one is, and invitations ----

const me = (who, more = {}) => [['GET', '/auth/me', 200, () => ({ signIn: true, open: false, scopes: ['room:read', 'whep:play', 'whip:publish'], who: who && { ...who, expires: new Date(Date.now() + who.ms).toISOString() }, ...more })]];
const soon = 42_000; // ms
const berg = { name: 'berg', label: 'Dr. Anna Berg', kind: 'person', role: '', ms: 3 * 3600_000 };
each('account-nobody', `${closed.root}/`, { answers: me(null, { scopes: [] }) });
each('account-nobody-watch', `${closed.root}/watch/MRI-2/console`, { answers: me(null, { scopes: [] }), full: false });
each('account-signed-in', `${busy.root}/demo`, { answers: me(berg), full: false });
each('account-ending', `${busy.root}/demo/technician`, { answers: me({ ...berg, ms: soon }), full: false });
each('account-link-ending', `${busy.root}/demo/hospital`, { answers: me({ ...berg, kind: 'invitation', ms: soon }), full: false });
shot('account-other-role', `${busy.root}/demo/technician`, { answers: me({ ...berg, role: 'hospital' }), full: false });
shot('account-not-here', `${closed.root}/MRI-2/technician`, { answers: me(berg), answer: 403, full: false });
shot('account-link-over', `${closed.root}/MRI-2/technician#token=over`, { full: false });
each('invite-form', `${closed.root}/MRI-2#token=${lead}`, { act: inviting, full: false });
shot('invite-refused', `${closed.root}/MRI-2#token=${less}`, { act: invite, full: false });
each('invite-link', `${closed.root}/MRI-2#token=${lead}`, { act: invite, full: false });

const browser = await puppeteer.launch({
  browser: 'chrome', executablePath: '/usr/bin/chromium', headless: true, userDataDir: path.join(work, 'profile'),
  args: ['--no-sandbox', '--disable-gpu', '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream', '--disable-background-networking', '--hide-scrollbars=false'],
});
let bad = 0;
for (const s of shots) {
  if (!only.test(s.name)) continue;
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  const complain = (what) => {
    bad++;
    console.error(`${s.name}: ${what}`);
  };
  page.on('pageerror', (e) => complain(e.message));
  page.on('console', (m) => {
    if (m.type() === 'error' && !s.answer && !s.answers && !s.block && !s.url.startsWith(closed.root) && !/favicon|404/.test(m.text())) complain(m.text());
  });
  await page.setViewport(s.view);
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: s.scheme }, ...(s.forced ? [{ name: 'forced-colors', value: 'active' }] : [])].filter((f) => f.name !== 'forced-colors'));
  if (s.forced) await (await page.createCDPSession()).send('Emulation.setEmulatedMedia', { features: [{ name: 'forced-colors', value: 'active' }, { name: 'prefers-color-scheme', value: 'dark' }] });
  await page.evaluateOnNewDocument((mode) => {
    if (mode.devices === undefined) Object.defineProperty(navigator, 'permissions', { value: { query: () => Promise.reject(new Error()) } });
    if (mode.devices === false) Object.defineProperty(navigator, 'permissions', { value: { query: () => Promise.resolve({ state: 'prompt' }) } });
    if (mode.devices) {
      Object.defineProperty(navigator, 'permissions', { value: { query: () => Promise.resolve({ state: 'granted' }) } });
      localStorage.setItem('sightline', JSON.stringify({ name: 'Dr. Berg', recent: ['demo', 'CT-1'] }));
    }
    if (mode.deny) navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('Permission denied', 'NotAllowedError'));
  }, { devices: s.devices, deny: s.deny });
  if (s.answer || s.answers || s.block) {
    await page.setRequestInterception(true);
    page.on('request', (r) => {
      const api = new URL(r.url()).pathname.startsWith('/api/');
      if (api && s.block) return r.abort('connectionrefused');
      const [, , status, body] = s.answers?.find(([method, part]) => r.method() === method && r.url().includes(part)) ?? [];
      if (status) return r.respond({ status, contentType: status === 200 ? 'application/json' : 'application/problem+json', body: JSON.stringify(typeof body === 'function' ? body() : body) });
      if (api && s.answer) return r.respond({ status: s.answer, contentType: 'application/problem+json', body: '{"detail":"no"}' });
      r.continue();
    });
  }
  await page.goto(s.url, { waitUntil: 'load' });
  await sleep(300);
  if (s.act && !s.block) await s.act(page);
  await sleep(s.wait);
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
  await page.screenshot({ path: path.join(out, `${s.name}.png`), fullPage: s.full });
  await context.close();
}
await browser.close();
clearInterval(beat);
gallery.close();
busy.p.kill('SIGKILL');
empty.p.kill('SIGKILL');
closed.p.kill('SIGKILL');
console.log(`${out} ${bad ? `(${bad} complaints)` : ''}`);
process.exit(bad ? 1 : 0);
