// What the three stations share: being a participant, and the frame around the page.
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useMemo, useState } from 'preact/hooks';

import { Participation } from '../client/participant.ts';
import type { Participant, Room, Self } from '../client/rooms.ts';
import { account } from '../ui/account.tsx';
import { Banner } from '../ui/banner.tsx';
import { LinkButton } from '../ui/button.tsx';
import { choices, visited } from '../ui/choices.ts';
import { note, state } from '../ui/diagnostics.ts';
import { Frame } from '../ui/frame.tsx';
import { gateway, here, href } from '../ui/page.ts';
import { roleName } from '../ui/people.tsx';
import { Feed, participants, publishers, type View } from '../ui/room.ts';
import { joinSound, leaveSound } from '../ui/sounds.ts';
import { Store, useStore } from '../ui/store.ts';
import { words } from '../ui/strings.ts';
import { Trouble } from './root.tsx';

// What a station gets: the room as it is now, and itself in it.
export interface Place {
  room: Room | undefined; // undefined while nothing is known
  view: View;
  people: Participant[]; // in the order of entering
  me: Participant | undefined; // undefined while not in the room
  change(what: Partial<Self>): void; // tells the others at once
  answer(id: string): Promise<void>; // another's call
  lower(id: string): Promise<void>; // another's hand
}

// A Presence is being in the room, and knowing what is in it. A page that can't wait until
// it is drawn makes its own.
export class Presence {
  readonly feed = new Feed(gateway, { room: here.room, readings: true }, () => this.self.hurry());
  readonly me = new Store<Participant | undefined>(undefined);
  readonly self: Participation;
  #forget: (() => void) | undefined;

  constructor(role: StationProps['role']) {
    const url = gateway.url(`api/rooms/${encodeURIComponent(here.room)}/participants`);
    const name = ownName(choices.value.name, role);
    const start: Self = { name, role: role === 'room' ? '' : role, microphone: 'none', camera: 'none', hand: false, privacy: false, call: '', publishers: [] };
    this.self = new Participation(url, start, {
      token: gateway.token,
      onChange: (me) => this.me.set(me),
      onState: (now, err) => {
        note(`participant ${now}`, err?.detail);
        if (now === 'out') this.me.set(undefined);
      },
    });
  }

  start(): void {
    if (this.#forget) return;
    this.#forget = state('room', () => this.feed.store.value);
    this.feed.start();
    this.self.enter();
    visited(here.room);
  }

  stop(): void {
    this.#forget?.();
    this.#forget = undefined;
    this.self.leave();
    this.feed.stop();
  }
}

// Whoever comes by a deep link has no name yet, and is called as his role is.
const ownName = (name: string, role: string) => name.trim() || roleName(role);

export interface StationProps {
  role: 'hospital' | 'technician' | 'room';
  presence?: Presence;
  children(place: Place): ComponentChildren;
  dock?(place: Place): ComponentChildren;
  banners?(place: Place): ComponentChildren;
  peopleActions?(p: Participant, place: Place): ComponentChildren;
  peopleKey?: string; // shows who is here; 'p' without
  onLeave?(): void; // before the page goes away
}

// A Station is one of the pages in a room.
export function Station({ role, presence: given, children, dock, banners, peopleActions, peopleKey, onLeave }: StationProps): JSX.Element {
  const name = ownName(useStore(choices, (c) => c.name), role);
  const presence = useMemo(() => given ?? new Presence(role), []);
  const { feed, self } = presence;
  const me = useStore(presence.me);
  useEffect(() => {
    presence.start();
    return () => presence.stop();
  }, []);
  useEffect(() => {
    if (name !== presence.me.value?.name) self.change({ name });
  }, [name]);
  const view = useStore(feed.store);
  // The gateway lets nobody in with another role than his.
  const other = useStore(account, (me) => (role !== 'room' && me?.who?.role !== role && me?.who?.role) || '');
  const room = view.rooms[0];
  const people = participants(room);
  const mine = people.find((p) => p.id === me?.id) ?? me;
  useComings(people, me?.id);
  const place: Place = { room, view, people, me: mine, change: (what) => self.change(what), answer: (id) => self.answer(id), lower: (id) => self.lower(id) };
  return (
    <Frame
      room={here.room}
      name={mine?.name ?? name}
      role={mine?.role || role}
      people={people}
      sources={publishers(room)}
      me={me?.id}
      {...(view.state === 'lost' ? { quality: 'lost' as const } : {})}
      onLeave={() => {
        onLeave?.();
        self.leave();
        // A browser may keep the page for who goes back to it, where nothing runs any more.
        addEventListener('pageshow', (e) => e.persisted && location.reload());
        location.assign(href(here.room));
      }}
      banners={
        <>
          <Trouble view={view} />
          {other && (
            <Banner
              kind="alarm"
              title={words.account.otherRole(roleName(other))}
              actions={
                <LinkButton href={href(here.room)} icon="back">
                  {words.account.toLobby}
                </LinkButton>
              }
            >
              {words.account.otherRoleMore(roleName(role))}
            </Banner>
          )}
          {banners?.(place)}
        </>
      }
      dock={dock?.(place)}
      {...(peopleKey ? { peopleKey } : {})}
      {...(peopleActions ? { peopleActions: (p: Participant) => peopleActions(p, place) } : {})}
    >
      {children(place)}
    </Frame>
  );
}

// useComings plays a sound when another comes or leaves, but not for those who were there.
function useComings(people: readonly Participant[], me: string | undefined): void {
  const others = people.filter((p) => p.id !== me).map((p) => p.id);
  const key = others.join(' ');
  const [known, setKnown] = useState<string[] | undefined>();
  useEffect(() => {
    if (known && me) {
      if (others.some((id) => !known.includes(id))) joinSound();
      else if (known.some((id) => !others.includes(id))) leaveSound();
    }
    if (me) setKnown(others);
  }, [key, me]);
}

