// Keys that do something, and the sheet that tells them ("?").
import type { JSX } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';

import { choices, choose } from './choices.ts';
import { Dialog } from './dialog.tsx';
import { Switch } from './field.tsx';
import { Store, useStore } from './store.ts';
import { words } from './strings.ts';

export interface Hotkey {
  key: string; // as KeyboardEvent.key, in lower case: 'm', '?', 'arrowleft'
  does: string; // for the help sheet: "Turn the microphone on or off"
  run(e: KeyboardEvent): void;
  shown?: string; // where the key's name is not what people call it; empty: another tells of it, too
  group?: string;
  hidden?: boolean; // another line of the sheet speaks for it
}

const registry = new Store<Hotkey[]>([]);
export const helpOpen = new Store(false);

// useHotkeys has the page obey keys as long as the component is there, from the moment on that it can be seen. What
// was added last is asked first.
export function useHotkeys(keys: readonly Hotkey[]): void {
  const newest = useRef(keys);
  newest.current = keys;
  const names = keys.map((k) => `${k.key} ${k.does}`).join('\n');
  useLayoutEffect(() => {
    const mine = newest.current.map((k, i): Hotkey => ({ ...k, run: (e) => newest.current[i]?.run(e) }));
    registry.set([...registry.value, ...mine]);
    return () => registry.set(registry.value.filter((k) => !mine.includes(k)));
  }, [names]);
}

// listen has the page obey keys. A page does it once.
export function listen(): void {
  addEventListener('keydown', (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.repeat || e.defaultPrevented || !choices.value.hotkeys || taken(e.target, e.key)) return;
    // A digit with Shift is another sign on each keyboard.
    const digit = e.shiftKey && /^(?:Digit|Numpad)(\d)$/.exec(e.code)?.[1];
    const all = [...registry.value].reverse();
    const hotkey = all.find((k) => k.key === e.key.toLowerCase()) ?? all.find((k) => digit && k.key === `shift+${digit}`);
    if (!hotkey) return;
    e.preventDefault();
    hotkey.run(e);
  });
}

// taken reports whether a key is for somebody else: text that is being written, a dialog, and
// Enter and Space for what has the focus and can be pressed.
function taken(target: EventTarget | null, key: string): boolean {
  if (document.querySelector('dialog[open]')) return true;
  if (!(target instanceof HTMLElement)) return false;
  if ((key === 'Enter' || key === ' ') && target.matches('button, a[href], summary, input, [role=button], [role=menuitem]')) return true;
  return target.isContentEditable || target.matches('textarea, select, input:not([type=checkbox], [type=radio], [type=button])');
}

const names: Record<string, string> = { ' ': 'Space', escape: 'Esc', arrowleft: '←', arrowright: '→', arrowup: '↑', arrowdown: '↓' };

export function keyName({ key, shown }: Pick<Hotkey, 'key' | 'shown'>): string {
  return shown ?? names[key] ?? (key.length === 1 ? key.toUpperCase() : key);
}

// Help is the sheet; it belongs into a page once.
export function Help(): JSX.Element {
  const open = useStore(helpOpen);
  const keys = useStore(registry);
  const on = useStore(choices, (c) => c.hotkeys);
  useHotkeys([{ key: '?', does: words.hotkeys.help, run: () => helpOpen.set(true), group: words.hotkeys.general }]);
  const groups = new Map<string, Hotkey[]>();
  for (const k of keys) if (!k.hidden && k.shown !== '') groups.set(k.group ?? words.hotkeys.page, [...(groups.get(k.group ?? words.hotkeys.page) ?? []), k]);
  return (
    <Dialog title={words.hotkeys.title} open={open} onClose={() => helpOpen.set(false)}>
      <Switch label={words.hotkeys.use} checked={on} onChange={(hotkeys) => choose({ hotkeys })} />
      {[...groups].map(([group, all]) => (
        <section key={group} class={on ? 'keys' : 'keys off'}>
          <h3>{group}</h3>
          <dl>
            {all.map((k) => (
              <div key={k.key + k.does}>
                <dt>
                  <kbd>{keyName(k)}</kbd>
                </dt>
                <dd>{k.does}</dd>
              </div>
            ))}
          </dl>
        </section>
      ))}
    </Dialog>
  );
}
