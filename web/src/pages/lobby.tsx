// The lobby: who one is, who is here, which devices, and whether the connection will do.
// It receives no picture and no sound of the room.
import type { JSX } from 'preact';
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';

import { Meter as LevelMeter } from '../media/level.ts';
import type { Me } from '../client/rooms.ts';
import { AccountTag, account, useMay } from '../ui/account.tsx';
import { Banner } from '../ui/banner.tsx';
import { Button, IconButton, LinkButton } from '../ui/button.tsx';
import { choices, choose, visited } from '../ui/choices.ts';
import { DevicePickers, allowed, deviceList, openBoth, type Opened } from '../ui/devices.tsx';
import { note } from '../ui/diagnostics.ts';
import { Switch, TextField } from '../ui/field.tsx';
import { milliseconds, percent } from '../ui/format.ts';
import { Help, helpOpen, useHotkeys } from '../ui/hotkeys.tsx';
import { Icon, type IconName } from '../ui/icons.tsx';
import { Invite, inviteOpen } from '../ui/invite.tsx';
import { Meter } from '../ui/meter.tsx';
import { gateway, here, href } from '../ui/page.ts';
import { People } from '../ui/people.tsx';
import { probe, type Result, type Step } from '../ui/probe.ts';
import { Feed, participants, pictures, publishers, type View } from '../ui/room.ts';
import { Settings, settingsOpen } from '../ui/settings.tsx';
import { unlock } from '../ui/sounds.ts';
import { useStore } from '../ui/store.ts';
import { words } from '../ui/strings.ts';
import { Toasts } from '../ui/toasts.tsx';
import { Trouble } from './root.tsx';

const w = words.lobby;

const roles = [
  { role: 'hospital', icon: 'screen' },
  { role: 'technician', icon: 'eye' },
  { role: 'room', icon: 'people' },
] as const satisfies readonly { role: keyof typeof w.roles; icon: IconName }[];

export function Lobby(): JSX.Element {
  const feed = useMemo(() => new Feed(gateway, { room: here.room }), []);
  useEffect(() => {
    feed.start();
    return () => feed.stop();
  }, []);
  const view = useStore(feed.store);
  const admin = useMay('room:admin');
  return (
    <div class="page lobby">
      <header class="top">
        <div class="top-where">
          <h1>
            <span class="unseen">{words.frame.room} </span>
            {here.room}
          </h1>
        </div>
        <nav class="top-tools" aria-label={words.frame.tools}>
          <LinkButton href={href()} icon="back" kind="quiet" class="leave">
            {w.back}
          </LinkButton>
          <AccountTag onClick={() => settingsOpen.set(true)} />
          <IconButton icon="settings" kind="quiet" label={words.frame.settings} keys="," onClick={() => settingsOpen.set(true)} />
          <IconButton icon="help" kind="quiet" label={words.frame.help} keys="?" onClick={() => helpOpen.set(true)} />
        </nav>
      </header>
      <main id="main" tabIndex={-1}>
        <Trouble view={view} />
        <div class="columns lobby-columns">
          <div class="stack">
            <Join />
            <Here view={view} />
          </div>
          <div class="stack">
            <SelfView />
            <Test />
          </div>
        </div>
      </main>
      <LobbyKeys />
      {admin && <Invite sources={publishers(view.rooms[0])} />}
      <Settings />
      <Help />
      <Toasts />
    </div>
  );
}

function LobbyKeys(): null {
  useHotkeys([{ key: ',', does: words.hotkeys.settings, run: () => settingsOpen.set(true), group: words.hotkeys.general }]);
  return null;
}

// ---- who, and as what ----

function Join(): JSX.Element {
  const name = useStore(choices, (c) => c.name);
  const me = useStore(account);
  const [missing, setMissing] = useState(false);
  const form = useRef<HTMLFormElement>(null);
  const enter = (e: Event) => {
    if (!name.trim()) {
      e.preventDefault();
      setMissing(true);
      form.current?.querySelector('input')?.focus();
      return;
    }
    unlock();
    visited(here.room);
  };
  return (
    <section class="card join" aria-labelledby="join">
      <h2 id="join">{w.title(here.room)}</h2>
      <form ref={form} onSubmit={(e) => e.preventDefault()} noValidate>
        <TextField
          label={w.name}
          value={name}
          onInput={(name) => {
            choose({ name });
            setMissing(false);
          }}
          autoComplete="name"
          name="name"
          required
          hint={w.nameHint}
          error={missing && !name.trim() ? w.nameMissing : ''}
        />
      </form>
      <h3>{w.as}</h3>
      <div class="join-roles">
        {roles.filter(({ role }) => offered(role, me)).map(({ role, icon }) => (
          <a key={role} class="button join-role" href={href(here.room, role)} onClick={enter} aria-describedby={`${role}-more`}>
            <Icon name={icon} />
            <span class="words">
              <strong>{w.roles[role].name}</strong>
              <span id={`${role}-more`}>{w.roles[role].more}</span>
            </span>
            <Icon name="next" />
          </a>
        ))}
      </div>
    </section>
  );
}

// offered reports whether somebody may take part so, as far as is known: with a role that he has
// to take, or without one in a meeting; as the hospital if he may show anything.
function offered(role: keyof typeof w.roles, me: Me | undefined): boolean {
  if (!me?.who) return true;
  if (role === 'hospital' && !me.scopes.includes('whip:publish')) return false;
  return role === 'room' || !me.who.role || me.who.role === role;
}

// ---- who is here ----

export function Here({ view }: { view: View }): JSX.Element {
  const room = view.rooms[0];
  const people = participants(room);
  const cameras = pictures(room).length;
  const admin = useMay('room:admin');
  return (
    <section class="card" aria-labelledby="here">
      <h2 id="here">
        {w.here}
        {people.length > 0 && <span class="soft"> · {people.length}</span>}
      </h2>
      {people.length > 0 ? <People people={people} /> : <p class="soft">{w.hereNone[view.state]}</p>}
      {cameras > 0 && <p>{w.sources(cameras)}</p>}
      {admin && (
        <div class="row">
          <Button icon="plus" onClick={() => inviteOpen.set(true)}>
            {words.invite.button}
          </Button>
        </div>
      )}
    </section>
  );
}

// ---- one's own picture and sound ----

function SelfView(): JSX.Element {
  const { withMicrophone, withCamera } = useStore(choices);
  const wanted = useStore(deviceList, (d) => d.chosen);
  const [state, setState] = useState<'off' | 'starting' | 'on'>('off');
  const [opened, setOpened] = useState<Opened>({});
  const run = useRef(0);

  const start = async () => {
    const mine = ++run.current;
    setState('starting');
    const now = await openBoth({ microphone: withMicrophone, camera: withCamera });
    if (mine !== run.current) return stop(now); // asked anew since
    for (const track of [now.microphone, now.camera]) track?.addEventListener('ended', () => mine === run.current && void start());
    setOpened((was) => {
      stop(was);
      return now;
    });
    setState('on');
  };

  // Who has allowed it before is not asked again.
  useEffect(() => {
    void allowed().then((yes) => yes && void start());
    return () => {
      run.current++;
      setOpened((was) => {
        stop(was);
        return {};
      });
    };
  }, []);
  useEffect(() => {
    if (state !== 'off') void start();
  }, [wanted.audioinput, wanted.videoinput, withMicrophone, withCamera]);
  // What was missing or busy may be there now.
  const plugged = useStore(deviceList, ({ all }) => `${all.audioinput.length} ${all.videoinput.length}`);
  useEffect(() => {
    if (state === 'on' && [opened.microphoneTrouble, opened.cameraTrouble].some((t) => t?.passes)) void start();
  }, [plugged]);

  const level = useLevel(opened.microphone);
  return <SelfViewCard {...{ state, opened, level, withMicrophone, withCamera }} onStart={() => void start()} />;
}

export interface SelfViewCardProps {
  state: 'off' | 'starting' | 'on';
  opened: Opened;
  level: (() => number) | undefined;
  withMicrophone: boolean;
  withCamera: boolean;
  onStart(): void;
}

export function SelfViewCard({ state, opened, level, withMicrophone, withCamera, onStart }: SelfViewCardProps): JSX.Element {
  const video = useRef<HTMLVideoElement>(null);
  useEffect(() => {
    if (!video.current) return;
    video.current.srcObject = opened.camera ? new MediaStream([opened.camera]) : null;
    if (opened.camera) void video.current.play().catch(() => {});
  }, [opened.camera]);
  const troubles = [opened.cameraTrouble, opened.microphoneTrouble].filter((t) => t !== undefined);
  return (
    <section class="card self" aria-labelledby="self">
      <h2 id="self">{w.self}</h2>
      <div class={`self-view ${opened.camera ? 'shown' : ''}`}>
        <video ref={video} playsInline muted aria-label={w.selfView} hidden={!opened.camera} />
        {!opened.camera && (
          <div class="self-off">
            <Icon name="camera-off" />
            <p role="status">{state === 'starting' ? w.starting : w.off}</p>
          </div>
        )}
      </div>
      {state === 'off' && (
        <div class="self-ask">
          <Button kind="primary" icon="camera" size="large" onClick={onStart}>
            {w.on}
          </Button>
          <p class="hint">
            {w.onHint} {w.without}
          </p>
        </div>
      )}
      {troubles.map((t) => (
        <Banner
          key={t.words}
          kind="warn"
          title={t.words}
          actions={
            <Button onClick={onStart} label={`${w.again}: ${t.words}`}>
              {w.again}
            </Button>
          }
        >
          {t.advice}
        </Banner>
      ))}
      {troubles.length > 0 && <p class="hint">{w.without}</p>}
      {state === 'on' && opened.microphone && (
        <div class="self-level">
          <Icon name="microphone" />
          <Meter label={w.level} level={level} />
          <p class="hint">{w.speak}</p>
        </div>
      )}
      <DevicePickers />
      <Switch label={w.withMicrophone} checked={withMicrophone} onChange={(withMicrophone) => choose({ withMicrophone })} />
      <Switch label={w.withCamera} checked={withCamera} onChange={(withCamera) => choose({ withCamera })} />
    </section>
  );
}

function useLevel(track: MediaStreamTrack | undefined): (() => number) | undefined {
  const [level, setLevel] = useState<(() => number) | undefined>();
  useEffect(() => {
    if (!track) return undefined;
    const meter = new LevelMeter(track);
    setLevel(() => () => meter.level);
    return () => {
      meter.close();
      setLevel(undefined);
    };
  }, [track]);
  return level;
}

function stop(opened: Opened): void {
  opened.microphone?.stop();
  opened.camera?.stop();
}

// ---- connection test ----

function Test(): JSX.Element {
  const [step, setStep] = useState<Step | undefined>();
  const [result, setResult] = useState<Result | undefined>();
  const abort = useRef<AbortController>();
  useEffect(() => () => abort.current?.abort(), []);
  const run = async () => {
    abort.current = new AbortController();
    setResult(undefined);
    const { signal } = abort.current;
    const now = await probe(gateway, here.room, setStep, signal);
    if (signal.aborted) return;
    setStep(undefined);
    setResult(now);
    note('tested');
  };
  return <TestCard step={step} result={result} onRun={() => void run()} />;
}

export function TestCard({ step, result, onRun }: { step?: Step | undefined; result?: Result | undefined; onRun(): void }): JSX.Element {
  return (
    <section class="card test" aria-labelledby="test">
      <h2 id="test">{w.test}</h2>
      <div class="row">
        <Button icon="debug" onClick={onRun} busy={step !== undefined}>
          {result ? w.testAgain : w.testRun}
        </Button>
        <p class="hint" role="status">
          {step ? `${w.steps[step]} …` : result ? '' : w.testHint}
        </p>
      </div>
      {result && <TestResult result={result} />}
    </section>
  );
}

function TestResult({ result: r }: { result: Result }): JSX.Element {
  const [title, todo] = (r.failed && w.fails[r.failed]) || [w.results[r.quality], w.resultsMore[r.quality]];
  const kind = r.failed === 'not-allowed' ? 'info' : r.failed === 'busy' ? 'warn' : r.failed ? 'alarm' : r.quality === 'good' ? 'good' : r.quality === 'fair' ? 'warn' : 'alarm';
  const loss = Math.max(r.sent ?? 0, r.received ?? 0);
  return (
    <Banner kind={kind} title={title}>
      <p>{todo || r.detail}</p>
      {!r.failed && r.rttMs !== undefined && <p class="figures">{w.figures(percent(loss), milliseconds(r.rttMs), w.paths[r.path ?? 'udp'])}</p>}
    </Banner>
  );
}
