// The station at /{room}/hospital: the cameras and the voice of the room with the scanner.
import type { JSX } from 'preact';
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';

import type { Device, Participant } from '../client/rooms.ts';
import { AddCamera } from '../hospital/adding.tsx';
import { Board } from '../hospital/board.tsx';
import { Call, PATIENCE } from '../hospital/call.ts';
import { CameraTile } from '../hospital/camera.tsx';
import { Desk, SCREEN, VOICE, bounds } from '../hospital/desk.ts';
import { Faces } from '../hospital/faces.tsx';
import { taken } from '../hospital/naming.ts';
import { Listener, ScreenSource, VoiceSource, useUnblock, type Hearing } from '../hospital/sources.tsx';
import { useAwake, useLimits, useOthers, useSpeaking, useVoice, useVoiceLevel } from '../hospital/use.ts';
import { words } from '../hospital/words.ts';
import { Banner } from '../ui/banner.tsx';
import { Button } from '../ui/button.tsx';
import { choices } from '../ui/choices.ts';
import { useDevices } from '../ui/devices.tsx';
import { note, state as tellState } from '../ui/diagnostics.ts';
import { useHotkeys, type Hotkey } from '../ui/hotkeys.tsx';
import { Icon } from '../ui/icons.tsx';
import { here } from '../ui/page.ts';
import { People } from '../ui/people.tsx';
import { publishers } from '../ui/room.ts';
import { Store, useStore, useTick } from '../ui/store.ts';
import { Tile } from '../ui/tile.tsx';
import { toast } from '../ui/toasts.tsx';
import { Station, type Place } from './station.tsx';

const MOST = 16; // names that a participant can say
const ANSWERED = 20_000; // ms for which it is told that a call was answered

// What the parts of the page share beside the desk.
interface Shared {
  desk: Desk;
  call: Call;
  adding: Store<boolean>;
  hearing: Store<Hearing>;
  place: Place | undefined; // the newest
}

export function Hospital(): JSX.Element {
  const shared = useMemo<Shared>(
    () => ({
      desk: new Desk(here.room, choices.value.withMicrophone),
      call: new Call(),
      adding: new Store(false),
      hearing: new Store<Hearing>({ state: 'connecting', blocked: false, level: undefined }),
      place: undefined,
    }),
    [],
  );
  const { desk } = shared;
  const decided = useStore(desk.decided);
  useKeys(shared);
  useLayoutEffect(() => {
    document.documentElement.toggleAttribute('data-privacy', decided.privacy);
  }, [decided.privacy]);
  useEffect(() => tellState('hospital', () => ({ ...desk.now, reports: [...desk.reports.value] })), []);
  useEffect(() => note(decided.privacy ? 'privacy begins' : 'no privacy'), [decided.privacy]);
  return (
    <Station role="hospital" peopleKey="w" banners={(place) => <Banners shared={shared} place={place} />} dock={(place) => <Dock shared={shared} place={place} />}>
      {(place) => <Page shared={shared} place={place} />}
    </Station>
  );
}

// ---- what the keys and the dock do ----

function toggleMicrophone({ desk }: Shared): void {
  const { microphone, privacy } = desk.now;
  if (privacy) return toast(words.privacy.more, 'privacy');
  const { state } = desk.report(VOICE);
  if (microphone && (state === 'failed' || state === 'refused')) desk.retry(VOICE);
  else desk.microphone(!microphone);
}

function toggleCall({ call, place }: Shared): void {
  if (!place) return;
  if (call.calling) call.end(place.change);
  else call.start(place.change);
}

function toggleScreen({ desk }: Shared): void {
  if (desk.now.screen) return desk.unshare();
  if (!('getDisplayMedia' in (navigator.mediaDevices ?? {}))) return toast(words.screen.unable, 'warn');
  desk.share();
}

// Keys that the page has in its help. A key that is pressed by mistake may begin privacy,
// but not end it.
function useKeys(shared: Shared): void {
  const { desk, adding } = shared;
  const { cameras } = useStore(desk.decided);
  const k = words.keys;
  const keys: Hotkey[] = [
    { key: 'm', does: k.microphone, run: () => toggleMicrophone(shared) },
    {
      key: 'p',
      does: k.privacy,
      run: (e) => {
        if (!desk.now.privacy) desk.privacy(true);
        else if (e.shiftKey) desk.privacy(false);
        else toast(k.privacyEnd, 'privacy');
      },
    },
    { key: 'c', does: k.call, run: () => toggleCall(shared) },
    { key: 's', does: k.screen, run: () => toggleScreen(shared) },
    { key: 'l', does: k.sound, run: () => desk.hearing(!desk.now.hearing) },
    { key: 'a', does: k.add, run: () => adding.set(true) },
    ...cameras.slice(0, 9).map((c, i): Hotkey => ({ key: String(i + 1), does: k.cameras(i + 1, c.name), run: () => desk.change(c.device, { on: !desk.now.cameras.find((now) => now.device === c.device)?.on }) })),
  ];
  useHotkeys(keys);
}

interface PartProps {
  shared: Shared;
  place: Place;
}

function Dock({ shared, place }: PartProps): JSX.Element {
  const { desk, call } = shared;
  const { microphone, privacy, hearing, screen } = useStore(desk.decided);
  useStore(desk.reports);
  const { state } = useStore(call.store);
  const { state: voice } = desk.report(VOICE);
  const heard = microphone && voice === 'live' && !privacy;
  const none = microphone && (voice === 'failed' || voice === 'refused' || voice === 'device-lost') && !privacy;
  const open = microphone && !privacy && !none;
  const m = words.microphone;
  return (
    <>
      <Button icon={open ? 'microphone' : 'microphone-off'} size="large" class={heard ? 'open' : 'shut'} pressed={open} keys="m" onClick={() => toggleMicrophone(shared)}>
        {privacy ? words.board.paused : none ? m.failed : microphone ? m.on : m.off}
      </Button>
      <Button icon={privacy ? 'eye' : 'privacy'} kind="privacy" size="large" keys="p" onClick={() => desk.privacy(!privacy)}>
        {privacy ? words.privacy.end : words.privacy.button}
      </Button>
      <Button icon={hearing ? 'speaker' : 'speaker-off'} size="large" class="lesser" pressed={hearing} keys="l" onClick={() => desk.hearing(!hearing)}>
        {hearing ? words.room.on : words.room.off}
      </Button>
      <Button icon="screen" size="large" class="lesser" keys="s" onClick={() => toggleScreen(shared)}>
        {screen ? words.screen.stop : words.screen.share}
      </Button>
      <Button icon="call" size="large" class="lesser" kind={state === 'calling' ? 'danger' : 'plain'} keys="c" disabled={!place.me && state !== 'calling'} onClick={() => toggleCall(shared)}>
        {state === 'calling' ? words.call.cancel : words.call.button}
      </Button>
    </>
  );
}

// ---- banners ----

function Banners({ shared, place }: PartProps): JSX.Element {
  const { desk } = shared;
  const { privacy } = useStore(desk.decided);
  const { blocked } = useStore(shared.hearing);
  useUnblock(blocked);
  return (
    <>
      {privacy && (
        <Banner
          kind="privacy"
          big
          title={words.privacy.title}
          actions={
            <Button icon="eye" size="large" class="end-privacy" onClick={() => desk.privacy(false)}>
              {words.privacy.end}
            </Button>
          }
        >
          <p>{words.privacy.more}</p>
          {!place.me && <p>{words.privacy.unsure}</p>}
        </Banner>
      )}
      <CallBanner shared={shared} place={place} />
      {blocked && (
        <Banner
          kind="warn"
          title={words.room.blocked}
          actions={<Button icon="speaker">{words.room.blockedDo}</Button>}
        >
          {words.room.blockedMore}
        </Banner>
      )}
    </>
  );
}

function CallBanner({ shared: { desk, call }, place }: PartProps): JSX.Element | null {
  const { state, since, by } = useStore(call.store);
  const { microphone, privacy } = useStore(desk.decided);
  const { me, people, change } = place;
  useTick(state === 'calling' ? 1_000 : 0);
  useEffect(() => call.take(me, people, change));
  useEffect(() => {
    if (state !== 'answered') return undefined;
    const timer = setTimeout(() => call.end(change), ANSWERED);
    return () => clearTimeout(timer);
  }, [state]);
  const w = words.call;
  if (state === 'none') return null;
  const close = () => call.end(change);
  if (state === 'answered') {
    return (
      <Banner kind="good" big title={w.answered(by)} onClose={close}>
        {microphone && !privacy ? w.answeredMore : w.answeredMuted}
      </Banner>
    );
  }
  if (state === 'unanswered') {
    return (
      <Banner
        kind="warn"
        big
        title={w.unanswered}
        onClose={close}
        actions={
          <Button icon="call" size="large" onClick={() => call.start(change)}>
            {w.again}
          </Button>
        }
      >
        {w.unansweredMore}
      </Banner>
    );
  }
  const some = people.some((p) => p.role === 'technician');
  const left = Math.max(0, Math.ceil((since + PATIENCE - performance.now()) / 1000));
  return (
    <Banner
      kind="info"
      big
      title={w.calling}
      actions={
        <Button icon="close" size="large" kind="danger" onClick={close}>
          {w.cancel}
        </Button>
      }
    >
      {!me ? w.away : some ? w.callingMore : w.nobody} <span aria-hidden="true">{w.left(left)}</span>
    </Banner>
  );
}

// ---- the page ----

function Page({ shared, place }: PartProps): JSX.Element {
  shared.place = place;
  const { desk, adding, hearing: heard } = shared;
  const decided = useStore(desk.decided);
  const { cameras, microphone, asked, privacy, hearing, screen } = decided;
  const reports = useStore(desk.reports);
  const sound = useStore(heard);
  const open = useStore(adding);
  const saver = useStore(choices, (c) => c.saver);
  const { limits, known } = useLimits();
  const others = useOthers(place);
  const voice = useVoice(place, others);
  const { videoinput } = useDevices().all;
  useEffect(() => desk.found(videoinput), [videoinput]);
  const { room, me } = place;
  const sources = publishers(room);
  const on = cameras.filter((c) => c.on);
  const mine = new Set([voice, ...cameras.map((c) => c.publisher), `${voice}-screen`]);
  const used = taken(sources, others, me?.id, mine);
  const isTaken = (publisher: string) => used.has(publisher) || mine.has(publisher);
  useAwake(on.length > 0 && !privacy);
  useCrowd(desk, known ? limits.muteFrom : 0, others.length, place.view.state === 'open');
  useTitle(decided, on.some((c) => reports.get(c.device)?.state === 'device-lost'));

  // What the others are told.
  const report = desk.report(VOICE);
  const mute = report.state === 'failed' || report.state === 'refused' || report.state === 'device-lost';
  const told = {
    microphone: (mute ? 'none' : microphone && !privacy ? 'on' : 'off') as Device,
    camera: (!cameras.length ? 'none' : on.length && !privacy ? 'on' : 'off') as Device,
    privacy,
    publishers: [voice, ...on.map((c) => c.publisher), ...(screen ? [`${voice}-screen`] : [])].filter(Boolean).slice(0, MOST),
  };
  useLayoutEffect(() => place.change(told), [JSON.stringify(told)]);

  const level = useVoiceLevel(desk, privacy);
  const muted = useSpeaking(level, !microphone && !privacy);
  return (
    <div class="hospital">
      {voice && asked && <VoiceSource desk={desk} voice={voice} paused={privacy || !microphone} />}
      {voice && <Listener voice={voice} me={me} on={hearing} onChange={(h) => heard.set(h)} />}
      <Board decided={decided} reports={reports} voice={report} voiceLevel={level} hearing={sound} room={room} known={place.view.state === 'open'} people={others} />
      {muted && (
        <Banner
          kind="warn"
          title={words.microphone.muteHint}
          actions={
            <Button icon="microphone" onClick={() => desk.microphone(true)}>
              {words.microphone.turnOn}
            </Button>
          }
        >
          {words.microphone.muteHintMore}
        </Banner>
      )}
      {mute && microphone && !privacy && (
        <Banner
          kind="warn"
          title={report.words}
          actions={
            report.state !== 'device-lost' && (
              <Button icon="microphone" onClick={() => desk.retry(VOICE)}>
                {words.microphone.again}
              </Button>
            )
          }
        >
          {report.detail} {words.microphone.listen}
        </Banner>
      )}
      <div class="hospital-columns">
        <section class="cameras" aria-labelledby="cameras">
          <h2 id="cameras" class="unseen">
            {words.cameras}
          </h2>
          <div class="tiles">
            {cameras.map((camera, i) => (
              <CameraTile
                key={camera.device}
                desk={desk}
                camera={camera}
                number={i + 1}
                report={desk.report(camera.device)}
                privacy={privacy}
                limits={limits}
                room={room}
                source={sources.find((s) => s.name === camera.publisher)}
                me={me?.id}
                isTaken={isTaken}
              />
            ))}
            {voice && <ScreenTile desk={desk} voice={voice} privacy={privacy} active={screen} />}
            {cameras.length > 0 && (
              <Button icon="plus" size="large" class="add-another" keys="a" onClick={() => adding.set(true)}>
                {words.add}
              </Button>
            )}
          </div>
          {cameras.length === 0 && (
            <div class="empty">
              <Icon name="camera" />
              <p>
                <strong>{words.none}</strong>
              </p>
              <p class="soft">{words.noneMore}</p>
              <Button icon="plus" kind="primary" size="large" keys="a" onClick={() => adding.set(true)}>
                {words.add}
              </Button>
            </div>
          )}
        </section>
        <div class="aside">
          <Faces place={place} others={others} />
          <Present place={place} cameras={new Map(cameras.map((c) => [c.publisher, c.name]))} screen={`${voice}-screen`} others={others} privacy={privacy} />
        </div>
      </div>
      <AddCamera desk={desk} quality={bounds({ quality: '', bitrate: 0 }, limits, saver).quality} open={open} onClose={() => adding.set(false)} isTaken={isTaken} />
    </div>
  );
}

// A ScreenTile is there before the screen is shared: browsers want the click itself to
// start it.
function ScreenTile({ desk, voice, privacy, active }: { desk: Desk; voice: string; privacy: boolean; active: boolean }): JSX.Element {
  const report = desk.report(SCREEN);
  const failed = report.state === 'failed' || report.state === 'refused';
  useEffect(() => {
    if (failed && report.reason !== 'denied') toast(`${report.words}. ${report.detail}`, 'warn');
    else if (failed) toast(words.screen.failed);
  }, [failed]);
  const live = report.state === 'live';
  return (
    <div hidden={!active} class="screen-tile">
      <Tile
        label={words.screen.name}
        state={privacy ? 'paused' : report.state}
        {...(privacy ? { words: words.privacy.tile, detail: words.privacy.tileMore } : report.words ? { words: report.words, detail: report.detail } : {})}
        hasPicture={live}
        controls={
          <Button icon="screen" size="large" keys="s" onClick={() => desk.unshare()}>
            {words.screen.stop} <kbd aria-hidden="true">S</kbd>
          </Button>
        }
      >
        <ScreenSource desk={desk} voice={voice} paused={privacy} active={active} />
      </Tile>
    </div>
  );
}

// Present is who is here, and what each of them watches.
function Present({ place, cameras, screen, others, privacy }: { place: Place; cameras: ReadonlyMap<string, string>; screen: string; others: readonly Participant[]; privacy: boolean }): JSX.Element {
  const { room, people, me } = place;
  const w = words.people;
  const sources = publishers(room).filter((s) => cameras.has(s.name) || s.name === screen);
  const does = (p: Participant) => {
    if (p.id === me?.id) return null;
    if (privacy) return <span class="soft">{w.nothing}</span>;
    const names = sources.filter((s) => s.tracks.some((t) => t.watchers?.includes(p.id))).map((s) => cameras.get(s.name) ?? words.screen.name);
    const all = [names.length ? w.watches(names) : '', p.listening ? w.listens : ''].filter(Boolean);
    return <span class="soft">{all.join(' · ') || w.doesNot}</span>;
  };
  const listeners = Math.max(0, (room?.listeners ?? 0) - people.filter((p) => p.listening).length);
  return (
    <section class="card present" aria-labelledby="present">
      <h2 id="present">{w.title}</h2>
      {room && others.length === 0 && <p class="soft">{w.alone}</p>}
      {others.length > 0 && <People people={people} me={me?.id} actions={does} />}
      {listeners > 0 && <p class="soft">{w.listeners(listeners)}</p>}
    </section>
  );
}

// useCrowd begins muted where many are here already; it decides once.
function useCrowd(desk: Desk, from: number, others: number, open: boolean): void {
  const decided = useRef(false);
  useEffect(() => {
    if (!open || !from || decided.current) return;
    decided.current = true;
    if (others < from || !desk.now.microphone) return;
    desk.microphone(false);
    toast(words.microphone.crowded(others), 'warn', 15_000);
  }, [open, from]);
}

// useTitle says the worst in the browser's tab.
function useTitle({ privacy }: { privacy: boolean }, lost: boolean): void {
  const [usual] = useState(document.title);
  useEffect(() => {
    document.title = privacy ? `${words.page.privacy} · ${usual}` : lost ? `${words.page.lost} · ${usual}` : usual;
  }, [privacy, lost]);
}
