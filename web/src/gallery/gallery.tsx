// For those who build the pages: each part in each of its states, to be looked at. It is
// no part of the product; make screenshots bundles and serves it.
import { render, type ComponentChildren, type JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';

import type { Participant } from '../client/rooms.ts';
import { explain } from '../media/devices.ts';
import { SelfViewCard, TestCard } from '../pages/lobby.tsx';
import { Banner } from '../ui/banner.tsx';
import { Button, IconButton } from '../ui/button.tsx';
import { choose, paint } from '../ui/choices.ts';
import { CopyField, Links, playing, publishing } from '../ui/copy.tsx';
import { DebugTable } from '../ui/debug.tsx';
import { Confirm, Dialog } from '../ui/dialog.tsx';
import { Choice, Select, Switch, TextField } from '../ui/field.tsx';
import { Frame } from '../ui/frame.tsx';
import { Help, helpOpen, listen, useHotkeys } from '../ui/hotkeys.tsx';
import { Icon, type IconName } from '../ui/icons.tsx';
import { Menu, type Action } from '../ui/menu.tsx';
import { Meter } from '../ui/meter.tsx';
import { People } from '../ui/people.tsx';
import { Settings, settingsOpen } from '../ui/settings.tsx';
import { ConnectionQuality, LossMark, StateBadge, type State } from '../ui/state.tsx';
import { Tile } from '../ui/tile.tsx';
import { Toasts, toast } from '../ui/toasts.tsx';

const nothing = () => {};
const level = () => 0.08;

function Picture({ tall }: { tall?: boolean }): JSX.Element {
  const ref = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const canvas = ref.current;
    const c = canvas?.getContext('2d');
    if (!canvas || !c) return;
    [canvas.width, canvas.height] = tall ? [720, 1280] : [1280, 720];
    const { width: w, height: h } = canvas;
    c.fillStyle = '#223';
    c.fillRect(0, 0, w, h);
    ['#c33', '#3a3', '#36c', '#cc3', '#3cc', '#c3c', '#ddd'].forEach((colour, i) => {
      c.fillStyle = colour;
      c.fillRect((i * w) / 7, 0, w / 7, h * 0.6);
    });
    c.strokeStyle = '#fff';
    c.lineWidth = 8;
    c.strokeRect(4, 4, w - 8, h - 8); // its edges must be seen: nothing is cropped
    c.fillStyle = '#fff';
    c.font = '64px sans-serif';
    c.fillText('TR 2500  TE 90  FOV 240', 60, h * 0.82);
  }, []);
  return <canvas ref={ref} />;
}

const actions: Action[] = [
  { label: 'Full screen', icon: 'full', run: nothing, keys: 'F' },
  { label: 'Save a still', icon: 'still', run: nothing, keys: 'S' },
  { label: 'Addresses and commands', icon: 'copy', run: nothing },
  { label: 'Open alone', icon: 'link', run: nothing, href: '#' },
  { label: 'Remove', icon: 'remove', run: nothing, danger: true },
];

function person(id: string, name: string, role: string, what: Partial<Participant> = {}): Participant {
  return { id, name, role, since: id, microphone: 'on', camera: 'off', hand: false, handSince: what.hand ? id : null, privacy: false, call: '', publishers: [], speaking: false, listening: true, ...what };
}

const people = [
  person('1', 'Anna Berg', 'hospital', { camera: 'on', call: 'technician' }),
  person('2', 'Dr. Maximiliane Hohenstein-Oberwiesenthal', 'technician', { speaking: true }),
  person('3', 'Piet', 'technician', { microphone: 'off', hand: true }),
  person('4', 'OR 3', 'meeting', { microphone: 'none', camera: 'none' }),
  person('5', 'Station', 'hospital', { privacy: true, microphone: 'off' }),
];

const icons: IconName[] = [
  'microphone', 'microphone-off', 'camera', 'camera-off', 'screen', 'speaker', 'speaker-off', 'privacy', 'eye', 'call', 'hand', 'people', 'settings', 'help', 'leave', 'close', 'more',
  'copy', 'check', 'full', 'enlarge', 'still', 'plus', 'remove', 'info', 'warn', 'alarm', 'link', 'back', 'next', 'download', 'pin', 'debug', 'pause', 'play',
];

function Buttons(): JSX.Element {
  return (
    <>
      <div class="row">
        <Button>Plain</Button>
        <Button icon="plus" kind="primary">
          Primary
        </Button>
        <Button icon="remove" kind="danger">
          Remove
        </Button>
        <Button icon="privacy" kind="privacy">
          Privacy
        </Button>
        <Button icon="settings" kind="quiet">
          Quiet
        </Button>
        <Button disabled icon="plus">
          Disabled
        </Button>
        <Button disabled kind="primary">
          Disabled
        </Button>
        <Button pressed icon="microphone">
          On
        </Button>
        <Button pressed={false} icon="microphone-off">
          Off
        </Button>
      </div>
      <div class="row">
        <Button size="large" icon="privacy" kind="privacy">
          Pause all cameras and microphones
        </Button>
        <Button size="large" icon="call" kind="primary">
          Call the technician
        </Button>
        <Button size="large" icon="microphone" pressed>
          Microphone
        </Button>
      </div>
      <div class="row">
        {icons.map((icon) => (
          <IconButton key={icon} icon={icon} label={icon} kind="quiet" />
        ))}
      </div>
      <div class="row">
        <Menu label="More" actions={actions} />
        <Menu label="With words" actions={actions}>
          With words
        </Menu>
      </div>
    </>
  );
}

function Fields(): JSX.Element {
  const [on, setOn] = useState(true);
  const [theme, setTheme] = useState<'system' | 'dark' | 'light'>('system');
  return (
    <>
      <TextField label="Your name" value="Anna Berg" onInput={nothing} hint="The others in the room see it." />
      <TextField label="Name of the room" value="MRI #2" onInput={nothing} error="“#” can’t be in a room’s name. It has letters, digits, and . _ - only." />
      <TextField label="Disabled" value="" onInput={nothing} disabled />
      <Select label="Camera" value="b" onChange={nothing} options={[{ value: 'a', label: 'Chosen by the system' }, { value: 'b', label: 'Logitech BRIO with a rather long name that needs more room than there is' }]} />
      <Select label="Loudspeaker" value="" onChange={nothing} options={[{ value: '', label: 'No loudspeaker found' }]} disabled />
      <Switch label="Save data" hint="Smaller pictures, for a slow or costly network." checked={on} onChange={setOn} />
      <Switch label="Sound only" checked={!on} onChange={(v) => setOn(!v)} />
      <Choice<'system' | 'dark' | 'light'> label="Colours" value={theme} onChange={setTheme} options={[{ value: 'system', label: 'As the system' }, { value: 'light', label: 'Light' }, { value: 'dark', label: 'Dark' }]} />
      <CopyField label="WHIP address" text="https://gateway.example.org/whip/mri-2/console" />
      <Meter label="Microphone" level={level} />
      <Meter label="Loud" level={() => 0.9} />
      <Meter label="None" level={undefined} />
    </>
  );
}

function Banners(): JSX.Element {
  return (
    <>
      <Banner kind="info" title="You can also enter without a camera" onClose={nothing}>
        You see and hear the others.
      </Banner>
      <Banner kind="good" title="The connection is good" />
      <Banner kind="warn" title="The gateway does not answer" actions={<Button>Try again</Button>}>
        This page tries again by itself. What stands here may be old.
      </Banner>
      <Banner kind="alarm" title="The camera “console” is unplugged" actions={<Button>Choose another</Button>} onClose={nothing}>
        Plug it in again: it goes on by itself.
      </Banner>
      <Banner kind="privacy" big title="Privacy: everything is paused" actions={<Button size="large">Go on</Button>}>
        No camera and no microphone of this room is sent to anybody.
      </Banner>
      <Banner kind="alarm" big title="Anna Berg calls" actions={<Button size="large">Answer</Button>}>
        Hospital, room MRI-2
      </Banner>
    </>
  );
}

const states: State[] = [
  'idle', 'off', 'starting', 'connecting', 'waiting', 'live', 'frozen', 'stalled', 'reconnecting', 'ended', 'gone', 'busy', 'refused', 'failed', 'unplayable', 'paused', 'device-lost',
];

function States(): JSX.Element {
  return (
    <>
      <div class="row">
        {states.map((s) => (
          <StateBadge key={s} state={s} />
        ))}
      </div>
      <div class="row">
        {[0.002, 0.014, 0.034, 0.081].flatMap((loss) => [<LossMark key={`p${loss}`} loss={loss} leg="publisher" />, <LossMark key={`o${loss}`} loss={loss} leg="own" />])}
      </div>
      <div class="row">
        {(['unknown', 'good', 'fair', 'poor', 'lost'] as const).map((q) => (
          <ConnectionQuality key={q} quality={q} />
        ))}
      </div>
      <People people={people} me="3" actions={(p) => (p.hand ? <Button>Lower hand</Button> : <Button icon="microphone-off">Mute</Button>)} />
      <People people={[]} />
    </>
  );
}

function Tiles(): JSX.Element {
  const legs = { publisher: { state: 'live', loss: 0.0002, rttMs: 12 }, own: { loss: 0.012, rttMs: 31 } };
  return (
    <div class="tiles">
      <Tile label="Console" sub="Hospital" state="live" hasPicture actions={actions} onOpen={nothing} hotkey="1" {...legs}>
        <Picture />
      </Tile>
      <Tile label="Gantry, portrait" sub="Hospital" state="live" hasPicture speaking level={level} actions={actions} onOpen={nothing} publisher={{ loss: 0.034 }} own={{ loss: 0.081 }}>
        <Picture tall />
      </Tile>
      <Tile label="Injector" state="frozen" hasPicture age={7_300} detail="Nothing new has come from the camera." actions={actions} onOpen={nothing}>
        <Picture />
      </Tile>
      <Tile label="A label that is much too long for the room that there is for it" sub="Hospital" state="reconnecting" hasPicture age={13_000} detail="The connection was lost." actions={actions} onOpen={nothing}>
        <Picture />
      </Tile>
      <Tile label="Table" state="reconnecting" words="Moving" hasPicture age={2_300} detail="The room is being moved to another server. The picture comes back by itself." actions={actions} onOpen={nothing}>
        <Picture />
      </Tile>
      <Tile label="Monitor" state="reconnecting" words="The name is taken" detail="Another page or encoder has it now. End that one, or take another name here." controls={<Button icon="camera-off">Turn off</Button>} />
      <Tile label="Door" state="connecting" actions={actions} onOpen={nothing} />
      <Tile label="Patient" state="paused" detail="The hospital has paused all cameras and microphones." actions={actions} onOpen={nothing} />
      <Tile label="Contrast" state="ended" detail="The picture comes back by itself when the camera does." actions={actions} onOpen={nothing} />
      <Tile label="Encoder" state="unplayable" detail="This browser can’t decode what the camera sends." actions={actions} />
      <Tile label="console" state="device-lost" detail="It goes on as soon as the camera is there again." controls={<><Button icon="camera">Choose another</Button><Button icon="remove" kind="danger">Remove</Button></>} />
      <Tile label="screen" sub="You share this" state="live" hasPicture controls={<><Button icon="pause">Off</Button><Button icon="remove">Remove</Button></>}>
        <Picture />
      </Tile>
    </div>
  );
}

function Enlarged(): JSX.Element {
  return (
    <Tile label="Console" sub="Hospital" state="live" hasPicture enlarged actions={actions} onOpen={nothing} publisher={{ state: 'live', loss: 0.012, rttMs: 12.4 }} own={{ loss: 0.034, rttMs: 31 }}>
      <Picture />
    </Tile>
  );
}

function Debugging(): JSX.Element {
  const video = { codec: 'H264', bitrate: 1_234_000, loss: 0, packetsLost: 3, width: 1280, height: 720, fps: 29.7, jitterMs: 3.2 };
  const audio = { codec: 'opus', bitrate: 33_000, loss: 0.034, packetsLost: 30, jitterMs: 11 };
  return (
    <DebugTable
      onClose={nothing}
      rows={[
        { name: 'console', direction: 'in', now: { connection: 'connected', path: 'udp', rttMs: 12.2, timeToFirstFrame: 412, video, audio } },
        { name: 'gantry', direction: 'in', now: { connection: 'disconnected', path: 'tcp', video: { ...video, loss: 0.081, bitrate: 0, fps: 0 } } },
        { name: 'technician', direction: 'out', now: { connection: 'connected', path: 'relay', rttMs: 44, video: { ...video, limitation: 'bandwidth' } } },
        { name: 'everybody', direction: 'in', now: undefined },
      ]}
    />
  );
}

function LinksBox(): JSX.Element {
  const whep = 'https://gateway.example.org/whep/mri-2/console';
  return (
    <>
      <Links url={whep} label="WHEP address" commands={playing(whep, 'https://gateway.example.org/watch/mri-2/console', 'se"cret')} secret />
      {publishing('https://gateway.example.org/whip/mri-2/console').map((c) => (
        <CopyField key={c.name} label={c.name} text={c.text} code />
      ))}
      {playing(whep, 'https://gateway.example.org/watch/mri-2/console').map((c) => (
        <CopyField key={c.name} label={c.name} text={c.text} code={c.text.length > 72} />
      ))}
    </>
  );
}

function Whole(): JSX.Element {
  return (
    <Frame
      room="MRI-2"
      name="Anna Berg"
      role="hospital"
      people={people}
      me="1"
      quality="good"
      onLeave={nothing}
      banners={<Banner kind="warn" title="Nobody listens yet">You can call the technician.</Banner>}
      dock={
        <>
          <Button size="large" icon="microphone" pressed>
            Microphone
          </Button>
          <Button size="large" icon="screen">
            Share screen
          </Button>
          <Button size="large" icon="call">
            Call
          </Button>
          <Button size="large" icon="privacy" kind="privacy">
            Privacy
          </Button>
        </>
      }
    >
      <div class="tiles">
        <Tile label="Console" state="live" hasPicture actions={actions} onOpen={nothing}>
          <Picture />
        </Tile>
        <Tile label="Gantry" state="live" hasPicture actions={actions} onOpen={nothing} own={{ loss: 0.02 }}>
          <Picture />
        </Tile>
        <Tile label="Injector" state="connecting" actions={actions} onOpen={nothing} />
      </div>
    </Frame>
  );
}

function Lobbies(): JSX.Element {
  const all = { level: undefined, withMicrophone: true, withCamera: true, onStart: nothing };
  const err = (name: string) => new DOMException('Permission denied', name);
  return (
    <div class="columns lobby-columns">
      <SelfViewCard {...all} state="starting" opened={{}} />
      <SelfViewCard {...all} state="on" opened={{ cameraTrouble: explain(err('NotAllowedError'), 'camera'), microphoneTrouble: explain(err('NotFoundError'), 'microphone') }} />
      <SelfViewCard {...all} state="on" opened={{ cameraTrouble: explain(err('NotReadableError'), 'camera') }} />
      <div class="stack">
        <TestCard step="receive" onRun={nothing} />
        {(['good', 'fair', 'poor'] as const).map((quality) => (
          <TestCard key={quality} result={{ step: 'receive', quality, rttMs: 23, sent: 0.001, received: 0.034, path: 'udp' }} onRun={nothing} />
        ))}
        {(['silent', 'blocked', 'not-allowed', 'busy', 'refused'] as const).map((failed) => (
          <TestCard key={failed} result={{ step: 'send', quality: 'lost', failed, detail: 'The publisher can’t be taken now.' }} onRun={nothing} />
        ))}
      </div>
    </div>
  );
}

function Keys(): JSX.Element {
  useHotkeys([
    { key: 'm', does: 'Turn the microphone on or off', run: nothing },
    { key: ' ', does: 'Speak while it is held', run: nothing },
    { key: '1', shown: '1 … 9', does: 'Enlarge a picture, and back', run: nothing },
    { key: 'arrowleft', does: 'The picture before', run: nothing },
  ]);
  useEffect(() => helpOpen.set(true), []);
  return <Help />;
}

function SettingsOpen(): JSX.Element {
  useEffect(() => settingsOpen.set(true), []);
  return <Settings />;
}

function Said(): JSX.Element {
  useEffect(() => {
    const long = 1e9;
    toast('Piet has entered the room.', 'info', long);
    toast('The room’s address is copied.', 'good', long);
    toast('This browser does not let the page copy. Select the text and copy it by hand.', 'warn', long);
    toast('The camera “gantry” is unplugged.', 'alarm', long);
  }, []);
  return <Toasts />;
}

const parts: Record<string, () => ComponentChildren> = {
  buttons: () => <Buttons />,
  fields: () => <Fields />,
  banners: () => <Banners />,
  states: () => <States />,
  tiles: () => <Tiles />,
  enlarged: () => <Enlarged />,
  links: () => <LinksBox />,
  lobby: () => <Lobbies />,
  debug: () => <Debugging />,
  toasts: () => <Said />,
  help: () => <Keys />,
  settings: () => <SettingsOpen />,
  people: () => (
    <Dialog title="People here: 5" open onClose={nothing} actions={<Button icon="link">Copy this room’s address</Button>}>
      <People people={people} me="3" />
    </Dialog>
  ),
  confirm: () => (
    <Confirm title="Remove the camera “console”?" open onClose={nothing} onConfirm={nothing} confirm="Remove" danger>
      <p>The technicians don’t see it any more. You can add it again at any time.</p>
    </Confirm>
  ),
};

const query = new URLSearchParams(location.search);
paint();
choose({ theme: (query.get('theme') ?? 'system') as 'system' | 'light' | 'dark' });
listen();
const part = query.get('part') ?? '';
const show = parts[part];
render(
  part === 'frame' ? (
    <Whole />
  ) : (
    <div class="page">
      <main>
        {show ? (
          <div class="stack">{show()}</div>
        ) : (
          <ul>
            {['frame', ...Object.keys(parts)].map((name) => (
              <li key={name}>
                <a href={`?part=${name}`}>
                  <Icon name="next" /> {name}
                </a>
              </li>
            ))}
          </ul>
        )}
      </main>
    </div>
  ),
  document.getElementById('app')!,
);
