// The list of what is live, from the room API, kept up to date.
const { root } = document.body.dataset;
const token = new URLSearchParams(location.hash.slice(1)).get('token') ?? '';
const state = document.getElementById('state');
const main = document.getElementById('rooms');

const PERIOD = 2_000; // ms

document.getElementById('whip').prepend(new URL(root, location.href).href.replace(/\/$/, ''));

// keyed makes parent's children one for each item, in order, and keeps those that are
// there: whoever has the focus in one keeps it.
function keyed(parent, template, items, key, fill) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, i) => {
    const name = key(item);
    let child = old.get(name);
    old.delete(name);
    if (!child) {
      child = document.getElementById(template).content.firstElementChild.cloneNode(true);
      child.dataset.key = name;
    }
    fill(child, item);
    if (parent.children[i] !== child) parent.insertBefore(child, parent.children[i] ?? null);
  });
  for (const child of old.values()) child.remove();
}

function text(parent, selector, value) {
  const element = parent.querySelector(selector);
  if (element.textContent !== value) element.textContent = value;
  return element;
}

function link(parent, selector, words, ...path) {
  const a = text(parent, selector, words);
  const href = `${root}watch/${path.map(encodeURIComponent).join('/')}${token ? `#token=${encodeURIComponent(token)}` : ''}`;
  if (a.getAttribute('href') !== href) a.setAttribute('href', href);
}

function show(rooms) {
  let cameras = 0;
  keyed(main, 'room', rooms.filter((room) => room.publishers.length), (room) => room.name, (section, room) => {
    text(section, 'h2', `Room ${room.name}`);
    text(section, '.viewers', count(room.viewers, 'viewer'));
    link(section, '.mix', 'Listen to everybody in the room', room.name, '~mix');
    keyed(section.querySelector('ul'), 'publisher', room.publishers, (p) => p.name, (item, p) => {
      cameras++;
      link(item, 'h3 a', p.label || p.name, room.name, p.name);
      text(item, '.client', p.client);
      keyed(item.querySelector('tbody'), 'track', p.tracks, (t) => t.kind, (row, t) => {
        link(row, 'th a', t.kind, room.name, p.name, t.kind);
        text(row, '.state', words[t.state] ?? t.state).className = `state ${t.state}`;
        text(row, '.format', format(t));
        text(row, '.rate', rate(t.bitrate));
      });
    });
  });
  tell(cameras ? count(cameras, 'camera') : 'No camera is publishing now. This page shows one as soon as it does.');
}

const words = { connecting: 'Connecting', live: 'Live', stalled: 'Nothing comes', gone: 'Stopped' };

const codecs = { opus: 'Opus', H264: 'H.264', H265: 'H.265' };

function format(t) {
  const parts = [[codecs[t.codec] ?? t.codec, t.profile].filter(Boolean).join(' ')];
  if (t.muted) parts.push('muted by the gateway');
  if (t.width) parts.push(`${t.width}×${t.height}`);
  if (t.kind === 'video' && t.fps) parts.push(`${Math.round(t.fps)} frames/s`);
  return parts.filter(Boolean).join(' · ');
}

function rate(bits) {
  if (!bits) return '';
  return bits < 1e6 ? `${Math.round(bits / 1e3)} kbit/s` : `${(bits / 1e6).toFixed(1)} Mbit/s`;
}

function count(n, what) {
  return n === 1 ? `1 ${what}` : `${n} ${what}s`;
}

function tell(words, trouble = false) {
  if (state.textContent !== words) state.textContent = words; // a live region speaks at each change
  state.classList.toggle('trouble', trouble);
}

async function refresh() {
  try {
    const res = await fetch(new URL(`${root}api/rooms`, location.href), {
      headers: token ? { Authorization: `Bearer ${token}` } : {},
      credentials: 'omit',
      signal: AbortSignal.timeout(10_000),
    });
    if (res.ok) show((await res.json()).rooms);
    else if (res.status === 401 || res.status === 403) tell('Not allowed: this page needs a link with a valid access token.', true);
    else tell(`The gateway answers with an error (${res.status}).`, true);
  } catch {
    tell('The gateway does not answer. What stands here may be old.', true);
  }
}

// One request at a time, and none while nobody looks.
let wake = () => {};
document.addEventListener('visibilitychange', () => document.hidden || wake());
for (;;) {
  if (!document.hidden) await refresh();
  await new Promise((resolve) => {
    const timer = setTimeout(resolve, PERIOD);
    wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}
