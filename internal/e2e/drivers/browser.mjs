// browser.mjs chromium|firefox DATA NODE_MODULES [FLAG...]
// Drives a headless browser for the end-to-end tests. Each line of standard input is a request,
//   {"id": 1, "call": "open"|"screenshot"|"press"|"write"|"mouse"|"colours"|"axe"|NAME, "args": [...]}
// and each line of standard output the answer to one, {"id": 1, "value": ...} or {"id": 1, "error": "..."}. Requests run
// side by side. NAME is a function of client.js, called in the page. The browser ends when standard input does.
import fs from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';
import readline from 'node:readline';

const [browserName, data, modules, ...more] = process.argv.slice(2);
const puppeteer = createRequire(path.join(modules, 'x.js'))('puppeteer-core');
const script = fs.readFileSync(new URL('client.js', import.meta.url), 'utf8');

// A page of a loopback address is a secure context, which getUserMedia wants.
const server = http.createServer((req, res) => {
  res.setHeader('Content-Type', 'text/html; charset=utf-8');
  res.end('<!doctype html><title>e2e</title><body style="margin:0;background:#333"></body>');
});
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));

const flags = {
  chromium: {
    browser: 'chrome',
    executablePath: '/usr/bin/chromium',
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream',
      '--autoplay-policy=no-user-gesture-required', '--disable-renderer-backgrounding', ...more,
    ],
  },
  firefox: {
    browser: 'firefox',
    executablePath: '/usr/bin/firefox-esr',
    extraPrefsFirefox: {
      'media.navigator.streams.fake': true,
      'media.navigator.permission.disabled': true,
      // The clients' host sees pages at an address that is neither https nor its own.
      'media.devices.insecure.enabled': true,
      'media.getusermedia.insecure.enabled': true,
      'media.autoplay.default': 0,
      'media.peerconnection.ice.loopback': true,
      'media.gmp-manager.updateEnabled': false,
      'app.update.enabled': false,
      // Debian's Firefox comes without OpenH264; with these two it decodes H.264 by libavcodec.
      'media.webrtc.hw.h264.enabled': true,
      'gfx.blacklist.webrtc.hw.acceleration.h264': 1,
    },
  },
}[browserName];
const browser = await puppeteer.launch({ headless: true, userDataDir: data, ...flags });
const page = await browser.newPage();
page.on('pageerror', (e) => console.error('page:', e.message));
page.on('console', (m) => console.error('console:', m.text()));

async function open(url) {
  await page.evaluateOnNewDocument(script);
  await page.goto(url || `http://127.0.0.1:${server.address().port}/`, { waitUntil: 'domcontentloaded' });
}
await open();

// What a person does, with the browser's own events.
const hands = {
  // "Control+A" is one key.
  press: async (keys) => {
    const all = keys.split('+');
    if (all.length === 1) return page.keyboard.press(keys);
    for (const key of all) await page.keyboard.down(key);
    for (const key of all.reverse()) await page.keyboard.up(key);
  },
  // front goes back to the page from a tab that it has opened.
  front: () => page.bringToFront(),
  write: (text) => page.keyboard.type(text),
  mouse: (selector) => page.click(selector),
  view: (width, height, deviceScaleFactor = 1) => page.setViewport({ width, height, deviceScaleFactor }),
  colours: (scheme) => page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]),
  // look returns what an expression is in the page; in the next one, if the page goes elsewhere meanwhile.
  look: async (expression) => {
    for (let more = 3; ; more--) {
      try {
        return await page.evaluate(expression);
      } catch (e) {
        if (!more || !/context was destroyed/.test(e.message)) throw e;
      }
    }
  },
  permissions: (state) => page.evaluateOnNewDocument((s) => Object.defineProperty(navigator, 'permissions', { value: { query: async () => ({ state: s }) } }), state),
  // prepare runs a script in each page before its own; a name with .js is a file beside this one.
  prepare: (script) => page.evaluateOnNewDocument(script.endsWith('.js') ? fs.readFileSync(new URL(script, import.meta.url), 'utf8') : script),
  wheel: async (selector, deltaY) => {
    await page.hover(selector);
    await page.mouse.wheel({ deltaY });
  },
  // memory is what the page has once all that can be is collected.
  memory: async () => {
    const devtools = await page.createCDPSession();
    await devtools.send('HeapProfiler.collectGarbage');
    await devtools.detach();
    const { JSHeapUsedSize: heap, Nodes: nodes, JSEventListeners: listeners } = await page.metrics();
    return { heap, nodes, listeners };
  },
  deny: () => page.evaluateOnNewDocument(() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('Permission denied', 'NotAllowedError')); }),
  axe: async () => {
    await page.evaluate(fs.readFileSync(new URL('../../../web/node_modules/axe-core/axe.min.js', import.meta.url), 'utf8'));
    return page.evaluate(async () => {
      const { violations, passes } = await window.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] });
      if (passes.length < 10) throw new Error('axe has looked at nothing');
      return violations.map((v) => ({ id: v.id, help: v.help, nodes: v.nodes.map((n) => `${n.target}: ${n.html} ${n.any.concat(n.all, n.none).map((c) => c.message).join('; ')}`) }));
    });
  },
};

async function answer({ id, call, args }) {
  try {
    let value;
    if (call === 'open') value = await open(...args);
    else if (call === 'screenshot') value = void await page.screenshot({ path: args[0] });
    else if (Object.hasOwn(hands, call)) value = await hands[call](...args);
    else value = await page.evaluate((f, a) => window.e2e[f](...a), call, args);
    console.log(JSON.stringify({ id, value: value ?? null }));
  } catch (e) {
    console.log(JSON.stringify({ id, error: e.message }));
  }
}
for await (const line of readline.createInterface({ input: process.stdin })) answer(JSON.parse(line));
await browser.close();
process.exit(0);
