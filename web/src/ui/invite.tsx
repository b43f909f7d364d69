// Invitations to a room: make a link for one role, or for one camera alone; see which hold; take
// them back.
import type { JSX } from 'preact';
import { useEffect, useMemo, useState } from 'preact/hooks';

import { Refused } from '../client/http.ts';
import { sentence } from '../media/player.ts';
import type { Invitation, InvitationLink, Publisher, Wanted } from '../client/rooms.ts';
import { account, when } from './account.tsx';
import { Banner } from './banner.tsx';
import { Button } from './button.tsx';
import { CopyField } from './copy.tsx';
import { Dialog } from './dialog.tsx';
import { Choice, Select, TextField } from './field.tsx';
import { gateway, here } from './page.ts';
import { roleName } from './people.tsx';
import { Store, useStore } from './store.ts';
import { words } from './strings.ts';
import { toast } from './toasts.tsx';

const w = words.invite;

export const inviteOpen = new Store(false);

// Invite is the dialog; it belongs once into a page of a room.
export function Invite({ sources }: { sources: readonly Publisher[] }): JSX.Element {
  const open = useStore(inviteOpen);
  return (
    <Dialog title={w.title} open={open} onClose={() => inviteOpen.set(false)}>
      <Invitations sources={sources} />
    </Dialog>
  );
}

type Role = keyof typeof w.roles;

// wanted is what the form says, as the gateway wants it. what is a publisher, or one of its tracks;
// '' is the whole room. Who sees one camera has no place in the room.
function wanted(what: string, role: Role, seconds: number, label: string): Wanted {
  const out: Wanted = { expires_in: seconds, label };
  if (what) return { ...out, publishers: [what], scopes: ['whep:play'] };
  return role === 'guest' ? out : { ...out, role };
}

// fault is what to tell of a request that failed. What is forbidden is what its maker has not himself.
function fault(err: unknown): string {
  if (!(err instanceof Refused)) return w.failedMore;
  const expires = account.value?.who?.expires;
  if (err.status === 403) return w.tooMuch(expires ? when(expires) : '');
  return err.detail ? sentence(err.detail) : w.failedMore;
}

function Invitations({ sources }: { sources: readonly Publisher[] }): JSX.Element {
  const [link, setLink] = useState<InvitationLink | undefined>();
  const [all, setAll] = useState<Invitation[] | undefined>();
  const [failed, setFailed] = useState('');
  const list = async (signal?: AbortSignal) => {
    try {
      setAll(await gateway.invitations(here.room, signal));
    } catch (err) {
      if (!signal?.aborted) setFailed(fault(err));
    }
  };
  useEffect(() => {
    const abort = new AbortController();
    void list(abort.signal);
    return () => abort.abort();
  }, []);
  const make = async (what: Wanted) => {
    setFailed('');
    try {
      setLink(await gateway.invite(here.room, what));
      await list();
    } catch (err) {
      setFailed(fault(err));
    }
  };
  const revoke = async (i: Invitation) => {
    setFailed('');
    try {
      await gateway.uninvite(here.room, i.id);
      if (link?.id === i.id) setLink(undefined);
      toast(w.revoked, 'good');
    } catch (err) {
      // Somebody else may have been quicker.
      if (!(err instanceof Refused && err.status === 404)) setFailed(fault(err));
    }
    await list();
  };
  return (
    <>
      {failed && (
        <Banner kind="warn" title={w.failed} onClose={() => setFailed('')}>
          {failed}
        </Banner>
      )}
      {link ? <LinkShown link={link} onAnother={() => setLink(undefined)} /> : <Form sources={sources} onMake={make} />}
      <section>
        <h3>{w.list}</h3>
        {all?.length === 0 && <p class="soft">{w.none}</p>}
        {!all && !failed && <p class="soft">{w.asking}</p>}
        <ul class="invitations">
          {all?.map((i) => (
            <li key={i.id}>
              <div>
                <strong>{i.label || w.nobody}</strong>
                <p class="soft">{[describe(i), w.until(when(i.expires)), w.by(i.by)].join(' · ')}</p>
              </div>
              <Button kind="danger" onClick={() => void revoke(i)} label={w.revokeOf(`${i.label || w.nobody}, ${describe(i)}, ${w.until(when(i.expires))}`)}>
                {w.revoke}
              </Button>
            </li>
          ))}
        </ul>
      </section>
    </>
  );
}

// describe says in a word or two what an invitation is for.
function describe(i: Invitation): string {
  return i.publishers.length ? i.publishers.join(', ') : i.role ? roleName(i.role) : w.roles.guest;
}

function Form({ sources, onMake }: { sources: readonly Publisher[]; onMake(what: Wanted): Promise<void> }): JSX.Element {
  const [what, setWhat] = useState('');
  const [role, setRole] = useState<Role>('technician');
  const [time, setTime] = useState('28800');
  const [label, setLabel] = useState('');
  const [busy, setBusy] = useState(false);
  const options = [{ value: '', label: w.all }, ...sources.flatMap(parts)];
  const submit = async (e: Event) => {
    e.preventDefault();
    if (busy) return;
    setBusy(true);
    await onMake(wanted(what, role, Number(time), label.trim()));
    setBusy(false);
  };
  return (
    <form class="stack" onSubmit={(e) => void submit(e)} noValidate>
      <Select label={w.what} value={what} options={options} onChange={setWhat} />
      {!what && (
        <>
          <Choice<Role> label={w.role} value={role} onChange={setRole} options={(Object.keys(w.roles) as Role[]).map((value) => ({ value, label: w.roles[value] }))} />
          {role === 'guest' && <p class="hint">{w.guestHint}</p>}
        </>
      )}
      <Select label={w.time} value={time} options={Object.entries(w.times).map(([value, label]) => ({ value, label }))} onChange={setTime} />
      <TextField label={w.label} value={label} onInput={setLabel} hint={w.labelHint} />
      <div class="row">
        <Button type="submit" kind="primary" icon="link" busy={busy}>
          {w.make}
        </Button>
      </div>
    </form>
  );
}

// parts are a publisher's pair, and each of its tracks where there are two.
function parts(p: Publisher): { value: string; label: string }[] {
  const name = p.label || p.name;
  const kinds = p.tracks.map((t) => t.kind);
  const out = kinds.length > 1 ? [{ value: p.name, label: w.pair(name) }] : [];
  if (kinds.includes('video')) out.push({ value: `${p.name}/video`, label: w.picture(name) });
  if (kinds.includes('audio')) out.push({ value: `${p.name}/audio`, label: w.sound(name) });
  return out;
}

function LinkShown({ link, onAnother }: { link: InvitationLink; onAnother(): void }): JSX.Element {
  return (
    <section class="stack invited">
      <p>
        <strong>{link.label || w.nobody}</strong> · {describe(link)} · {w.until(when(link.expires))}
      </p>
      {link.qr && <QR svg={link.qr} label={w.qr(link.label)} />}
      <CopyField label={w.link} text={link.url} />
      <p class="hint">{w.once}</p>
      <div class="row">
        <Button icon="plus" onClick={onAnother}>
          {w.another}
        </Button>
      </div>
    </section>
  );
}

// A QR is drawn anew from the gateway's drawing: of that nothing but shapes is taken.
function QR({ svg, label }: { svg: string; label: string }): JSX.Element | null {
  const drawing = useMemo(() => new DOMParser().parseFromString(svg, 'image/svg+xml').documentElement, [svg]);
  const viewBox = drawing.getAttribute('viewBox');
  if (!viewBox) return null;
  return (
    <svg class="qr" role="img" aria-label={label} viewBox={viewBox} shape-rendering="crispEdges">
      {[...drawing.querySelectorAll('path')].map((p, i) => (
        <path key={i} fill={p.getAttribute('fill') ?? '#000'} d={p.getAttribute('d') ?? ''} />
      ))}
    </svg>
  );
}
