// Requests to the gateway, and its answers that are not the ones hoped for.
import { delay } from './retry.ts';

const TIMEOUT = 10_000; // ms

// Refused is an answer other than the one hoped for. retryAfter is in milliseconds, or
// undefined if the server does not say; kind is the stable word of the problem document.
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly detail: string,
    readonly retryAfter?: number,
    readonly kind = '',
  ) {
    super(detail || `status ${status}`);
    this.name = 'Refused';
  }

  static async from(res: Response): Promise<Refused> {
    let problem: { detail?: unknown; kind?: unknown } = {};
    const body = await res.text().catch(() => '');
    if (/^application\/problem\+json\b/i.test(res.headers.get('Content-Type') ?? '')) {
      try {
        problem = JSON.parse(body) ?? {}; // RFC 9457
      } catch {
        // No detail, then; the status says enough.
      }
    }
    return new Refused(res.status, String(problem.detail ?? ''), delay(res.headers.get('Retry-After')), String(problem.kind ?? ''));
  }
}

export interface Request {
  method?: string;
  headers?: Record<string, string>;
  body?: string;
  signal?: AbortSignal | undefined;
  keepalive?: boolean; // it outlives the page
  timeout?: number; // ms until the answer is there; Infinity for none
}

// ask sends a request with the token, if there is one, else with the cookie of who has signed in,
// if the gateway is the page's own. It rejects with a TypeError if the
// server can't be reached, with a TimeoutError, or with what signal was aborted with; any
// answer resolves, once it is there whole. Without a timeout, its body is still on its way.
export async function ask(url: string, token: string | undefined, { headers, signal, timeout = TIMEOUT, ...init }: Request = {}): Promise<Response> {
  const abort = new AbortController(); // not AbortSignal.any: the browser inside OBS 30 has none
  const stop = () => abort.abort(signal?.reason ?? new DOMException('no answer in time', 'TimeoutError'));
  if (signal?.aborted) stop();
  const timer = timeout < Infinity ? setTimeout(stop, timeout) : undefined;
  signal?.addEventListener('abort', stop);
  try {
    const res = await fetch(url, {
      ...init,
      headers: { ...(token ? { Authorization: `Bearer ${token}` } : {}), ...headers },
      cache: 'no-store',
      credentials: token ? 'omit' : 'same-origin',
      signal: abort.signal,
    });
    // A gateway that dies in the middle of its answer would be waited for without end.
    if (timeout < Infinity) await res.clone().arrayBuffer();
    return res;
  } finally {
    clearTimeout(timer);
    // A stream is still read after its answer: it goes on listening to signal.
    if (timeout < Infinity) signal?.removeEventListener('abort', stop);
  }
}

// json asks for JSON, or sends some as body. It throws Refused for any status but 2xx.
export async function json<T>(url: string, token: string | undefined, request: Omit<Request, 'body'> & { body?: unknown } = {}): Promise<{ value: T; res: Response }> {
  const { body, headers, ...rest } = request;
  const res = await ask(url, token, {
    ...rest,
    headers: { ...headers, ...(body === undefined ? {} : { 'Content-Type': 'application/json' }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  if (!res.ok) throw await Refused.from(res);
  const text = await res.text();
  return { value: (text ? JSON.parse(text) : undefined) as T, res };
}

// own returns the URL of what a request has made. A gateway names it under its public
// address; if this page came by another of its addresses, only there it may ask, and what
// was made is there too, below the same path.
export function own(location: string | null, base: string): string | undefined {
  if (!location) return undefined;
  const url = new URL(location, base);
  if (url.origin === new URL(base).origin) return url.href;
  const root = new URL(base).pathname.replace(/\/(whip|whep|api)\/.*$/, '');
  return new URL(root + url.pathname.replace(/^.*?(?=\/(sessions|api)\/)/, ''), base).href;
}
