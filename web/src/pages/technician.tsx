// The station at /{room}/technician: for somebody far away who must not miss a picture that
// has frozen.
import type { JSX } from 'preact';
import { useEffect, useMemo, useState } from 'preact/hooks';

import { Calls } from '../technician/call.tsx';
import { Desk } from '../technician/desk.ts';
import { Dock } from '../technician/dock.tsx';
import { LinksDialog } from '../technician/links.tsx';
import { Wall } from '../technician/wall.tsx';
import { w } from '../technician/words.ts';
import { Banner } from '../ui/banner.tsx';
import { Button } from '../ui/button.tsx';
import { unlock } from '../ui/sounds.ts';
import { useStore, useTick } from '../ui/store.ts';
import { toast } from '../ui/toasts.tsx';
import type { Trouble } from '../media/devices.ts';
import { Station, type Place } from './station.tsx';

export function Technician(): JSX.Element {
  const desk = useMemo(() => {
    const d = new Desk();
    d.start(); // now, and not when all is drawn: pictures begin with the room's first word
    return d;
  }, []);
  useEffect(() => {
    // A ring needs a page that somebody has touched.
    for (const type of ['pointerdown', 'keydown']) addEventListener(type, unlock, { once: true });
    const lost = (e: Event) => {
      const { label, instead } = (e as CustomEvent<{ label: string; instead?: string }>).detail;
      toast(`${w.deviceLost(label)} ${instead ? w.deviceInstead(instead) : ''}`, 'warn');
    };
    desk.own.addEventListener('lost', lost);
    // A screen that goes dark shows no frozen picture. The browser gives it back when the page is hidden.
    const awake = () => void (document.hidden || navigator.wakeLock?.request('screen').catch(() => {}));
    awake();
    document.addEventListener('visibilitychange', awake);
    const forget = desk.full.subscribe(() => desk.full.value && toast(w.fullRoom, 'warn', 12_000));
    return () => {
      desk.own.removeEventListener('lost', lost);
      document.removeEventListener('visibilitychange', awake);
      forget();
      desk.stop();
    };
  }, []);
  return (
    <Station
      role="technician"
      presence={desk.presence}
      onLeave={() => desk.stop()}
      banners={(place) => <Banners desk={desk} place={place} />}
      dock={({ room }) => <Dock desk={desk} room={room} />}
    >
      {({ view, people }) => (
        <>
          <Wall desk={desk} view={view} people={people} />
          <LinksDialog desk={desk} />
        </>
      )}
    </Station>
  );
}

function Banners({ desk, place: { people, me } }: { desk: Desk; place: Place }): JSX.Element {
  const { microphone, microphoneTrouble, camera, cameraTrouble, publishing, detail } = useStore(desk.own.store);
  useStore(desk.heard);
  useTick(1_000); // whether the browser plays sound is told by nobody
  const discreet = people.filter((p) => p.privacy && p.id !== me?.id);
  return (
    <>
      <Calls
        people={people}
        me={me?.id}
        role="technician"
        onAnswer={async (caller) => {
          await Promise.all([desk.presence.self.answer(caller.id), desk.own.speak(true)]);
          return desk.own.store.value.microphone === 'on';
        }}
      />
      {discreet.map((p) => (
        <Banner key={p.id} kind="privacy" title={w.privacyBanner(p.name)}>
          {w.privacyBannerMore}
        </Banner>
      ))}
      {desk.mix.blocked && desk.mix.state === 'live' && (
        <Banner
          kind="warn"
          title={w.blocked}
          actions={
            <Button
              kind="primary"
              icon="speaker"
              onClick={() => {
                desk.mix.muted = false;
                desk.heard.set(desk.heard.value + 1);
              }}
            >
              {w.unblock}
            </Button>
          }
        >
          {w.blockedMore}
        </Banner>
      )}
      {(publishing === 'refused' || publishing === 'failed') && (
        <Banner kind="warn" title={w.dock.voiceRefused} actions={<Button onClick={() => desk.own.retry()} label={`${w.again}: ${w.dock.voiceRefused}`}>{w.again}</Button>}>
          {detail}
        </Banner>
      )}
      {microphone === 'none' && microphoneTrouble && <DeviceTrouble trouble={microphoneTrouble} onAgain={() => void desk.own.speak(true)} />}
      {camera === 'none' && cameraTrouble && <DeviceTrouble trouble={cameraTrouble} onAgain={() => void desk.own.show(true)} />}
    </>
  );
}

function DeviceTrouble({ trouble, onAgain }: { trouble: Trouble; onAgain(): void }): JSX.Element | null {
  const [closed, setClosed] = useState<Trouble | undefined>();
  if (closed === trouble) return null;
  return (
    <Banner kind="warn" title={trouble.words} actions={<Button onClick={onAgain} label={`${w.again}: ${trouble.words}`}>{w.again}</Button>} onClose={() => setClosed(trouble)}>
      {trouble.advice}
    </Banner>
  );
}
