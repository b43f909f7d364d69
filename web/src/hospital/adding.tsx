// Choosing a camera, its name, its quality.
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';

import type { Stations } from '../client/rooms.ts';
import { explain, open as openDevice, type Trouble } from '../media/devices.ts';
import { Banner } from '../ui/banner.tsx';
import { Button } from '../ui/button.tsx';
import { choices } from '../ui/choices.ts';
import { deviceName, refreshDevices, useDevices } from '../ui/devices.tsx';
import { note } from '../ui/diagnostics.ts';
import { Dialog } from '../ui/dialog.tsx';
import { Choice, Select, TextField } from '../ui/field.tsx';
import { rate } from '../ui/format.ts';
import { useStore } from '../ui/store.ts';
import { bitrates, qualities, type Camera, type Desk } from './desk.ts';
import { publisherName } from './naming.ts';
import { words } from './words.ts';

const w = words.adding;

// fault says why a camera can't have a name; empty if it can.
function fault(name: string, isTaken: (publisher: string) => boolean): string {
  if (!name.trim()) return w.missing;
  const publisher = publisherName(name);
  if (!publisher) return w.unspellable;
  return isTaken(publisher) ? w.taken(name.trim()) : '';
}

interface NameFieldProps {
  name: string;
  onName(name: string): void;
  isTaken(publisher: string): boolean;
  error: string;
}

// A NameField offers the usual names as buttons: one touch instead of a keyboard.
function NameField({ name, onName, isTaken, error }: NameFieldProps): JSX.Element {
  const free = w.names.filter((n) => !isTaken(publisherName(n)));
  return (
    <div class="naming">
      <TextField label={w.name} value={name} onInput={onName} hint={w.nameHint} error={error} maxLength={40} name="camera" required />
      <div class="row" role="group" aria-label={w.name}>
        {free.map((n) => (
          <Button key={n} pressed={name === n} onClick={() => onName(n)}>
            {n}
          </Button>
        ))}
      </div>
    </div>
  );
}

export interface AddProps {
  desk: Desk;
  quality: string; // in which it will be shown: a camera gives one at a time
  open: boolean;
  onClose(): void;
  isTaken(publisher: string): boolean;
}

export function AddCamera(props: AddProps): JSX.Element {
  return (
    <Dialog title={w.title} open={props.open} onClose={props.onClose} wide>
      <AddForm {...props} />
    </Dialog>
  );
}

function AddForm({ desk, onClose, isTaken, quality }: AddProps): JSX.Element {
  const { all } = useDevices();
  const { cameras, privacy } = useStore(desk.decided);
  const [asking, setAsking] = useState(true);
  const [trouble, setTrouble] = useState<Trouble | undefined>();
  const [chosen, setChosen] = useState('');
  const [names, setNames] = useState<Record<string, string>>({}); // by device
  const [error, setError] = useState('');

  // Names are told, and the cameras told apart, once the browser has been allowed one.
  const ask = async () => {
    setAsking(true);
    setTrouble(undefined);
    await refreshDevices();
    try {
      if (!all.videoinput.some((d) => d.label)) (await openDevice('camera', { quality: '360p' })).stop();
    } catch (err) {
      note('camera', `${(err as Error).name}: ${(err as Error).message}`);
      const why = explain(err, 'camera');
      if (why.reason !== 'missing' && why.reason !== 'busy') setTrouble(why); // one may be in use, and others free
    }
    await refreshDevices();
    setAsking(false);
  };
  useEffect(() => void ask(), []);

  const free = all.videoinput.filter((d) => d.deviceId && !cameras.some((c) => c.device === d.deviceId));
  const device = free.find((d) => d.deviceId === chosen) ?? free[0];
  const id = device?.deviceId ?? '';
  const known = device && desk.known(id, device.label);
  const name = names[id] ?? (known && !isTaken(publisherName(known.name)) ? known.name : '');
  const add = (e: Event) => {
    e.preventDefault();
    if (!device) return;
    const wrong = fault(name, isTaken);
    setError(wrong);
    if (wrong) {
      (e.currentTarget as HTMLElement).querySelector<HTMLInputElement>('input[name=camera]')?.focus();
      return;
    }
    desk.add(id, device.label, name.trim());
    onClose();
  };
  if (asking && !free.length) return <p role="status">{w.looking}</p>;
  if (trouble) {
    return (
      <Banner kind="warn" title={trouble.words} actions={<Button onClick={() => void ask()}>{w.again}</Button>}>
        {trouble.advice}
      </Banner>
    );
  }
  if (!device) {
    const some = all.videoinput.length > 0;
    return (
      <Banner kind="info" title={some ? w.all : w.none}>
        {some ? w.allMore : w.noneMore}
      </Banner>
    );
  }
  return (
    <form class="adding" onSubmit={add} noValidate>
      <div class="adding-columns">
        <Preview device={id} quality={quality} onForbidden={setTrouble} />
        <div class="stack">
          <Choice label={w.which} value={id} onChange={setChosen} options={free.map((d) => ({ value: d.deviceId, label: deviceName(d, all.videoinput.indexOf(d)) }))} />
          <NameField
            key={id}
            name={name}
            isTaken={isTaken}
            error={error}
            onName={(n) => {
              setNames({ ...names, [id]: n });
              setError('');
            }}
          />
        </div>
      </div>
      <Button type="submit" kind="primary" size="large" icon="plus">
        {privacy ? w.doPrivately : w.do}
      </Button>
    </form>
  );
}

// A Preview is of this page only.
function Preview({ device, quality, onForbidden }: { device: string; quality: string; onForbidden(why: Trouble): void }): JSX.Element {
  const ref = useRef<HTMLVideoElement>(null);
  const [trouble, setTrouble] = useState<Trouble | undefined>();
  useEffect(() => {
    let over = false;
    let track: MediaStreamTrack | undefined;
    setTrouble(undefined);
    openDevice('camera', { device, quality }).then(
      (t) => {
        if (over) return t.stop();
        track = t;
        if (!ref.current) return;
        ref.current.srcObject = new MediaStream([t]);
        void ref.current.play().catch(() => {});
      },
      (err) => {
        if (over) return;
        const why = explain(err, 'camera');
        setTrouble(why);
        if (why.reason === 'denied' || why.reason === 'insecure') onForbidden(why); // as all others will be
      },
    );
    return () => {
      over = true;
      track?.stop();
    };
  }, [device, quality]);
  return (
    <figure class="preview">
      <div class="preview-picture">
        <video ref={ref} muted playsInline aria-label={w.preview} />
        {trouble && (
          <p role="status">
            <strong>{trouble.words}</strong> {trouble.advice}
          </p>
        )}
      </div>
      <figcaption class="hint">{w.preview}</figcaption>
    </figure>
  );
}

export interface RenameProps {
  open: boolean;
  onClose(): void;
  name: string;
  isTaken(publisher: string): boolean;
  onName(name: string): void;
}

export function Rename(props: RenameProps): JSX.Element {
  return (
    <Dialog title={words.naming.title(props.name)} open={props.open} onClose={props.onClose}>
      <RenameForm {...props} />
    </Dialog>
  );
}

function RenameForm({ onClose, name: before, isTaken, onName }: RenameProps): JSX.Element {
  const [name, setName] = useState(before);
  const [error, setError] = useState('');
  const other = (publisher: string) => publisher !== publisherName(before) && isTaken(publisher);
  return (
    <form
      noValidate
      onSubmit={(e) => {
        e.preventDefault();
        const wrong = fault(name, other);
        setError(wrong);
        if (wrong) return;
        onName(name.trim());
        onClose();
      }}
    >
      <NameField
        name={name}
        isTaken={other}
        error={error}
        onName={(n) => {
          setName(n);
          setError('');
        }}
      />
      <p class="hint">{words.naming.more}</p>
      <Button type="submit" kind="primary" size="large">
        {words.naming.do}
      </Button>
    </form>
  );
}

export interface QualityProps {
  open: boolean;
  onClose(): void;
  camera: Camera;
  limits: Stations;
  onChange(what: Partial<Pick<Camera, 'quality' | 'bitrate'>>): void;
}

// Quality takes effect at once, and in the session that is there.
export function Quality({ open, onClose, camera, limits, onChange }: QualityProps): JSX.Element {
  const q = words.quality;
  const saver = useStore(choices, (c) => c.saver);
  const most = (text: string, first: boolean) => (first ? `${text}, ${q.most}` : text);
  const sizes = qualities(limits);
  const rates = bitrates(limits);
  return (
    <Dialog title={q.title(camera.name)} open={open} onClose={onClose}>
      <div class="pickers">
        <Select
          label={q.size}
          value={sizes.includes(camera.quality) && camera.quality !== sizes[0] ? camera.quality : ''}
          options={sizes.map((s, i) => ({ value: i ? s : '', label: most(s, !i) }))}
          onChange={(quality) => onChange({ quality })}
        />
        <Select
          label={q.rate}
          value={rates.includes(camera.bitrate) && camera.bitrate !== rates[0] ? String(camera.bitrate) : ''}
          options={rates.map((r, i) => ({ value: i ? String(r) : '', label: most(rate(r), !i) }))}
          onChange={(r) => onChange({ bitrate: Number(r) })}
        />
      </div>
      <p class="hint">
        {q.limits(limits.quality, rate(limits.maxBitrate), limits.frameRate)} {saver && q.saver}
      </p>
    </Dialog>
  );
}
