// A gateway for tests, in place of fetch: it keeps all requests, and answers as it is told.

export interface Asked {
  method: string;
  url: string;
  headers: Record<string, string>;
  body: string;
  keepalive: boolean;
}

type Answer = (asked: Asked, signal: AbortSignal) => Response | Promise<Response>;

export class FakeGateway {
  readonly asked: Asked[] = [];
  answer: Answer = () => new Response('', { status: 404 });

  static install(answer?: Answer): FakeGateway {
    const gateway = new FakeGateway();
    if (answer) gateway.answer = answer;
    globalThis.fetch = (async (url: string, init: RequestInit = {}) => {
      const asked: Asked = {
        method: init.method ?? 'GET',
        url,
        headers: { ...(init.headers as Record<string, string>) },
        body: String(init.body ?? ''),
        keepalive: init.keepalive ?? false,
      };
      gateway.asked.push(asked);
      const signal = init.signal!;
      const res = await new Promise<Response>((resolve, reject) => {
        if (signal.aborted) return reject(signal.reason);
        signal.addEventListener('abort', () => reject(signal.reason));
        Promise.resolve(gateway.answer(asked, signal)).then(resolve, reject);
      });
      if (!res.url) Object.defineProperty(res, 'url', { value: url });
      return res;
    }) as typeof fetch;
    return gateway;
  }

  // of returns the requests with that method.
  of(method: string): Asked[] {
    return this.asked.filter((a) => a.method === method);
  }
}

export const unreachable = (): never => {
  throw new TypeError('fetch failed');
};

export const silent = () => new Promise<Response>(() => {});

export function problem(status: number, detail: string, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify({ status, detail, kind: 'test' }), { status, headers: { 'Content-Type': 'application/problem+json', ...headers } });
}
