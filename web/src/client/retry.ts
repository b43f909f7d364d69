// When to try again. All times are milliseconds.

// A Backoff tells how long to wait after each failure: longer and longer, and with up to a
// quarter more, so that clients who failed together do not come back together.
export class Backoff {
  static readonly longest = 60_000;
  #failures = 0;

  constructor(private readonly steps: readonly number[] = [300, 600, 1_200, 2_400, 4_000]) {}

  // next returns the wait after another failure. What the server asked for counts
  // instead of the steps (RFC 9110, section 10.2.3), and is no reason to wait longer next time.
  next(asked?: number): number {
    const step = this.steps[Math.min(this.#failures, this.steps.length - 1)] ?? 0;
    if (asked === undefined) this.#failures++;
    return Math.min(asked ?? step, Backoff.longest) * (1 + Math.random() / 4);
  }

  reset(): void {
    this.#failures = 0;
  }
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
