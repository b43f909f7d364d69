// The list of rooms: open one, or name one, and all that is live with links to see it.
import type { JSX } from 'preact';
import { useEffect, useMemo, useState } from 'preact/hooks';

import type { Publisher, Room } from '../client/rooms.ts';
import { AccountBanner, AccountTag, account } from '../ui/account.tsx';
import { Banner } from '../ui/banner.tsx';
import { Button, IconButton, LinkButton } from '../ui/button.tsx';
import { choices } from '../ui/choices.ts';
import { CopyField } from '../ui/copy.tsx';
import { TextField } from '../ui/field.tsx';
import { format, rate } from '../ui/format.ts';
import { Help, helpOpen } from '../ui/hotkeys.tsx';
import { fault, spell } from '../ui/names.ts';
import { gateway, here, href } from '../ui/page.ts';
import { roleName } from '../ui/people.tsx';
import { Feed, open, participants, publishers, type View } from '../ui/room.ts';
import { Settings, settingsOpen } from '../ui/settings.tsx';
import { StateBadge, type State } from '../ui/state.tsx';
import { useStore } from '../ui/store.ts';
import { words } from '../ui/strings.ts';
import { Toasts } from '../ui/toasts.tsx';

const w = words.root;

export function Rooms(): JSX.Element {
  const feed = useMemo(() => new Feed(gateway, { readings: true }), []);
  useEffect(() => {
    feed.start();
    return () => feed.stop();
  }, []);
  const view = useStore(feed.store);
  const rooms = view.rooms.filter(open);
  return (
    <div class="page">
      <header class="top">
        <div class="top-where">
          <h1>Sightline</h1>
        </div>
        <nav class="top-tools" aria-label={words.frame.tools}>
          <AccountTag onClick={() => settingsOpen.set(true)} />
          <IconButton icon="settings" kind="quiet" label={words.frame.settings} onClick={() => settingsOpen.set(true)} />
          <IconButton icon="help" kind="quiet" label={words.frame.help} onClick={() => helpOpen.set(true)} />
        </nav>
      </header>
      <main id="main" tabIndex={-1}>
        <Trouble view={view} />
        <div class="columns rooms-columns">
          <OpenRoom />
          <section class="card wide" aria-labelledby="now">
            <h2 id="now">{w.now}</h2>
            <p class="unseen" role="status">
              {view.state === 'asking' ? w.asking : `${rooms.length}`}
            </p>
            {!rooms.length && view.state === 'asking' && !view.refused && <p class="soft">{w.asking}</p>}
            {!rooms.length && view.state === 'lost' && <p class="soft">{w.notKnown}</p>}
            {!rooms.length && view.state === 'open' && (
              <div class="empty">
                <strong>{w.none}</strong>
                <p>{w.noneMore}</p>
              </div>
            )}
            <ul class="rooms">
              {rooms.map((room) => (
                <RoomItem key={room.name} room={room} />
              ))}
            </ul>
          </section>
        </div>
        <section class="card encoders" aria-labelledby="encoders">
          <h2 id="encoders">{w.encoders}</h2>
          <p>{w.encodersMore}</p>
          <CopyField label={w.whip} text={`${gateway.root}whip/ROOM/NAME`} />
        </section>
      </main>
      <Settings devices={false} />
      <Help />
      <Toasts />
    </div>
  );
}

// Trouble is what keeps a page from knowing what is, or will do so soon.
export function Trouble({ view }: { view: View }): JSX.Element {
  const { status = 0 } = view.refused ?? {};
  const refused = view.state === 'lost' && status === 401;
  const signedOut = useStore(account, (me) => !!me?.signIn && !me.who && !me.open);
  return (
    <>
      <AccountBanner refused={refused} />
      {!(refused && signedOut) && <Lost view={view} />}
    </>
  );
}

function Lost({ view }: { view: View }): JSX.Element | null {
  const person = useStore(account, (me) => (me?.who?.kind === 'person' ? me.who.label : ''));
  if (view.state !== 'lost') return null;
  const g = words.gateway;
  const { status = 0, detail = '' } = view.refused ?? {};
  if (status === 401 || status === 403) {
    return (
      <Banner kind="alarm" title={g.refused}>
        {person ? g.refusedPerson(person) : g.refusedMore}
      </Banner>
    );
  }
  if (status === 429 || status === 503) {
    return (
      <Banner kind="warn" title={g.busy}>
        {g.busyMore}
      </Banner>
    );
  }
  return (
    <Banner kind="warn" title={g.lost}>
      {detail || g.lostMore}
    </Banner>
  );
}

function OpenRoom(): JSX.Element {
  const [text, setText] = useState('');
  const [asked, setAsked] = useState(false);
  const recent = useStore(choices, (c) => c.recent);
  const name = spell(text);
  // Too early it would scold who has not finished; what can't be put right is said at once.
  const bad = text || asked ? fault(name, here.reserved) : '';
  const submit = (e: Event) => {
    e.preventDefault();
    setAsked(true);
    if (!fault(name, here.reserved)) location.assign(href(name));
  };
  return (
    <section class="card open-room" aria-labelledby="open">
      <h2 id="open">{w.openOne}</h2>
      <form onSubmit={submit} noValidate>
        <TextField label={w.name} value={text} onInput={setText} maxLength={100} hint={!bad && name && name !== text.trim() ? w.called(name) : w.hint} error={bad} />
        <Button type="submit" kind="primary" icon="next" size="large">
          {w.go}
        </Button>
      </form>
      {recent.length > 0 && (
        <>
          <h3>{w.recent}</h3>
          <div class="row">
            {recent.map((r) => (
              <LinkButton key={r} href={href(r)}>
                {r}
              </LinkButton>
            ))}
          </div>
        </>
      )}
    </section>
  );
}

function RoomItem({ room }: { room: Room }): JSX.Element {
  const all = publishers(room);
  const people = participants(room);
  const names = people.map((p) => (p.role ? `${p.name} (${roleName(p.role)})` : p.name));
  return (
    <li class="room-item" data-room={room.name}>
      <div class="room-head">
        <div>
          <h3>{room.name}</h3>
          <p class="soft">{[people.length && w.people(people.length), all.length && w.publishers(all.length), room.viewers && w.viewers(room.viewers)].filter(Boolean).join(' · ')}</p>
          {names.length > 0 && <p>{names.join(', ')}</p>}
        </div>
        <LinkButton href={href(room.name)} kind="primary" icon="next">
          {w.enter(room.name)}
        </LinkButton>
      </div>
      {all.length > 0 && (
        <details>
          <summary>{w.details}</summary>
          <p>
            <a class="mix" href={href('watch', room.name, '~mix')}>
              {w.mix}
            </a>
          </p>
          <ul class="publishers">
            {all.map((p) => (
              <PublisherItem key={p.name} room={room.name} publisher={p} />
            ))}
          </ul>
        </details>
      )}
    </li>
  );
}

function PublisherItem({ room, publisher: p }: { room: string; publisher: Publisher }): JSX.Element {
  return (
    <li>
      <h4>
        <a href={href('watch', room, p.name)}>{p.label || p.name}</a>
        {p.label && p.label !== p.name && <span class="soft"> {p.name}</span>}
        {p.role && <span class={`role ${p.role}`}>{roleName(p.role)}</span>}
      </h4>
      <p class="client">{p.client}</p>
      <table>
        <colgroup>
          {w.columns.map((title) => (
            <col key={title} />
          ))}
        </colgroup>
        <thead class="unseen">
          <tr>
            {w.columns.map((title) => (
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
                <a href={href('watch', room, p.name, t.kind)}>{t.kind}</a>
              </th>
              <td>
                <StateBadge state={t.state as State} text={words.tracks[t.state] ?? t.state} />
              </td>
              <td class="format">{format(t)}</td>
              <td class="rate">{rate(t.bitrate)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </li>
  );
}
