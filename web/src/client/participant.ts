// Being a participant of a room (docs/STATIONS.md): one that the gateway keeps as long as
// it hears of it.
import { Refused, ask, json, own } from './http.ts';
import { Backoff, Pause } from './retry.ts';
import type { Participant, Self } from './rooms.ts';

const HEARTBEAT = 3_000; // ms; the gateway gives up after 10 s without

export interface ParticipationOptions {
  token?: string | undefined;
  // onChange tells what the gateway says of the participant. Its id changes when it had to
  // enter anew.
  onChange?(participant: Participant): void;
  // onState tells whether others see the participant; err says why not, if the gateway has
  // refused.
  onState?(state: 'in' | 'out', err?: Refused): void;
}

// A Participation is in the room from enter to leave. It enters anew where the gateway has
// forgotten it, leaves with the page, and comes back with one that the browser has kept.
export class Participation {
  #room: string; // URL of the room's participants
  #self: Self;
  #options: ParticipationOptions;
  #url: string | undefined; // a secret: whoever has it is the participant
  #changed: Partial<Self> = {}; // not told yet
  #pause = new Pause();
  #stop: AbortController | undefined;
  #participant: Participant | undefined;

  // The room is given by the URL of its participants: /api/rooms/{room}/participants.
  constructor(room: string, self: Self, options: ParticipationOptions = {}) {
    this.#room = room;
    this.#self = { ...self };
    this.#options = options;
  }

  // participant is what the gateway said last; undefined while not in the room.
  get participant(): Participant | undefined {
    return this.#participant;
  }

  // enter keeps the participant in the room until leave.
  enter(): void {
    if (this.#stop) return;
    this.#stop = new AbortController();
    globalThis.addEventListener?.('pagehide', this.#hide);
    globalThis.addEventListener?.('pageshow', this.#show);
    globalThis.addEventListener?.('online', this.#hurry);
    void this.#run(this.#stop.signal);
  }

  // change tells what is new of the participant, at once; several changes go together.
  change(what: Partial<Self>): void {
    Object.assign(this.#self, what);
    Object.assign(this.#changed, what);
    this.#pause.wake();
  }

  // answer ends another's call, lower takes his hand down. Both throw Refused, with 409 if
  // he is not in the room any more.
  answer(id: string): Promise<void> {
    return this.#about({ answer: id });
  }

  lower(id: string): Promise<void> {
    return this.#about({ lower: id });
  }

  async #about(other: Record<string, string>): Promise<void> {
    const url = this.#url;
    if (!url) throw new TypeError('not in the room');
    const { value } = await json<Participant>(url, this.#options.token, { method: 'PATCH', body: other });
    if (url === this.#url) this.#is(value);
  }

  // leave takes the participant out of the room. It works while the page goes away.
  leave(): void {
    globalThis.removeEventListener?.('pageshow', this.#show);
    this.#end();
  }

  #end(): void {
    globalThis.removeEventListener?.('pagehide', this.#hide);
    globalThis.removeEventListener?.('online', this.#hurry);
    this.#stop?.abort();
    this.#stop = undefined;
    this.#participant = undefined;
    const url = this.#url;
    this.#url = undefined;
    if (url) ask(url, this.#options.token, { method: 'DELETE', keepalive: true }).then((res) => res.text()).catch(() => {});
  }

  // hurry asks whether the participant is still in the room now instead of when it is time, such as
  // when the room has moved.
  hurry(): void {
    this.#pause.wake();
  }

  #hide = (): void => this.#end();
  #show = (e: Event): void => {
    if ((e as PageTransitionEvent).persisted) this.enter();
  };
  #hurry = (): void => this.#pause.wake();

  async #run(signal: AbortSignal): Promise<void> {
    const backoff = new Backoff([500, 1_000, 2_000, 3_000]);
    while (!signal.aborted) {
      let wait = HEARTBEAT;
      try {
        if (this.#url) await this.#tell(this.#url, signal);
        else await this.#post(signal);
        backoff.reset();
      } catch (err) {
        if (signal.aborted) return;
        const refused = err instanceof Refused ? err : undefined;
        if (refused && (refused.status === 404 || refused.status === 410) && this.#url) {
          this.#url = undefined; // forgotten: enter anew at once
          continue;
        }
        if (!this.#url || !refused || !unwanted(refused)) {
          this.#participant = undefined;
          this.#options.onState?.('out', refused);
        }
        wait = backoff.next(refused?.retryAfter);
      }
      if (Object.keys(this.#changed).length && this.#participant) continue;
      await this.#pause.of(wait, signal);
    }
  }

  async #post(signal: AbortSignal): Promise<void> {
    this.#changed = {};
    const { value, res } = await json<Participant>(this.#room, this.#options.token, { method: 'POST', body: this.#self });
    const url = own(res.headers.get('Location'), res.url);
    if (!url) throw new Error('the gateway does not say who the participant is');
    if (signal.aborted) {
      // Left while entering: nobody else knows the URL.
      ask(url, this.#options.token, { method: 'DELETE', keepalive: true }).catch(() => {});
      return;
    }
    this.#url = url;
    this.#is(value);
  }

  async #tell(url: string, signal: AbortSignal): Promise<void> {
    const changed = this.#changed;
    this.#changed = {};
    try {
      const { value } = await json<Participant>(url, this.#options.token, { method: 'PATCH', body: changed, signal });
      if (!signal.aborted) this.#is(value);
    } catch (err) {
      // What the gateway does not want it would not want again.
      if (!(err instanceof Refused && unwanted(err))) this.#changed = { ...changed, ...this.#changed };
      throw err;
    }
  }

  #is(participant: Participant): void {
    const was = this.#participant;
    this.#participant = participant;
    // What others have done is not undone where he enters anew.
    for (const name of ['hand', 'call'] as const) if (!(name in this.#changed)) Object.assign(this.#self, { [name]: participant[name] });
    if (!was) this.#options.onState?.('in');
    this.#options.onChange?.(participant);
  }
}

// unwanted reports whether a change was refused for what it says.
function unwanted({ status }: Refused): boolean {
  return status === 400 || status === 403 || status === 413 || status === 415 || status === 422;
}
