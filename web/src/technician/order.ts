// The order of pictures on the wall: that in which they were first seen, remembered for
// each room on this machine.
const KEY = 'sightline.order';
const ROOMS = 20;
const NAMES = 50; // of each room

type Orders = Record<string, string[]>;

function load(): Orders {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(KEY) ?? '{}');
    return kept && typeof kept === 'object' ? (kept as Orders) : {};
  } catch {
    return {};
  }
}

export function remembered(room: string): string[] {
  const names = load()[room];
  return Array.isArray(names) ? names.filter((n) => typeof n === 'string') : [];
}

// remember keeps the names now on the wall, and those of before behind them.
export function remember(room: string, names: readonly string[]): void {
  const { [room]: _, ...others } = load();
  const next = [...new Set([...names, ...remembered(room)])].slice(0, NAMES);
  try {
    localStorage.setItem(KEY, JSON.stringify({ ...Object.fromEntries(Object.entries(others).slice(-(ROOMS - 1))), [room]: next }));
  } catch {
    // It holds as long as the page.
  }
}

export interface Seen {
  name: string;
  since: string; // when it began
}

// enter returns where those that are new come: nobody who is there moves. Those who come
// together come in the order that was remembered, then by age.
export function enter(there: readonly string[], fresh: readonly Seen[], before: readonly string[]): string[] {
  const rank = ({ name }: Seen) => (before.includes(name) ? before.indexOf(name) : before.length);
  const sorted = [...fresh].sort((a, b) => rank(a) - rank(b) || a.since.localeCompare(b.since) || a.name.localeCompare(b.name, 'en', { numeric: true }));
  return [...there, ...sorted.map((s) => s.name)];
}
