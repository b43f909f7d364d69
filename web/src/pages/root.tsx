// The list of what is live, from the room API, kept up to date.
import { render } from 'preact';

import { Refused } from '../client/http.ts';
import { Pause } from '../client/retry.ts';
import { Gateway, type Publisher, type Room, type Track } from '../client/rooms.ts';

const PERIOD = 2_000; // ms

const { root = './' } = document.body.dataset;
const token = new URLSearchParams(location.hash.slice(1)).get('token') ?? '';
const gateway = new Gateway(new URL(root, location.href).href, token);
const state = document.getElementById('state')!;
const main = document.getElementById('rooms')!;

document.getElementById('whip')!.prepend(gateway.root.replace(/\/$/, ''));

// A link to a page of this gateway, below any path, with the token of this page.
function href(...path: string[]): string {
  return `${root}watch/${path.map(encodeURIComponent).join('/')}${token ? `#token=${encodeURIComponent(token)}` : ''}`;
}

function RoomSection({ room }: { room: Room }) {
  return (
    <section>
      <h2>Room {room.name}</h2>
      <p class="viewers">{count(room.viewers, 'viewer')}</p>
      <p>
        <a class="mix" href={href(room.name, '~mix')}>
          Listen to everybody in the room
        </a>
      </p>
      <ul>
        {room.publishers.map((p) => (
          <PublisherItem key={p.name} room={room.name} publisher={p} />
        ))}
      </ul>
    </section>
  );
}

function PublisherItem({ room, publisher: p }: { room: string; publisher: Publisher }) {
  return (
    <li>
      <h3>
        <a href={href(room, p.name)}>{p.label || p.name}</a>
      </h3>
      <p class="client">{p.client}</p>
      <table>
        <thead class="unseen">
          <tr>
            {['Track', 'State', 'Format', 'Bit rate'].map((title) => (
              <th key={title} scope="col">
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {p.tracks.map((t) => (
            <tr key={t.kind}>
              <th scope="row">
                <a href={href(room, p.name, t.kind)}>{t.kind}</a>
              </th>
              <td class={`state ${t.state}`}>{words[t.state] ?? t.state}</td>
              <td class="format">{format(t)}</td>
              <td class="rate">{rate(t.bitrate)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </li>
  );
}

function show(rooms: Room[]): void {
  const open = rooms.filter((room) => room.publishers.length);
  const cameras = open.reduce((n, room) => n + room.publishers.length, 0);
  render(
    open.map((room) => <RoomSection key={room.name} room={room} />),
    main,
  );
  tell(cameras ? count(cameras, 'camera') : 'No camera is publishing now. This page shows one as soon as it does.');
}

const words: Record<string, string> = { connecting: 'Connecting', live: 'Live', stalled: 'Nothing comes', gone: 'Stopped' };

const codecs: Record<string, string> = { opus: 'Opus', H264: 'H.264', H265: 'H.265' };

function format(t: Track): string {
  const parts = [[codecs[t.codec] ?? t.codec, t.profile].filter(Boolean).join(' ')];
  if (t.muted) parts.push('muted by the gateway');
  if (t.width) parts.push(`${t.width}×${t.height}`);
  if (t.kind === 'video' && t.fps) parts.push(`${Math.round(t.fps)} frames/s`);
  return parts.filter(Boolean).join(' · ');
}

function rate(bits: number): string {
  if (!bits) return '';
  return bits < 1e6 ? `${Math.round(bits / 1e3)} kbit/s` : `${(bits / 1e6).toFixed(1)} Mbit/s`;
}

function count(n: number, what: string): string {
  return n === 1 ? `1 ${what}` : `${n} ${what}s`;
}

function tell(words: string, trouble = false): void {
  if (state.textContent !== words) state.textContent = words; // a live region speaks at each change
  state.classList.toggle('trouble', trouble);
}

async function refresh(): Promise<void> {
  try {
    show(await gateway.rooms());
  } catch (err) {
    if (!(err instanceof Refused)) tell('The gateway does not answer. What stands here may be old.', true);
    else if (err.status === 401 || err.status === 403) tell('Not allowed: this page needs a link with a valid access token.', true);
    else tell(`The gateway answers with an error (${err.status}).`, true);
  }
}

// One request at a time, and none while nobody looks.
const pause = new Pause();
document.addEventListener('visibilitychange', () => document.hidden || pause.wake());
for (;;) {
  if (!document.hidden) await refresh();
  await pause.of(PERIOD);
}
