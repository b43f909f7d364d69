// When to try again. All times are milliseconds.

// A Backoff tells how long to wait after each failure: longer and longer, and with up to a
// quarter more, so that clients who failed together do not come back together.
export class Backoff {
  static readonly longest = 60_000;
  static readonly steps = [240, 500, 1_000, 2_000, 4_000]; // the first is at most 300 with what is added
  #failures = 0;

  constructor(private readonly steps: readonly number[] = Backoff.steps) {}

  // next returns the wait after another failure. What the server asked for counts
  // instead of the steps (RFC 9110, section 10.2.3), and is no reason to wait longer next time.
  // None, or a time that is over by this machine's clock, is nothing asked for.
  next(asked?: number): number {
    const step = this.steps[Math.min(this.#failures, this.steps.length - 1)] ?? 0;
    if (!asked) this.#failures++;
    return Math.min(asked || step, Backoff.longest) * (1 + Math.random() / 4);
  }

  reset(): void {
    this.#failures = 0;
  }
}

// A room that moves to another gateway of the cluster, or whose gateway is started anew, is back in a
// moment. For so long what was shown may stay, and answers that say "not yet" are asked for again soon.
export const MOVING = 5_000;

// notYet reports whether an answer may be another one in a moment, while a room moves: its publisher
// is not there yet, or the gateway does not know who has it.
export function notYet(status: number): boolean {
  return status === 404 || status === 409 || (status >= 502 && status <= 504);
}

// delay reads Retry-After: seconds or a date (RFC 9110, section 10.2.3).
export function delay(value: string | null): number | undefined {
  if (!value) return undefined;
  if (/^\d+$/.test(value)) return Number(value) * 1000;
  const at = Date.parse(value);
  return Number.isNaN(at) ? undefined : Math.max(0, at - Date.now());
}

// A Pause is a wait that can be cut short.
export class Pause {
  #wake: () => void = () => {};

  // of resolves after ms, or at wake, or when signal is aborted. It never rejects.
  of(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const done = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      signal?.addEventListener('abort', done);
      this.#wake = done;
    });
  }

  wake(): void {
    this.#wake();
  }
}
