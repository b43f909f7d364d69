// Short words about what has just happened. They go by themselves and nothing depends on
// having seen them; what stays so is a Banner's.
import type { JSX } from 'preact';

import { IconButton } from './button.tsx';
import type { Urgency } from './banner.tsx';
import { Store, useStore } from './store.ts';
import { words } from './strings.ts';

const STAY = 6_000; // ms
const MOST = 4;

interface Toast {
  id: number;
  text: string;
  kind: Urgency;
}

const shown = new Store<Toast[]>([]);
let last = 0;

export function toast(text: string, kind: Urgency = 'info', stay = STAY): void {
  const id = ++last;
  shown.set([...shown.value.filter((t) => t.text !== text), { id, text, kind }].slice(-MOST));
  setTimeout(() => drop(id), stay);
}

function drop(id: number): void {
  shown.set(shown.value.filter((t) => t.id !== id));
}

// Toasts belong into a page once.
export function Toasts(): JSX.Element {
  const toasts = useStore(shown);
  return (
    <div class="toasts" role="log" aria-live="polite" aria-label={words.news}>
      {toasts.map((t) => (
        <div key={t.id} class={`toast ${t.kind}`}>
          <span>{t.text}</span>
          <IconButton icon="close" label={words.close} kind="quiet" onClick={() => drop(t.id)} />
        </div>
      ))}
    </div>
  );
}
