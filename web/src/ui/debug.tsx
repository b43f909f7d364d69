// The debug overlay: what each connection of the page does, in numbers.
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';

import type { Stats, StreamStats } from '../media/stats.ts';
import { IconButton } from './button.tsx';
import { reading } from './diagnostics.ts';
import { grade, milliseconds, percent, rate } from './format.ts';
import { useHotkeys } from './hotkeys.tsx';
import { Store, useStore } from './store.ts';
import { words } from './strings.ts';

const PERIOD = 1_000; // ms: loss is to be seen within 2 s

// A Source is one connection: what it is called, and how to read it.
export interface Source {
  name: string; // "console"
  direction: 'in' | 'out';
  stats(): Promise<Stats | undefined>;
}

const sources = new Store<Source[]>([]);
export const debugOpen = new Store(false);

// Readings of all connections, by name, for whoever shows how good they are.
export const readings = new Store<ReadonlyMap<string, Stats>>(new Map());

// measure reads a connection every second, for the overlay, the diagnostics and the quality
// that the top bar shows, until what it returns is called.
export function measure(source: Source): () => void {
  sources.set([...sources.value, source]);
  if (sources.value.length === 1) void run();
  return () => {
    sources.set(sources.value.filter((s) => s !== source));
    const rest = new Map(readings.value);
    rest.delete(source.name);
    readings.set(rest);
  };
}

let running = false;

async function run(): Promise<void> {
  if (running) return;
  running = true;
  while (sources.value.length) {
    const now = sources.value;
    const all = await Promise.all(now.map((s) => s.stats().catch(() => undefined)));
    const next = new Map<string, Stats>();
    now.forEach((s, i) => {
      const stats = all[i];
      if (!stats || !sources.value.includes(s)) return;
      next.set(s.name, stats);
      reading(s.name, stats);
    });
    readings.set(next);
    await new Promise((resolve) => setTimeout(resolve, PERIOD));
  }
  running = false;
}

export function Debug(): JSX.Element | null {
  const open = useStore(debugOpen);
  useHotkeys([{ key: 'd', does: words.hotkeys.debug, run: () => debugOpen.set(!debugOpen.value), group: words.hotkeys.general }]);
  const all = useStore(sources);
  const read = useStore(readings);
  if (!open) return null;
  return <DebugTable rows={all.map((s) => ({ ...s, now: read.get(s.name) }))} onClose={() => debugOpen.set(false)} />;
}

interface Row {
  name: string;
  direction: 'in' | 'out';
  now: Stats | undefined;
}

export function DebugTable({ rows, onClose }: { rows: readonly Row[]; onClose(): void }): JSX.Element {
  const [heap, setHeap] = useState('');
  useEffect(() => {
    const memory = (performance as { memory?: { usedJSHeapSize: number } }).memory;
    if (memory) setHeap(`${(memory.usedJSHeapSize / 2 ** 20).toFixed(0)} MB`);
  }, [rows]);
  return (
    <aside class="debug" aria-label={words.debug.title}>
      <header>
        <h2>{words.debug.title}</h2>
        {heap && <span class="soft">{words.debug.heap(heap)}</span>}
        <IconButton icon="close" label={words.close} kind="quiet" onClick={onClose} />
      </header>
      <div class="scroll" tabIndex={0} role="group" aria-label={words.debug.title}>
        <table>
          <thead>
            <tr>
              {words.debug.columns.map((c) => (
                <th key={c} scope="col">
                  {c}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.length === 0 && (
              <tr>
                <td colSpan={words.debug.columns.length}>{words.debug.none}</td>
              </tr>
            )}
            {rows.flatMap((r) => lines(r))}
          </tbody>
        </table>
      </div>
    </aside>
  );
}

function lines({ name, direction, now }: Row): JSX.Element[] {
  const streams: [string, StreamStats | undefined][] = [];
  if (now?.video) streams.push(['video', now.video]);
  if (now?.audio) streams.push(['audio', now.audio]);
  if (!streams.length) streams.push(['', undefined]);
  return streams.map(([kind, s]) => (
    <tr key={`${name} ${direction} ${kind}`}>
      <th scope="row">
        {direction === 'in' ? '↓' : '↑'} {name} {kind}
      </th>
      <td>{s?.codec ?? '–'}</td>
      <td>{s?.width ? `${s.width}×${s.height} ${s.fps !== undefined ? `@ ${Math.round(s.fps)}` : ''}` : '–'}</td>
      <td>{s ? rate(s.bitrate) || '0' : '–'}</td>
      <td class={`loss-${grade(s?.loss)}`}>{s ? percent(s.loss) : '–'}</td>
      <td>{now?.rttMs !== undefined ? milliseconds(now.rttMs) : '–'}</td>
      <td>{s?.jitterMs !== undefined ? milliseconds(s.jitterMs) : '–'}</td>
      <td>
        {now ? now.connection : '–'}
        {now?.path ? `, ${now.path.toUpperCase()}` : ''}
      </td>
      <td>{kind === 'video' && now?.timeToFirstFrame !== undefined ? milliseconds(now.timeToFirstFrame) : '–'}</td>
      <td>{s?.limitation ?? '–'}</td>
    </tr>
  ));
}
