// Who one is to the gateway: by a token, an invitation, or because he has signed in.
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';

import { Refused } from '../client/http.ts';
import type { Me, Scope } from '../client/rooms.ts';
import { Banner } from './banner.tsx';
import { Button, LinkButton } from './button.tsx';
import { choices, choose } from './choices.ts';
import { note } from './diagnostics.ts';
import { gateway, here } from './page.ts';
import { Store, useStore, useTick } from './store.ts';
import { words } from './strings.ts';
import { toast } from './toasts.tsx';

const w = words.account;

const WARNING = 60_000; // ms before the end
const LOOK = 5_000; // ms between questions while somebody may be signing in beside

// account is undefined until the gateway has said it.
export const account = new Store<Me | undefined>(undefined);

let knew = false; // somebody was known on this page
let asking: Promise<void> | undefined;

// look asks the gateway who one is. It never throws.
export function look(): Promise<void> {
  asking ??= ask().finally(() => (asking = undefined));
  return asking;
}

async function ask(): Promise<void> {
  let me: Me;
  try {
    me = await gateway.me(here.room || undefined);
  } catch (err) {
    // A token that lets nobody in: the page says that it is not allowed.
    if (err instanceof Refused && err.status === 401) account.set({ signIn: false, open: false, who: null, scopes: [] });
    return;
  }
  const was = account.value;
  account.set(me);
  if (me.who?.kind === 'person' && !choices.value.name.trim()) choose({ name: me.who.label });
  if (was && !was.who && me.who) {
    note('signed in beside');
    location.reload(); // all that was refused begins anew
  }
  if (me.who) knew = true;
}

// watchAccount keeps account fresh. Call it once.
export function watchAccount(): void {
  void look();
  const seen = () => document.hidden || void look();
  document.addEventListener('visibilitychange', seen);
  addEventListener('focus', seen);
  addEventListener('online', seen);
  // Who signs in again does it in another tab.
  setInterval(() => {
    const me = account.value;
    const beside = !!me?.who && left(me) < WARNING; // this tab is hidden then
    if (beside || (!document.hidden && (!me || (me.signIn && !me.who)))) void look();
  }, LOOK);
}

// left is how long somebody is known still, in ms.
function left(me: Me): number {
  return me.who?.expires ? Date.parse(me.who.expires) - Date.now() : Infinity;
}

export function useMay(scope: Scope): boolean {
  return useStore(account, (me) => !!me && !me.open && me.scopes.includes(scope));
}

// signInURL leads to the provider, and back to this page, or to where one is told to close the tab.
function signInURL(beside: boolean): string {
  const root = new URL(gateway.root).pathname;
  const back = beside ? '/auth/done' : `/${location.pathname.slice(root.length)}${location.search}`;
  return gateway.url('auth/login', { return: back });
}

// AccountBanner says what has to be done so that one is, or stays, known.
export function AccountBanner({ refused }: { refused: boolean }): JSX.Element | null {
  const me = useStore(account);
  useTick(me?.who?.expires ? 1_000 : 0);
  useEffect(() => {
    if (refused) void look();
  }, [refused]);
  if (!me || me.open) return null;
  if (!me.who) {
    if (!me.signIn) return null;
    return (
      <Banner
        kind="warn"
        title={knew ? w.over : w.needed}
        actions={
          <LinkButton href={signInURL(false)} kind="primary" icon="next">
            {knew ? w.again : w.signIn}
          </LinkButton>
        }
      >
        {knew ? w.overMore : w.neededMore}
      </Banner>
    );
  }
  const ms = left(me);
  if (ms > WARNING) return null;
  const seconds = Math.max(0, Math.ceil(ms / 1_000));
  if (me.who.kind !== 'person') {
    return <Ending title={w.linkEnding} more={w.linkEndingMore} seconds={seconds} />;
  }
  return <Ending title={w.ending} more={w.endingMore} seconds={seconds} again />;
}

// Ending counts down; who listens hears it once.
function Ending({ title, more, seconds, again }: { title: string; more: string; seconds: number; again?: boolean }): JSX.Element {
  return (
    <Banner
      kind="warn"
      title={title}
      actions={
        again && (
          <LinkButton href={signInURL(true)} kind="primary" icon="next" beside>
            {w.again}
          </LinkButton>
        )
      }
    >
      {more} <span aria-hidden="true">{w.left(seconds)}</span>
    </Banner>
  );
}

// Account says who one is, with a way out. It belongs into the settings.
export function Account(): JSX.Element | null {
  const me = useStore(account);
  if (!me || me.open || (!me.who && !me.signIn)) return null;
  const { who } = me;
  const out = async () => {
    try {
      location.assign(await gateway.signOut());
    } catch (err) {
      note('sign-out failed', String(err));
      toast(w.outFailed, 'warn');
    }
  };
  return (
    <section>
      <h3>{w.title}</h3>
      {!who && (
        <div class="row">
          <LinkButton href={signInURL(false)} icon="next">
            {w.signIn}
          </LinkButton>
        </div>
      )}
      {who && (
        <p>
          {who.kind === 'person' ? w.as(who.label) : who.kind === 'invitation' ? w.invited : w.token(who.label)} {who.expires && w.until(when(who.expires))}
        </p>
      )}
      {who?.kind === 'person' && (
        <>
          <div class="row">
            <Button icon="leave" onClick={() => void out()}>
              {w.out}
            </Button>
          </div>
          <p class="hint">{w.outHint}</p>
        </>
      )}
    </section>
  );
}

// AccountTag is the name of who has signed in, in the top bar.
export function AccountTag({ onClick }: { onClick(): void }): JSX.Element | null {
  const name = useStore(account, (me) => (me?.who?.kind === 'person' ? me.who.label : ''));
  if (!name) return null;
  return (
    <Button icon="people" kind="quiet" class="account" onClick={onClick} label={w.as(name)} title={w.as(name)}>
      {name}
    </Button>
  );
}

// when is a time as people write it here, with the day if that is another.
export function when(time: string, now = new Date()): string {
  const at = new Date(time);
  const clock: Intl.DateTimeFormatOptions = { hour: '2-digit', minute: '2-digit' };
  return at.toDateString() === now.toDateString() ? at.toLocaleTimeString([], clock) : at.toLocaleString([], { day: 'numeric', month: 'short', ...clock });
}
