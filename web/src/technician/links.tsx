// Addresses and commands: to play a picture in another program, and to publish another
// camera into the room.
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';

import { CopyField, Links, playing, publishing } from '../ui/copy.tsx';
import { Dialog } from '../ui/dialog.tsx';
import { TextField } from '../ui/field.tsx';
import { gateway, here, href } from '../ui/page.ts';
import { Store, useStore } from '../ui/store.ts';
import type { Desk } from './desk.ts';
import { labelOf } from './tile.tsx';
import { w } from './words.ts';

export const linksOpen = new Store<{ what: 'play' | 'publish'; name: string } | undefined>(undefined);

export function LinksDialog({ desk }: { desk: Desk }): JSX.Element {
  const open = useStore(linksOpen);
  const picture = desk.pictures.value.find((p) => p.name === open?.name);
  const close = () => linksOpen.set(undefined);
  const playIt = open?.what === 'play' && picture;
  return (
    <Dialog wide title={playIt ? w.links.play(labelOf(picture)) : w.links.publish} open={!!open} onClose={close}>
      {playIt ? <Play name={picture.name} /> : <Publish desk={desk} />}
    </Dialog>
  );
}

function Play({ name }: { name: string }): JSX.Element {
  const whep = gateway.whep(here.room, name, 'video');
  const watch = new URL(href('watch', here.room, name, 'video').replace(/#.*$/, ''), location.href).href;
  return (
    <>
      <CopyField label={w.links.watch} text={watch} />
      <Links url={whep} label={w.links.whep} commands={playing(whep, watch, here.token)} secret={!!here.token} />
    </>
  );
}

function Publish({ desk }: { desk: Desk }): JSX.Element {
  const [name, setName] = useState('');
  useEffect(() => setName(free(desk)), []);
  const good = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/.test(name);
  const whip = gateway.whip(here.room, good ? name : 'camera');
  return (
    <>
      <TextField label={w.links.name} hint={w.links.nameHint} value={name} onInput={setName} error={name && !good ? w.links.badName : ''} />
      <Links url={whip} label={w.links.whip} commands={publishing(whip, here.token)} secret={!!here.token} />
    </>
  );
}

// free is a name that is not in the room.
function free(desk: Desk): string {
  const names = new Set(desk.room?.publishers.map((p) => p.name));
  for (let n = 1; ; n++) {
    const name = n === 1 ? 'camera' : `camera-${n}`;
    if (!names.has(name)) return name;
  }
}
