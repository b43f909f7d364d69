// What all pages of a room have around them.
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';

import type { Participant, Publisher } from '../client/rooms.ts';
import { useMay } from './account.tsx';
import { Button, IconButton } from './button.tsx';
import { copy } from './copy.tsx';
import { Debug, readings } from './debug.tsx';
import { note } from './diagnostics.ts';
import { Dialog } from './dialog.tsx';
import { milliseconds, percent, quality, type Quality } from './format.ts';
import { Help, helpOpen, useHotkeys } from './hotkeys.tsx';
import { Invite, inviteOpen } from './invite.tsx';
import { People, roleName } from './people.tsx';
import { Settings, settingsOpen } from './settings.tsx';
import { ConnectionQuality } from './state.tsx';
import { useStore } from './store.ts';
import { words } from './strings.ts';
import { Toasts, toast } from './toasts.tsx';

export interface FrameProps {
  room: string;
  name: string; // of the person
  role: string;
  people: readonly Participant[];
  sources?: readonly Publisher[]; // of the room, for invitations
  me?: string | undefined; // id
  peopleActions?: (p: Participant) => ComponentChildren;
  peopleKey?: string; // shows who is here
  quality?: Quality; // else that of what debug.measure reads
  onLeave(): void;
  leave?: string; // what the button says
  children: ComponentChildren;
  dock?: ComponentChildren; // buttons at the bottom: microphone, camera, privacy
  banners?: ComponentChildren; // above everything else
}

// A Frame is a whole page: top bar, banners, what the page is for, dock.
export function Frame(props: FrameProps): JSX.Element {
  const { room, name, role, people, me, peopleActions, peopleKey = 'p', onLeave, leave = words.frame.leave, children, dock, banners } = props;
  const [peopleOpen, setPeopleOpen] = useState(false);
  const measured = useQuality();
  const admin = useMay('room:admin');
  const general = words.hotkeys.general;
  useHotkeys([
    { key: peopleKey, does: words.hotkeys.people, run: () => setPeopleOpen(true), group: general },
    { key: ',', does: words.hotkeys.settings, run: () => settingsOpen.set(true), group: general },
  ]);
  return (
    <div class="frame">
      <a class="skip" href="#main" onClick={skip}>
        {words.frame.skip}
      </a>
      <header class="top">
        <div class="top-where">
          <h1>
            <span class="unseen">{words.frame.room} </span>
            {room}
          </h1>
          <p class="me">
            <span class="me-name">{name || words.frame.noName}</span>
            {role && name !== roleName(role) && <span class={`role ${role}`}>{roleName(role)}</span>}
          </p>
        </div>
        <nav class="top-tools" aria-label={words.frame.tools}>
          <ConnectionQuality quality={props.quality ?? measured.quality} detail={measured.detail} />
          <Button icon="people" kind="quiet" onClick={() => setPeopleOpen(true)} keys={peopleKey} label={words.frame.people(people.length)} title={words.frame.people(people.length)}>
            {people.length}
          </Button>
          <IconButton icon="settings" kind="quiet" label={words.frame.settings} keys="," onClick={() => settingsOpen.set(true)} />
          <IconButton icon="help" kind="quiet" label={words.frame.help} keys="?" onClick={() => helpOpen.set(true)} />
          <Button icon="leave" kind="plain" class="leave" onClick={onLeave}>
            {leave}
          </Button>
        </nav>
      </header>
      {banners && <div class="banners">{banners}</div>}
      <main id="main" tabIndex={-1}>
        {children}
      </main>
      {dock && (
        <section class="dock" aria-label={words.frame.dock}>
          {dock}
        </section>
      )}
      <Dialog
        title={words.frame.people(people.length)}
        open={peopleOpen}
        onClose={() => setPeopleOpen(false)}
        actions={
          <>
            <Button icon="link" onClick={() => void copyAddress(room)}>
              {words.frame.copy}
            </Button>
            {admin && (
              <Button
                icon="plus"
                kind="primary"
                onClick={() => {
                  setPeopleOpen(false);
                  inviteOpen.set(true);
                }}
              >
                {words.invite.button}
              </Button>
            )}
          </>
        }
      >
        <People people={people} me={me} {...(peopleActions ? { actions: peopleActions } : {})} />
      </Dialog>
      {admin && <Invite sources={props.sources ?? []} />}
      <Settings />
      <Help />
      <Debug />
      <Toasts />
    </div>
  );
}

// The fragment is the token's, so the link must not go there.
function skip(e: MouseEvent): void {
  e.preventDefault();
  document.getElementById('main')?.focus();
}

// copyAddress copies the room's address, without the token: everybody needs his own.
async function copyAddress(room: string): Promise<void> {
  const path = location.pathname.split('/');
  const at = path.lastIndexOf(room);
  const done = await copy(location.origin + path.slice(0, at + 1).join('/'));
  toast(done ? words.frame.invited : words.copy.failed, done ? 'good' : 'warn');
}

// useQuality is the worst of all connections that the page measures.
export function useQuality(): { quality: Quality; detail?: string } {
  const all = [...useStore(readings).values()];
  const loss = Math.max(0, ...all.map((s) => Math.max(s.audio?.loss ?? 0, s.video?.loss ?? 0)));
  const rttMs = Math.max(0, ...all.map((s) => s.rttMs ?? 0));
  const connected = !all.length || all.some((s) => s.connection === 'connected');
  const now = all.length ? quality({ connected, loss, rttMs }) : 'unknown';
  useEffect(() => note('quality', now), [now]);
  return all.length ? { quality: now, detail: words.quality.detail(percent(loss), milliseconds(rttMs)) } : { quality: now };
}
