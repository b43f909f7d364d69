// What a person has chosen on this machine. It is remembered, and all pages share it.
import { Store } from './store.ts';

export interface Choices {
  name: string; // of the person
  theme: 'system' | 'dark' | 'light';
  saver: boolean; // smaller pictures where there is a choice
  audioOnly: boolean;
  sounds: boolean; // who comes, goes and calls can be heard
  hotkeys: boolean;
  withMicrophone: boolean; // on when a room is entered
  withCamera: boolean;
  recent: string[]; // rooms, the last first
}

const KEY = 'sightline';

const defaults: Choices = {
  name: '', theme: 'system', saver: false, audioOnly: false, sounds: true, hotkeys: true, withMicrophone: true, withCamera: true, recent: [],
};

export const choices = new Store<Choices>(load());

// Storage can be forbidden, full, or of a later version: then the defaults hold.
function load(): Choices {
  const out: Record<string, unknown> = { ...defaults };
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? '{}') as Record<string, unknown>;
    for (const [name, value] of Object.entries(defaults)) if (typeof kept[name] === typeof value) out[name] = kept[name];
    if (!Array.isArray(out.recent)) out.recent = [];
  } catch {
    // As said.
  }
  return out as unknown as Choices;
}

export function choose(what: Partial<Choices>): void {
  choices.patch(what);
  try {
    localStorage.setItem(KEY, JSON.stringify(choices.value));
  } catch {
    // It holds as long as the page.
  }
}

// visited remembers a room for the list of rooms.
export function visited(room: string): void {
  choose({ recent: [room, ...choices.value.recent.filter((r) => r !== room)].slice(0, 6) });
}

// paint makes the page look as chosen, now and whenever the choice changes, be it in
// another tab.
export function paint(): void {
  const set = () => {
    const { theme } = choices.value;
    if (theme === 'system') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  };
  set();
  choices.subscribe(set);
  addEventListener('storage', (e) => {
    if (e.key === KEY) choices.set(load());
  });
}
