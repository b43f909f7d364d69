// The technician's desk: all that runs behind the page. Pictures begin as soon as the room
// is known, whether or not anything is drawn.
import { Presence } from '../pages/station.tsx';
import type { Participant, Room, Track } from '../client/rooms.ts';
import { SightlinePlayer } from '../elements/player.ts';
import { choices } from '../ui/choices.ts';
import { measure } from '../ui/debug.tsx';
import { deviceList, refreshDevices } from '../ui/devices.tsx';
import { note, state } from '../ui/diagnostics.ts';
import { gateway, here } from '../ui/page.ts';
import { roleName } from '../ui/people.tsx';
import { participants, pictures } from '../ui/room.ts';
import { Store } from '../ui/store.ts';
import { keepVoice, keptVoice } from '../ui/voice.ts';
import { enter, remember, remembered } from './order.ts';
import { Own } from './own.ts';
import { pick, taken } from './voice.ts';
import { WHOLE, type Zoom } from './zoom.ts';

export const KEEP = 120_000; // ms for which a camera that is gone keeps its place
const WAIT = 400; // ms for one's own id, so that those who are watched know by whom
const NOBODY = 3_000; // ms without it, after which one speaks all the same

// A Picture is one place on the wall. What changes it makes a new list of pictures.
export interface Picture {
  name: string; // of its publisher
  track: Track; // what was known last
  gone: number; // when it left the room, of performance.now(); 0 while it is there
  silent: number; // when something came from it last, where the gateway says that nothing does; else 0
  player: SightlinePlayer;
  zoom: Store<Zoom>;
  changed: Store<number>; // counts what the player tells
  forget(): void;
}

export class Desk {
  readonly presence = new Presence('technician');
  readonly pictures = new Store<readonly Picture[]>([]);
  readonly own = new Own(gateway.token);
  readonly mix: SightlinePlayer = make();
  readonly heard = new Store(0); // counts what the mix tells
  readonly full = new Store(false); // so many are here that one began muted
  readonly voice = new Store(''); // one's own name as a publisher; empty while not known

  #stage = document.createElement('div'); // where players are that have no tile yet
  #ends: (() => void)[] = [];
  #began = 0; // when the room was known
  #order: string[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #was = ''; // state of the events
  #entered = false; // devices have been asked for
  #past = new Set<string>(); // ids of this page in the room
  #sink = '';
  #told = '';
  #toldAs = '';
  #label = choices.value.name.trim() || roleName('technician'); // another would be another session

  start(): void {
    if (this.#ends.length) return;
    this.#stage.hidden = true;
    this.#stage.append(this.mix);
    document.body.append(this.#stage);
    this.mix.setAttribute('kind', 'audio');
    this.mix.addEventListener('statechange', () => this.heard.set(this.heard.value + 1));
    const { feed, me } = this.presence;
    this.#ends.push(
      feed.store.subscribe(this.#settle),
      me.subscribe(this.#settle),
      choices.subscribe(this.#settle),
      deviceList.subscribe(this.#speaker),
      this.own.store.subscribe(this.#tell),
      measure({ name: 'room sound', direction: 'in', stats: () => this.mix.stats() }),
      measure({ name: 'own voice and camera', direction: 'out', stats: () => this.own.stats() }),
      state('pictures', () => this.pictures.value.map((p) => ({ name: p.name, state: p.player.state, age: Math.round(p.player.age), gone: p.gone > 0, track: p.track.state }))),
      state('voice', () => ({ name: this.voice.value, ...this.own.store.value, mix: this.mix.state })),
    );
    this.presence.start();
    void refreshDevices();
    void gateway.stations().then(
      ({ maxBitrate, frameRate, quality }) => (this.own.limits = { maxBitrate, frameRate, quality }),
      () => {}, // a camera has the browser's limits, then
    );
  }

  stop(): void {
    for (const end of this.#ends.splice(0)) end();
    clearTimeout(this.#timer);
    for (const p of this.pictures.value) p.forget();
    this.pictures.set([]);
    this.#stage.remove();
    this.own.stop();
    this.presence.stop();
  }

  get room(): Room | undefined {
    return this.presence.feed.store.value.rooms[0];
  }

  // remove gives up the place of a camera that is gone.
  remove(name: string): void {
    this.#keep(this.pictures.value.filter((p) => p.name !== name || !p.gone));
  }

  // settle makes what runs what is known.
  #settle = (): void => {
    const { feed, me } = this.presence;
    const view = feed.store.value;
    if (view.state !== this.#was) {
      // The gateway is back: nobody waits for his turn. Where it has said how long to wait,
      // that holds.
      if (this.#was === 'lost' && view.state === 'open') {
        for (const p of [...this.pictures.value.map((p) => p.player), this.mix]) if (p.state === 'reconnecting' || p.state === 'ended' || p.state === 'waiting') p.hurry();
        this.own.hurry();
      }
      this.#was = view.state;
    }
    if (view.state !== 'open') return;
    this.#began ||= performance.now();
    const waited = performance.now() - this.#began;
    clearTimeout(this.#timer);
    if (!me.value && waited < WAIT) {
      this.#timer = setTimeout(this.#settle, WAIT - waited + 1);
      return;
    }
    this.#look(me.value);
    if (me.value || waited > NOBODY) this.#speak(me.value);
    const next = Math.min(!me.value ? NOBODY - waited + 1 : Infinity, ...this.pictures.value.filter((p) => p.gone).map((p) => p.gone + KEEP - performance.now() + 1));
    if (next > 0 && next < Infinity) this.#timer = setTimeout(this.#settle, next);
  };

  // look makes a picture of each track that is in the room.
  #look(me: Participant | undefined): void {
    const mine = new Set([this.voice.value, ...(me?.publishers ?? [])]);
    const tracks = new Map(pictures(this.room).filter((t) => !mine.has(t.publisher)).map((t) => [t.publisher, t]));
    const now = performance.now();
    const next: Picture[] = [];
    for (const p of this.pictures.value) {
      const track = tracks.get(p.name);
      if (!track && (mine.has(p.name) || (p.gone && now - p.gone > KEEP))) continue;
      if (!track && !p.gone) note('camera gone', p.name);
      // It can be played from now on: whoever has been told that it can't yet waits no more.
      if (track?.state === 'live' && p.track.state !== 'live' && (p.player.state === 'waiting' || p.player.state === 'ended')) p.player.hurry();
      next.push({ ...p, track: track ?? p.track, gone: track ? 0 : p.gone || now, silent: track?.state === 'stalled' ? p.silent || now - (track.packetAgeMs ?? 0) : 0 });
    }
    const there = next.map((p) => p.name);
    const fresh = [...tracks.values()].filter((t) => !there.includes(t.publisher));
    const before = this.#order.length ? this.#order : (this.#order = remembered(here.room));
    const since = new Map(this.room?.publishers.map((p) => [p.name, p.since])); // a track's is that of its state
    const all = enter(there, fresh.map((t) => ({ name: t.publisher, since: since.get(t.publisher) ?? '' })), before);
    for (const name of all.slice(there.length)) next.push(this.#picture(tracks.get(name)!));
    for (const p of next) this.#play(p, me);
    this.#keep(next);
  }

  #picture(track: Track): Picture {
    const player = make();
    const name = track.publisher;
    const changed = new Store(0);
    const zoom = new Store<Zoom>(WHOLE);
    player.setAttribute('kind', 'video');
    player.setAttribute('muted', '');
    const tell = () => {
      note(`${name} ${player.state}`, player.detail || undefined);
      changed.set(changed.value + 1);
    };
    player.addEventListener('statechange', tell);
    player.addEventListener('frame', () => {
      if (!performance.getEntriesByName('sightline:first-picture').length) performance.mark('sightline:first-picture');
    });
    const forget = measure({ name, direction: 'in', stats: () => player.stats() });
    if (!choices.value.audioOnly) this.#stage.append(player);
    return {
      name, track, gone: 0, silent: track.state === 'stalled' ? performance.now() - (track.packetAgeMs ?? 0) : 0, player, zoom, changed,
      forget: () => {
        forget();
        player.remove();
      },
    };
  }

  #play({ name, gone, player }: Picture, me: Participant | undefined): void {
    if (gone) return player.removeAttribute('src');
    if (choices.value.audioOnly) return player.remove(); // and so it ends
    const src = gateway.whep(here.room, name, 'video', { participant: me?.id ?? '' });
    if (!me && player.hasAttribute('src')) return; // out for a moment
    if (player.getAttribute('src') !== src) player.setAttribute('src', src);
    if (here.token && !player.hasAttribute('token')) player.setAttribute('token', here.token);
    if (!player.isConnected) this.#stage.append(player);
  }

  #keep(next: readonly Picture[]): void {
    const was = this.pictures.value;
    for (const p of was) if (!next.some((n) => n.player === p.player)) p.forget();
    const names = next.map((p) => p.name);
    if (names.join('\n') !== was.map((p) => p.name).join('\n')) {
      this.#order = [...new Set([...names, ...this.#order])];
      remember(here.room, names);
    }
    this.pictures.set(next);
  }

  // ---- sound ----

  // speak takes a name of one's own, hears the room without oneself, and is heard.
  #speak(me: Participant | undefined): void {
    let name = this.voice.value;
    if (me) this.#past.add(me.id);
    if (!name || taken(this.room, me, name, this.#past)) {
      name = pick(this.room, me, name ? '' : keptVoice('technician', here.room), this.#past);
      note('voice', name);
      this.voice.set(name);
      keepVoice('technician', here.room, name);
    }
    const src = gateway.mix(here.room, { for: name, role: 'technician', participant: me?.id ?? '' });
    if ((me || !this.mix.hasAttribute('src')) && this.mix.getAttribute('src') !== src) this.mix.setAttribute('src', src);
    if (here.token && !this.mix.hasAttribute('token')) this.mix.setAttribute('token', here.token);
    this.own.publishAt(gateway.whip(here.room, name, { label: this.#label, role: 'technician' }));
    this.#tell();
    if (this.#entered || !me) return;
    this.#entered = true;
    void this.#enter();
  }

  // tell says to the others what one does.
  #tell = (): void => {
    const { me, self } = this.presence;
    if (!me.value || !this.voice.value) return;
    const { microphone, camera } = this.own.store.value;
    const use = (u: typeof microphone) => (u === 'starting' ? 'none' : u);
    const now = { microphone: use(microphone), camera: use(camera), publishers: [this.voice.value] };
    if (me.value.microphone === now.microphone && me.value.camera === now.camera && me.value.publishers.join() === now.publishers.join()) return;
    const key = JSON.stringify(now);
    if (key === this.#told && me.value.id === this.#toldAs) return; // on its way
    [this.#told, this.#toldAs] = [key, me.value.id];
    self.change(now);
  };
  // enter asks for the microphone, if the person wants to enter with it.
  async #enter(): Promise<void> {
    const { withMicrophone } = choices.value;
    if (!withMicrophone) return;
    const limits = await gateway.stations().catch(() => undefined);
    const others = participants(this.room).length - 1;
    const full = !!limits && limits.muteFrom > 0 && others >= limits.muteFrom;
    await this.own.speak(!full, true);
    this.full.set(full);
  }

  #speaker = (): void => {
    const sink = deviceList.value.chosen.audiooutput;
    if (sink === this.#sink) return;
    this.#sink = sink;
    this.mix.setAttribute('sink', sink);
  };
}

// make makes a player without a parser.
function make(): SightlinePlayer {
  if (!customElements.get('sightline-player')) customElements.define('sightline-player', SightlinePlayer);
  return document.createElement('sightline-player') as SightlinePlayer;
}
