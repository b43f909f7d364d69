// One's own microphone and camera, and the sound of the room.
import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';

import type { Room } from '../client/rooms.ts';
import { Button } from '../ui/button.tsx';
import { choices, choose } from '../ui/choices.ts';
import { useHotkeys } from '../ui/hotkeys.tsx';
import { Icon, type IconName } from '../ui/icons.tsx';
import { Menu } from '../ui/menu.tsx';
import { Meter } from '../ui/meter.tsx';
import { settingsOpen } from '../ui/settings.tsx';
import { useStore, useTick } from '../ui/store.ts';
import type { Desk } from './desk.ts';
import { linksOpen } from './links.tsx';
import type { Use } from './own.ts';
import { toggleFull, useFull } from './wall.tsx';
import { w } from './words.ts';
import { words } from '../ui/strings.ts';

export function Dock({ desk, room }: { desk: Desk; room: Room | undefined }): JSX.Element {
  const own = useStore(desk.own.store);
  useStore(desk.heard);
  useTick(1_000); // whether the browser plays sound is told by nobody
  const silent = desk.mix.muted || desk.mix.blocked; // by him, or by the browser
  const audioOnly = useStore(choices, (c) => c.audioOnly);
  const full = useFull();
  const speak = () => void desk.own.speak(own.microphone !== 'on');
  const show = () => void desk.own.show(own.camera !== 'on');
  const hear = () => {
    desk.mix.muted = !silent;
    desk.heard.set(desk.heard.value + 1);
  };
  const group = w.keys.sound;
  useHotkeys([
    { key: 'm', does: w.keys.mute, run: speak, group },
    { key: 'c', does: w.keys.camera, run: show, group },
    { key: 'l', does: w.keys.speaker, run: hear, group },
  ]);

  const sound = silent ? 'off' : desk.mix.state === 'live' ? 'on' : desk.mix.state === 'connecting' ? 'waiting' : 'lost';
  const speakers = speaking(room, desk.voice.value);
  const publishes = own.microphone === 'on';
  const unheard = publishes && own.publishing !== 'live' && own.publishing !== 'idle' && own.publishing !== 'starting' && own.publishing !== 'connecting';
  return (
    <>
      {own.muted && (
        <p class="hint-bubble" role="status">
          <Icon name="microphone-off" /> {w.dock.muted}
        </p>
      )}
      <div class="dock-part">
        <Toggle icon={own.microphone === 'on' ? 'microphone' : 'microphone-off'} use={own.microphone} text={unheard ? (own.publishing === 'refused' || own.publishing === 'failed' ? w.dock.voiceRefused : w.dock.voiceLost) : w.dock.microphone[own.microphone]} todo={w.dock.microphoneDo[own.microphone]} hotkey="m" bad={unheard} onClick={speak} />
        <Meter label={w.dock.own} level={own.microphone === 'on' || own.microphone === 'off' ? desk.own.level : undefined} small />
      </div>
      <div class="dock-part">
        <Toggle icon={own.camera === 'on' ? 'camera' : 'camera-off'} use={own.camera} text={w.dock.camera[own.camera]} todo={w.dock.cameraDo[own.camera]} hotkey="c" onClick={show} />
        {own.camera === 'on' && <SelfView desk={desk} />}
      </div>
      <div class="dock-part">
        <Toggle icon={silent ? 'speaker-off' : 'speaker'} use={silent ? 'off' : 'on'} text={w.dock.sound[sound]} todo={silent ? w.dock.soundDo.off : w.dock.soundDo.on} hotkey="l" bad={sound === 'lost'} onClick={hear} />
        <Meter label={w.dock.room} level={() => (silent ? 0 : desk.mix.level)} small />
      </div>
      <p class="speakers" aria-live="off">
        {speakers.length > 0 && (
          <span class="sign good">
            <Icon name="speaker" />
            {w.dock.speaks(speakers)}
          </span>
        )}
      </p>
      <div class="dock-part more">
        {document.fullscreenEnabled && (
          <Button icon="full" pressed={full} onClick={toggleFull} keys="f" title={w.dock.key(full ? w.actions.notFull : w.actions.full, 'F')} label={w.actions.full} />
        )}
        <Menu
          label={w.actions.more}
          actions={[
            { label: audioOnly ? w.withPictures : w.actions.audioOnly, icon: audioOnly ? 'eye' : 'speaker', run: () => choose({ audioOnly: !audioOnly }) },
            { label: w.actions.publish, icon: 'plus', run: () => linksOpen.set({ what: 'publish', name: '' }) },
            { label: words.settings.devices, icon: 'settings', run: () => settingsOpen.set(true), keys: ',' },
          ]}
        />
      </div>
    </>
  );
}

interface ToggleProps {
  icon: IconName;
  use: Use;
  text: string; // what is
  todo: string; // what it does
  hotkey: string;
  bad?: boolean;
  onClick(): void;
}

// A Toggle says what is; its tip, and those who listen, what it does.
function Toggle({ icon, use, text, todo, hotkey, bad, onClick }: ToggleProps): JSX.Element {
  return (
    <Button icon={icon} class={`toggle ${bad ? 'bad' : use}`} disabled={use === 'starting'} onClick={onClick} keys={hotkey} title={w.dock.key(todo, hotkey.toUpperCase())} label={`${text}. ${todo}`}>
      {text}
    </Button>
  );
}

function SelfView({ desk }: { desk: Desk }): JSX.Element {
  const video = useRef<HTMLVideoElement>(null);
  useEffect(() => {
    const show = () => {
      if (!video.current) return;
      video.current.srcObject = desk.own.stream;
      void video.current.play().catch(() => {});
    };
    show();
    desk.own.addEventListener('tracks', show);
    return () => desk.own.removeEventListener('tracks', show);
  }, []);
  return <video ref={video} class="self-thumb" playsInline muted aria-label={w.dock.self} />;
}

// speaking are the names of those who speak now, as the others know them.
function speaking(room: Room | undefined, mine: string): string[] {
  const out: string[] = [];
  for (const p of room?.publishers ?? []) {
    if (!p.speaking || p.name === mine) continue;
    const person = room?.participants?.find((o) => o.publishers[0] === p.name);
    out.push(person?.name ?? (p.label || p.name));
  }
  return out.slice(0, 3);
}
