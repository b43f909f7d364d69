// The watch page: one track, a camera's picture and sound, or the sound of a whole room, in
// the whole window.
//
//	#token=…      the bearer token; a fragment is not sent to the server
//	?for=name     of a room's sound: the publisher who listens, and does not hear himself
//	?controls=0   no controls, and no words while the picture is live
//	?obs=1        for an OBS browser source: nothing but the picture, on a transparent page
import { Gateway } from '../client/rooms.ts';
import type { Kind } from '../client/session.ts';
import { loudness } from '../media/level.ts';
import { Player } from '../media/player.ts';

const HIDE_AFTER = 3_000; // ms

const { root = './', room = '', publisher = '', kind = '' } = document.body.dataset;
const query = new URLSearchParams(location.search);
const obs = query.get('obs') === '1';
const bare = obs || query.get('controls') === '0';
const token = new URLSearchParams(location.hash.slice(1)).get('token') ?? '';

const $ = (id: string) => document.getElementById(id)!;
const picture = $('picture') as HTMLVideoElement;
const body = document.body;
body.classList.toggle('obs', obs);
body.classList.toggle('bare', bare);

const mix = publisher === '~mix';
const endpoint = new URL([`${root}whep`, room, publisher, ...(kind ? [kind] : [])].join('/'), location.href);
if (mix && query.has('for')) endpoint.searchParams.set('for', query.get('for') ?? '');
const kinds: Kind[] = mix ? ['audio'] : kind ? [kind as Kind] : ['audio', 'video'];

if (!window.RTCPeerConnection) {
  $('words').textContent = 'Can’t be played here';
  $('detail').textContent = 'This browser has no WebRTC.';
  throw new Error('no WebRTC');
}
const player = new Player(picture, endpoint.href, kinds, token);

// ---- state in words ----

const title = document.title;
let hideTimer: ReturnType<typeof setTimeout> | undefined;

function show(): void {
  const { state, words, detail, hasPicture, hasSound } = player;
  const was = body.dataset.state;
  const gap = Math.floor(player.soundGap / 1000);
  body.dataset.state = state;
  body.classList.toggle('shown', hasPicture);
  body.classList.toggle('gap', gap > 0);
  const age = Math.floor(player.age / 1000);
  set($('words'), gap ? 'No sound' : words);
  set($('age'), gap ? `for ${duration(gap)}` : !age ? '' : state === 'frozen' ? `for ${duration(age)}` : hasPicture ? `· picture is ${duration(age)} old` : '');
  const silent = state === 'live' && !hasPicture && picture.muted;
  set($('detail'), gap ? '' : silent ? 'The sound is off here: press the button below, or the m key.' : detail);
  const badge = state === 'live' ? '' : `${words} – `;
  if (document.title !== badge + title) document.title = badge + title;
  $('sound').hidden = !hasSound;
  $('meter').hidden = hasPicture || !hasSound || state !== 'live';
  if (!$('meter').hidden) $('level').style.clipPath = `inset(0 ${(100 - 100 * loudness(player.level)).toFixed(1)}% 0 0)`;
  if (state !== was) reveal();
  if (state !== was && state === 'refused') void offerSignIn();
}

// Where people can sign in, a link leads there, and back.
async function offerSignIn(): Promise<void> {
  const base = new URL(root, location.href);
  const me = token ? undefined : await new Gateway(base.href).me(room).catch(() => undefined);
  const link = $('signin') as HTMLAnchorElement;
  link.hidden = !me?.signIn || !!me.who;
  const url = new URL('auth/login', base);
  url.searchParams.set('return', `/${location.pathname.slice(base.pathname.length)}${location.search}`);
  link.href = url.href;
}

function set(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text; // live regions speak at each change
}

function duration(seconds: number): string {
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 3600)} h`;
}

player.addEventListener('state', show);

// ---- controls come at any sign of life and go by themselves while live ----

function reveal(): void {
  body.classList.remove('quiet');
  clearTimeout(hideTimer);
  hideTimer = setTimeout(hide, HIDE_AFTER);
}

function hide(): void {
  if ($('bar').matches(':hover') || $('bar').querySelector(':focus-visible')) return reveal();
  body.classList.add('quiet');
}

for (const type of ['pointermove', 'pointerdown', 'keydown', 'focusin']) addEventListener(type, reveal);

// ---- sound ----

// Browsers let sound play once somebody has clicked, or where a setting or an OBS browser
// source allows it. So it is tried, and where it is refused the picture goes on without.
let wanted = true;

async function start(): Promise<void> {
  picture.muted = !wanted;
  try {
    await picture.play();
  } catch (err) {
    if ((err as Error).name === 'NotAllowedError' && !picture.muted) {
      picture.muted = true;
      await picture.play().catch(() => {});
    }
  }
}

function toggleSound(): void {
  wanted = picture.muted;
  picture.muted = !wanted;
  if (picture.paused && picture.srcObject) picture.play().catch(() => {});
}

function showSound(): void {
  const { muted } = picture;
  body.classList.toggle('muted', muted);
  body.classList.toggle('blocked', muted && wanted);
  $('soundWords').textContent = muted ? 'Turn on sound' : 'Mute';
  show();
}

player.addEventListener('stream', () => void start());
picture.addEventListener('volumechange', showSound);
$('sound').addEventListener('click', toggleSound);
$('sound').setAttribute('aria-keyshortcuts', 'm');

// A picture that was paused from outside (media keys, power saving) would be a frozen one.
picture.addEventListener('pause', () => {
  if (picture.srcObject) setTimeout(() => picture.srcObject && picture.paused && picture.play().catch(() => {}), 200);
});

// ---- full screen, keys ----

const canFill = document.fullscreenEnabled && !bare && kinds.includes('video');
$('full').hidden = !canFill;
$('full').setAttribute('aria-keyshortcuts', 'f');

function toggleFull(): void {
  if (!canFill) return;
  if (document.fullscreenElement) void document.exitFullscreen();
  else document.documentElement.requestFullscreen().catch(() => {});
}

$('full').addEventListener('click', toggleFull);
picture.addEventListener('dblclick', toggleFull);
document.addEventListener('fullscreenchange', () => {
  $('full').querySelector('span')!.textContent = document.fullscreenElement ? 'Leave full screen' : 'Full screen';
});

addEventListener('keydown', (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || e.repeat) return;
  if (e.key === 'm' || e.key === 'M') toggleSound();
  if (e.key === 'f' || e.key === 'F') toggleFull();
});

// ---- life of the page ----

addEventListener('pagehide', () => player.stop());
addEventListener('pageshow', (e) => void (e.persisted && player.run()));
addEventListener('online', () => player.hurry());
addEventListener('hashchange', () => location.reload()); // another token
document.addEventListener('visibilitychange', () => void (document.hidden || player.hurry()));

// sightline lets tests, and whoever helps a user, read what is going on.
Object.assign(window, {
  sightline: {
    get state() {
      return player.state;
    },
    getStats: () => player.getStats(),
  },
});

showSound();
reveal();
void player.run();
