// The meeting room at /{room}/room: everybody hears everybody; who speaks is large.
import type { JSX } from 'preact';
import { useEffect, useLayoutEffect, useMemo, useReducer, useRef, useState } from 'preact/hooks';

import { Refused } from '../client/http.ts';
import type { Participant, Stations } from '../client/rooms.ts';
import { Face, OwnDevices, Screen, Troubles, Voice, canShare } from '../room/devices.tsx';
import { Player, type SightlinePlayer } from '../room/elements.tsx';
import { arrange, type Space } from '../room/layout.ts';
import { publishers as names, voice } from '../room/name.ts';
import { broken, busy, said, shown } from '../room/own.ts';
import { SeatTile } from '../room/seat.tsx';
import { seats as all, type Seat } from '../room/seats.ts';
import { Stage, hands } from '../room/stage.ts';
import { words } from '../room/strings.ts';
import { Banner } from '../ui/banner.tsx';
import { Button } from '../ui/button.tsx';
import { choices, choose } from '../ui/choices.ts';
import { measure } from '../ui/debug.tsx';
import { deviceList } from '../ui/devices.tsx';
import { note, state as report } from '../ui/diagnostics.ts';
import { useHotkeys, type Hotkey } from '../ui/hotkeys.tsx';
import { Icon } from '../ui/icons.tsx';
import type { Action } from '../ui/menu.tsx';
import { Meter } from '../ui/meter.tsx';
import { gateway, here } from '../ui/page.ts';
import { Sign, roleName } from '../ui/people.tsx';
import { publishers } from '../ui/room.ts';
import { ring } from '../ui/sounds.ts';
import { Store, useStore } from '../ui/store.ts';
import { toast } from '../ui/toasts.tsx';
import { Station, type Place } from './station.tsx';

const usual: Stations = { maxBitrate: 1_200_000, frameRate: 24, quality: '720p', width: 1280, height: 720, muteFrom: 6 };
const NARROW = 44; // rem: one on the stage

// What the parts of the page share.
interface Meeting {
  own: OwnDevices;
  name: string; // under which one publishes; empty until it is known to be one's own
  id: string | undefined; // one's own, the last that there was
  limits: Stations;
  hands: readonly string[]; // ids, in the order of being raised
  pinned: Store<string>; // key of a seat
}

export function Meeting(): JSX.Element {
  const own = useMemo(() => new OwnDevices(), []);
  const pinned = useMemo(() => new Store(''), []);
  const kept = useRef<{ name: string; id?: string }>({ name: '' });
  const limits = useLimits();

  const meeting = (place: Place): Meeting => {
    if (place.me) kept.current.id = place.me.id;
    return { own, pinned, name: kept.current.name, id: kept.current.id, limits: limits ?? usual, hands: hands(place.people) };
  };
  return (
    <Station
      role="room"
      banners={(place) => <Banners place={place} meeting={meeting(place)} />}
      dock={(place) => <Dock place={place} meeting={meeting(place)} />}
      peopleActions={(p, place) => <Acts p={p} place={place} meeting={meeting(place)} />}
    >
      {(place) => (
        <>
          <Entering place={place} own={own} limits={limits} kept={kept.current} />
          <Floor place={place} meeting={meeting(place)} />
        </>
      )}
    </Station>
  );
}

function useLimits(): Stations | undefined {
  const [limits, setLimits] = useState<Stations | undefined>();
  useEffect(() => {
    void gateway.stations().then(setLimits, () => setLimits(usual));
  }, []);
  return limits;
}

// Entering takes a name to publish under, begins, and tells the others what the devices do.
function Entering({ place, own, limits, kept }: { place: Place; own: OwnDevices; limits: Stations | undefined; kept: { name: string } }): null {
  const { me, people, room, view, change } = place;
  const [, again] = useReducer((n: number) => n + 1, 0);
  const listed = people.find((p) => p.id === me?.id);
  const name = listed && view.state === 'open' ? voice(listed, people, publishers(room), kept.name !== '' && kept.name === listed.publishers[0]) : '';
  useEffect(() => {
    if (!name || !listed) return;
    if (listed.publishers[0] !== name) {
      change({ publishers: names(name) });
      return;
    }
    if (kept.name !== name) {
      kept.name = name;
      note('name', name);
      again(0);
    }
  }, [name, listed?.publishers[0]]);
  useEffect(() => {
    if (listed && limits) own.begin(people.length - 1, limits.muteFrom);
  }, [!!listed, !!limits]);
  const { microphone, camera } = said(useStore(own.store));
  useEffect(() => change({ microphone, camera }), [microphone, camera]);
  return null;
}

// ---- what is above everything ----

function Banners({ place, meeting }: { place: Place; meeting: Meeting }): JSX.Element {
  const { own, name } = meeting;
  const full = useStore(own.store, (s) => (broken(s.voice) ? 0 : s.full));
  const hidden = place.people.filter((p) => p.privacy && p.id !== place.me?.id);
  return (
    <>
      <Calls place={place} />
      {hidden.length > 0 && (
        <Banner kind="privacy" title={words.privacy([...new Set(hidden.map((p) => (p.role ? roleName(p.role) : p.name)))].join(', '))}>
          {words.privacyMore}
        </Banner>
      )}
      <Muted place={place} name={name} />
      {full > 0 && (
        <Banner kind="info" title={words.full_(full)} onClose={() => own.store.patch({ full: 0 })}>
          {words.fullMore}
        </Banner>
      )}
      <Troubles own={own} />
      {name && <Hearing meeting={meeting} />}
    </>
  );
}

function Calls({ place }: { place: Place }): JSX.Element | null {
  const { me, people, answer } = place;
  const calls = people.filter((p) => p.call && p.call === me?.role && p.id !== me?.id);
  const rings = calls.length > 0;
  useEffect(() => (rings ? ring() : undefined), [rings]);
  if (!rings) return null;
  return (
    <>
      {calls.map((p) => (
        <Banner
          key={p.id}
          kind="alarm"
          big
          title={words.call(p.name, roleName(p.call))}
          actions={
            <Button size="large" icon="call" onClick={() => void answer(p.id).catch(failed)}>
              {words.answer}
            </Button>
          }
        />
      ))}
    </>
  );
}

// Muted tells somebody that the room does not hear him. Who may mute may also lift that,
// even of himself; the others can ask for it by their hand.
function Muted({ place, name }: { place: Place; name: string }): JSX.Element | null {
  const muted = publishers(place.room).find((p) => p.name === name)?.muted ?? false;
  const [bound, setBound] = useState(false);
  if (!muted) return null;
  const lift = () => void unmute(name).then((done) => setBound(!done));
  return (
    <Banner
      kind="alarm"
      title={words.mutedYou}
      actions={
        bound ? (
          !place.me?.hand && (
            <Button icon="hand" onClick={() => place.change({ hand: true })}>
              {words.hand.off}
            </Button>
          )
        ) : (
          <Button icon="microphone" onClick={lift}>
            {words.lift}
          </Button>
        )
      }
    >
      {bound ? words.mutedYouBound : words.mutedYouMore}
    </Banner>
  );
}

// unmute returns false if this page's token may not.
async function unmute(name: string): Promise<boolean> {
  try {
    await gateway.mute(here.room, name, false);
    toast(words.lifted, 'good');
    return true;
  } catch (err) {
    if (err instanceof Refused && (err.status === 403 || err.status === 401)) return false;
    failed(err);
    return true;
  }
}

function failed(err: unknown): void {
  const status = err instanceof Refused ? err.status : 0;
  toast(status === 403 || status === 401 ? words.mayNot : status === 409 || status === 404 ? words.gone : words.failed, 'warn');
  note('refused', String(err));
}

// Hearing plays everybody but oneself.
function Hearing({ meeting: { name, id } }: { meeting: Meeting }): JSX.Element {
  const ref = useRef<SightlinePlayer>(null);
  const sink = useStore(deviceList, (l) => l.chosen.audiooutput);
  const [told, setTold] = useState({ state: 'connecting', words: '', detail: '' });
  const [late, setLate] = useState(false); // it has not been heard for some time
  const [blocked, setBlocked] = useState(false);
  useEffect(() => measure({ name: 'room', direction: 'in', stats: () => ref.current?.stats() ?? Promise.resolve(undefined) }), []);
  useEffect(() => {
    setLate(false);
    const timer = setTimeout(() => setLate(told.state !== 'live'), 3_000);
    return () => clearTimeout(timer);
  }, [told.state === 'live']);
  useEffect(() => {
    const timer = setInterval(() => setBlocked(ref.current?.blocked ?? false), 500);
    return () => clearInterval(timer);
  }, []);
  return (
    <>
      <Player ref={ref} src={gateway.mix(here.room, { for: name, participant: id ?? '' })} token={gateway.token} kind="audio" sink={sink} hidden onstatechange={(e) => setTold(e.detail)} />
      {blocked && (
        <Banner
          kind="warn"
          title={words.blocked}
          actions={
            <Button
              icon="speaker"
              onClick={() => {
                if (ref.current) ref.current.muted = false;
                setBlocked(false);
              }}
            >
              {words.unblock}
            </Button>
          }
        />
      )}
      {late && (
        <Banner kind="warn" title={words.mix}>
          {told.words}. {told.detail}
        </Banner>
      )}
    </>
  );
}

// ---- buttons ----

function Dock({ place, meeting }: { place: Place; meeting: Meeting }): JSX.Element {
  const { own, name, hands } = meeting;
  const now = useStore(own.store);
  const audioOnly = useStore(choices, (c) => c.audioOnly);
  const { microphone, camera } = said(now);
  const muted = publishers(place.room).find((p) => p.name === name)?.muted ?? false;
  const sharing = busy(now.screen);
  const hand = hands.indexOf(place.me?.id ?? '') + 1;
  const turn = {
    microphone: () => {
      own.setMicrophone(!now.microphone);
      if (muted && !now.microphone) void unmute(name);
    },
    camera: () => own.setCamera(!now.camera),
    screen: () => canShare && name && own.share(!sharing),
    hand: () => place.change({ hand: !place.me?.hand }),
    audioOnly: () => choose({ audioOnly: !audioOnly }),
  };
  useHotkeys([
    { key: 'm', does: words.keys.microphone, run: turn.microphone, group: words.group },
    { key: 'v', does: words.keys.camera, run: turn.camera, group: words.group },
    { key: 's', does: words.keys.screen, run: turn.screen, group: words.group },
    { key: 'h', does: words.keys.hand, run: turn.hand, group: words.group },
    { key: 'a', does: words.keys.audioOnly, run: turn.audioOnly, group: words.group },
  ]);
  const level = useMemo(() => () => own.voice?.level ?? 0, []);
  const on = (yes: boolean) => (yes ? 'on' : 'off');
  return (
    <div class="meeting-dock">
      <Button icon={microphone === 'on' ? 'microphone' : 'microphone-off'} class={on(microphone === 'on')} onClick={turn.microphone} keys="m" title={words.keys.microphone + ' (m)'}>
        {words.microphone[microphone]}
      </Button>
      <div class="own-level">
        <Meter label={words.stateLevel} level={microphone === 'on' ? level : undefined} small />
      </div>
      <Button icon={camera === 'on' ? 'camera' : 'camera-off'} class={on(camera === 'on')} onClick={turn.camera} keys="v" title={words.keys.camera + ' (v)'}>
        {words.camera[camera]}
      </Button>
      <Button icon="screen" pressed={sharing} disabled={!canShare || !name} onClick={turn.screen} keys="s" title={canShare ? words.keys.screen + ' (s)' : words.screen.none}>
        {words.screen[on(sharing)]}
      </Button>
      <Button icon="hand" pressed={place.me?.hand ?? false} onClick={turn.hand} keys="h" title={words.keys.hand + ' (h)'}>
        {hand > 0 ? words.hand.on(hand) : words.hand.off}
      </Button>
      <Button icon="speaker" pressed={audioOnly} onClick={turn.audioOnly} keys="a" title={words.keys.audioOnly + ' (a)'}>
        {words.audioOnly}
      </Button>
    </div>
  );
}

// ---- seats ----

function Floor({ place, meeting }: { place: Place; meeting: Meeting }): JSX.Element {
  const { own, name, id, limits, hands, pinned } = meeting;
  const { people, room, me } = place;
  const now = useStore(own.store);
  const audioOnly = useStore(choices, (c) => c.audioOnly);
  const pin = useStore(pinned);
  const floor = useRef<HTMLDivElement>(null);
  const space = useSpace(floor);

  // One's own screen is shown by what publishes it, which is there before there is a track.
  const seats = all(room, people, me?.id ?? id).filter((s) => !(s.mine && s.kind !== 'person'));
  const label = me?.name ?? choices.value.name;
  const self: Seat = { key: 'own', kind: 'person', mine: true, label: '', of: '', speaking: false, muted: false, privacy: false };
  const mine = seats.find((s) => s.mine) ?? self;
  const shared: Seat = { ...self, key: 'own-screen', kind: 'screen', label: words.yourScreen };
  const others = seats.filter((s) => !s.mine);
  const pinnable = others.concat(busy(now.screen) ? [shared] : []);

  const { stage, first } = useStage(others, pin, space ? space.width < NARROW * space.rem : false);
  const rest = [...first, ...[mine, ...pinnable].map((s) => s.key)].filter((key, i, all) => !stage.includes(key) && all.indexOf(key) === i);
  const at = space ? arrange(space, stage.length, rest.length) : undefined;
  const rect = ({ key }: Seat) => (stage.includes(key) ? at?.stage[stage.indexOf(key)] : at?.rest[rest.indexOf(key)]);

  const toggle = (key: string) => pinned.set(pin === key ? '' : key);
  useEffect(() => {
    if (pin && !pinnable.some((s) => s.key === pin)) pinned.set('');
  }, [pinnable.map((s) => s.key).join()]);
  const full = (key: string) => void floor.current?.querySelector(`[data-key="${CSS.escape(key)}"] .tile-picture`)?.requestFullscreen?.().catch(() => {});
  useHotkeys([
    ...Array.from({ length: 9 }, (_, i): Hotkey => ({
      key: String(i + 1), does: words.keys.pin, shown: i ? '' : words.keys.numbers, group: words.group,
      run: () => pinnable[i] && toggle(pinnable[i].key),
    })),
    { key: '0', does: words.keys.unpin, run: () => pinned.set(''), group: words.group },
    { key: 'f', does: words.keys.full, run: () => (document.fullscreenElement ? void document.exitFullscreen() : stage[0] && full(stage[0])), group: words.group },
  ]);
  useEffect(() => report('meeting', () => ({ name, pin, stage, seats: seats.map((s) => s.key), own: own.store.value })), [name, pin, stage.join()]);

  const actions = (s: Seat): Action[] => {
    const out: Action[] = [];
    if (!(s.mine && s.kind === 'person')) out.push({ icon: 'pin', label: pin === s.key ? words.unpin(s.label) : words.pin(s.label), run: () => toggle(s.key) });
    if (s.track && !s.mine && !audioOnly) out.push({ icon: 'full', label: words.full, run: () => full(s.key) });
    if (!s.mine && s.kind === 'person' && s.voice) {
      const publisher = s.voice.name;
      out.push({ icon: s.muted ? 'speaker' : 'speaker-off', label: s.muted ? words.unmute(s.label) : words.mute(s.label), run: () => mute(publisher, s.label, !s.muted) });
    }
    if (s.person?.hand && !s.mine) out.push({ icon: 'hand', label: words.lower(s.label), run: () => void place.lower(s.person!.id).catch(failed) });
    return out;
  };

  const tile = (s: Seat, more: Partial<Parameters<typeof SeatTile>[0]> = {}) => {
    const number = pinnable.findIndex((p) => p.key === s.key) + 1;
    return (
      <SeatTile
        key={s.mine ? (s.kind === 'screen' ? 'own-screen' : 'own') : s.key}
        seat={s}
        rect={rect(s)}
        large={stage.includes(s.key)}
        pinned={pin === s.key}
        number={number > 0 && number < 10 ? number : undefined}
        hand={s.kind === 'person' && s.person ? hands.indexOf(s.person.id) + 1 : 0}
        silent={s.kind === 'person' && !!s.person && s.person.microphone !== 'on'}
        actions={actions(s)}
        onPin={number > 0 ? () => toggle(s.key) : undefined}
        participant={id}
        audioOnly={audioOnly}
        {...more}
      />
    );
  };
  return (
    <div class="meeting">
      <h2 class="unseen">{words.pictures}</h2>
      <RaisedHands people={people} hands={hands} />
      {!others.length && place.view.state === 'open' && (
        <p class="alone">
          <strong>{words.alone}.</strong> <span class="soft">{words.aloneMore}</span>
        </p>
      )}
      <div class="seats" ref={floor} style={{ height: `${Math.ceil(Math.max(at?.height ?? 0, space?.height ?? 0))}px` }}>
        {tile(
          { ...mine, label: mine.label || label || words.you },
          now.camera && name ? { own: <Face own={own} name={name} label={label} limits={limits} />, ownState: shown(now.face, mine.track) } : {},
        )}
        {others.map((s) => tile(s))}
        {name && tile(shared, { own: <Screen own={own} name={name} label={label} limits={limits} />, ownState: shown(now.screen), rect: busy(now.screen) ? rect(shared) : undefined })}
      </div>
      {name && <Voice own={own} name={name} label={label} />}
    </div>
  );
}

function mute(publisher: string, label: string, muted: boolean): void {
  gateway.mute(here.room, publisher, muted).then(() => toast(muted ? words.mutedNow(label) : words.unmutedNow(label), 'good'), failed);
}

// useStage returns the keys of those who are large: what is pinned and all screens, else who
// speaks. Beside these, who speaks is first among the others.
function useStage(others: readonly Seat[], pin: string, narrow: boolean): { stage: readonly string[]; first: readonly string[] } {
  const stage = useMemo(() => new Stage(), []);
  const [, again] = useReducer((n: number) => n + 1, 0);
  const screens = others.filter((s) => s.kind === 'screen').map((s) => s.key);
  const people = others.filter((s) => s.kind === 'person');
  const large = pin ? [pin, ...screens.filter((key) => key !== pin)] : screens;
  const taken = stage.take(people, narrow ? 1 : 2, performance.now());
  useEffect(() => {
    if (taken.again === undefined) return undefined;
    const timer = setTimeout(() => again(0), taken.again + 10);
    return () => clearTimeout(timer);
  });
  return large.length ? { stage: large, first: taken.places } : { stage: taken.places, first: [] };
}

// useSpace measures what the window has left for seats.
function useSpace(ref: { current: HTMLDivElement | null }): Space | undefined {
  const [space, setSpace] = useState<Space | undefined>();
  useLayoutEffect(() => {
    const element = ref.current;
    const frame = element?.closest<HTMLElement>('.frame');
    const main = element?.closest('main');
    if (!element || !frame || !main) return undefined;
    let [outer, least] = [0, 0];
    const look = () => {
      // A scroll bar that comes would make room for itself to go again, and so on.
      if (outer !== innerWidth) least = Infinity;
      outer = innerWidth;
      least = Math.min(least, element.clientWidth);
      const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
      const dock = frame.querySelector<HTMLElement>('.dock')?.offsetHeight ?? 0;
      const top = element.getBoundingClientRect().top + scrollY;
      const height = Math.floor(innerHeight - top - dock - parseFloat(getComputedStyle(main).paddingBottom));
      const now: Space = { width: least, height: Math.max(height, 0), rem };
      setSpace((was) => (was && was.width === now.width && was.height === now.height && was.rem === rem ? was : now));
    };
    look();
    const observer = new ResizeObserver(look);
    for (const e of [frame, element, ...frame.children]) observer.observe(e);
    const added = new MutationObserver(look); // banners come and go
    added.observe(frame, { childList: true, subtree: true });
    addEventListener('resize', look);
    return () => {
      observer.disconnect();
      added.disconnect();
      removeEventListener('resize', look);
    };
  }, []);
  return space;
}

function RaisedHands({ people, hands }: { people: readonly Participant[]; hands: readonly string[] }): JSX.Element | null {
  const raised = hands.flatMap((id) => people.find((p) => p.id === id) ?? []);
  if (!raised.length) return null;
  return (
    <section class="hands" aria-labelledby="hands">
      <h2 id="hands">
        <Icon name="hand" />
        {words.hands}
      </h2>
      <ol>
        {raised.map((p, i) => (
          <li key={p.id}>
            <span>{i + 1}.</span> {p.name}
          </li>
        ))}
      </ol>
    </section>
  );
}

// Acts are what can be done about somebody in the list of people.
function Acts({ p, place, meeting }: { p: Participant; place: Place; meeting: Meeting }): JSX.Element | null {
  if (p.id === place.me?.id) return null;
  const publisher = publishers(place.room).find((v) => v.name === p.publishers[0] && v.tracks.some((t) => t.kind === 'audio'));
  const hand = meeting.hands.indexOf(p.id) + 1;
  return (
    <>
      {publisher?.muted && <Sign icon="speaker-off" text={words.muted} />}
      {publisher && (
        <Button icon={publisher.muted ? 'speaker' : 'speaker-off'} label={publisher.muted ? words.unmute(p.name) : words.mute(p.name)} onClick={() => mute(publisher.name, p.name, !publisher.muted)}>
          {publisher.muted ? words.unmuteShort : words.muteShort}
        </Button>
      )}
      {hand > 0 && (
        <Button icon="hand" label={words.lower(p.name)} onClick={() => void place.lower(p.id).catch(failed)}>
          {words.lowerShort}
        </Button>
      )}
    </>
  );
}
