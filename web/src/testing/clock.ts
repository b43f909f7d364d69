// A clock for tests: time passes when they say so.

const setImmediateForReal = setImmediate;

interface Due {
  at: number;
  id: number;
  run: () => void;
  every: number | undefined;
}

export class Clock {
  now = 1_000_000;
  #due = new Map<number, Due>();
  #last = 0;

  // The clock takes the place of timers, performance.now, Date.now and Math.random (0).
  static install(): Clock {
    const clock = new Clock();
    const add = (run: () => void, ms = 0, every?: number) => {
      const id = ++clock.#last;
      clock.#due.set(id, { at: clock.now + ms, id, run, every });
      return id;
    };
    const remove = (id: number | undefined) => void clock.#due.delete(id ?? 0);
    Object.assign(globalThis, {
      setTimeout: (run: () => void, ms?: number) => add(run, ms),
      setInterval: (run: () => void, ms: number) => add(run, ms, ms),
      clearTimeout: remove,
      clearInterval: remove,
    });
    performance.now = Date.now = () => clock.now;
    Math.random = () => 0;
    return clock;
  }

  // advance lets ms pass, and all that follows from it happen.
  async advance(ms: number): Promise<void> {
    const end = this.now + ms;
    await settle();
    for (;;) {
      const next = [...this.#due.values()].filter((d) => d.at <= end).sort((a, b) => a.at - b.at || a.id - b.id)[0];
      if (!next) break;
      this.now = Math.max(this.now, next.at);
      if (next.every === undefined) this.#due.delete(next.id);
      else next.at += next.every;
      next.run();
      await settle();
    }
    this.now = end;
  }

  // pending is the number of timers that wait.
  get pending(): number {
    return this.#due.size;
  }
}

// settle returns once everything that waits for nothing but promises has run.
export async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise<void>((resolve) => setImmediateForReal(resolve));
}
