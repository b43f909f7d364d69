// people.mjs chromium DATA NODE_MODULES
// Drives one Chromium in which several people sit, each with a browser context of his own: nothing of one's is another's.
// Requests and answers are as in browser.mjs, but a request also says who: {"id": 1, "who": "anna", "call": ..., "args": [...]}.
//
// A microphone is a tone of one's own here, which one lets sound or not; cameras and screens are Chromium's fakes.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import readline from 'node:readline';

const [, data, modules] = process.argv.slice(2);
const puppeteer = createRequire(path.join(modules, 'x.js'))('puppeteer-core');
const script = fs.readFileSync(new URL('client.js', import.meta.url), 'utf8');
const axe = new URL('../../../web/node_modules/axe-core/axe.min.js', import.meta.url);

const browser = await puppeteer.launch({
  browser: 'chrome', executablePath: '/usr/bin/chromium', headless: true, userDataDir: data, protocolTimeout: 60_000,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
    '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream=fps=10', '--autoplay-policy=no-user-gesture-required',
    '--disable-renderer-backgrounding', '--disable-backgrounding-occluded-windows', '--auto-select-desktop-capture-source=Entire screen',
  ],
});
const people = new Map();

// tone has the page's microphone be a tone of that frequency, or fail with an error of that name.
function tone(frequency, fails, kept) {
  if (location.protocol.startsWith('http')) for (const [key, value] of Object.entries(kept)) localStorage.getItem(key) ?? localStorage.setItem(key, value);
  if (!navigator.mediaDevices) return;
  const get = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  let gain;
  navigator.mediaDevices.getUserMedia = async (constraints) => {
    const failing = window.fails ?? fails;
    if (failing) throw new DOMException('', failing);
    if (!constraints.audio) return get(constraints);
    const sound = new AudioContext();
    const mouth = sound.createMediaStreamDestination();
    gain = new GainNode(sound, { gain: window.says ? 0.2 : 0 });
    const voice = new OscillatorNode(sound, { frequency });
    voice.connect(gain).connect(mouth);
    voice.start();
    return mouth.stream;
  };
  window.say = (loud) => {
    window.says = loud;
    if (gain) gain.gain.value = loud ? 0.2 : 0;
  };
}

const calls = {
  enter: async (who, url, { frequency = 440, fails = '', name = who, choices = {}, width = 1280, height = 800, scale = 1, colours = 'light' }) => {
    const context = await browser.createBrowserContext();
    const page = await context.newPage();
    page.on('pageerror', (e) => console.error(`${who}: ${e.stack ?? e.message}`));
    page.on('console', (m) => console.error(`${who}: ${m.text()}`));
    people.set(who, { page, context });
    await page.setViewport({ width, height, deviceScaleFactor: scale });
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: colours }]);
    await page.evaluateOnNewDocument(script);
    await page.evaluateOnNewDocument(tone, frequency, fails, { sightline: JSON.stringify({ name, ...choices }) });
    await page.goto(url, { waitUntil: 'domcontentloaded' });
  },
  // leave closes the page as a person does.
  leave: async (who) => {
    const { page, context } = people.get(who);
    people.delete(who);
    await page.close({ runBeforeUnload: true });
    setTimeout(() => context.close().catch(() => {}), 2_000);
  },
  // kill ends the page's process.
  kill: async (who) => {
    const { page } = people.get(who);
    people.delete(who);
    page.goto('chrome://crash').catch(() => {});
  },
  view: async (who, { width = 1280, height = 800, scale = 1, colours = 'light' }) => {
    const { page } = people.get(who);
    await page.setViewport({ width, height, deviceScaleFactor: scale });
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: colours }]);
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  },
  press: async (who, keys) => {
    const { page } = people.get(who);
    await page.bringToFront();
    const all = keys.split('+');
    for (const key of all) await page.keyboard.down(key);
    for (const key of all.reverse()) await page.keyboard.up(key);
  },
  mouse: (who, selector) => people.get(who).page.click(selector),
  look: async (who, expression) => {
    const { page } = people.get(who);
    for (let more = 3; ; more--) {
      try {
        return await page.evaluate(expression);
      } catch (e) {
        if (!more || !/context was destroyed/.test(e.message)) throw e; // the page has gone elsewhere meanwhile
      }
    }
  },
  screenshot: (who, file) => people.get(who).page.screenshot({ path: file }).then(() => {}),
  axe: async (who) => {
    const { page } = people.get(who);
    if (!(await page.evaluate('!!window.axe'))) await page.evaluate(fs.readFileSync(axe, 'utf8'));
    return page.evaluate(async () => {
      const { violations, passes } = await window.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] });
      if (passes.length < 10) throw new Error('axe has looked at nothing');
      return violations.map((v) => ({ id: v.id, help: v.help, nodes: v.nodes.map((n) => `${n.target}: ${n.html} ${n.any.concat(n.all, n.none).map((c) => c.message).join('; ')}`) }));
    });
  },
  // hear returns the last samples of the room that the page plays: {rate, pcm}, pcm being 32-bit floats in base64. The ear
  // is made by the first call for each session, and has heard nothing yet then.
  hear: (who) => people.get(who).page.evaluate(async () => {
    const video = () => document.querySelector('sightline-player[kind=audio]')?.shadowRoot.querySelector('video');
    for (let i = 0; i < 40 && !video()?.srcObject; i++) await new Promise((later) => setTimeout(later, 100)); // it may be about to begin
    const { srcObject } = video();
    if (window.heard !== srcObject) {
      const sound = new AudioContext();
      window.heard = srcObject;
      window.ear = new AnalyserNode(sound, { fftSize: 32768 });
      new MediaStreamAudioSourceNode(sound, { mediaStream: srcObject }).connect(window.ear);
      window.ear.connect(new GainNode(sound, { gain: 0 })).connect(sound.destination);
    }
    const samples = new Float32Array(window.ear.fftSize);
    window.ear.getFloatTimeDomainData(samples);
    let bytes = '';
    for (const b of new Uint8Array(samples.buffer)) bytes += String.fromCharCode(b);
    return { rate: window.ear.context.sampleRate, pcm: btoa(bytes) };
  }),
  text: () => '', // the browser is there
};

async function answer({ id, who, call, args }) {
  try {
    const value = Object.hasOwn(calls, call) ? await calls[call](who, ...args) : await people.get(who).page.evaluate((f, a) => window.e2e[f](...a), call, args);
    console.log(JSON.stringify({ id, value: value ?? null }));
  } catch (e) {
    console.log(JSON.stringify({ id, error: e.message }));
  }
}
for await (const line of readline.createInterface({ input: process.stdin })) answer(JSON.parse(line));
await browser.close();
process.exit(0);
