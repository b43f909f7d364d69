// What both elements have in common.

// The gateway's root is where this script came from: /assets/sightline.js, or
// /assets/{version}/sightline.js, below any path of a proxy.
const script = import.meta.url;
const root = script.replace(/\/assets\/.*$/, '/');

// resolve returns the URL that a src names. One that is not whole is of the gateway that
// the script came from, not of the page that has the element.
export function resolve(src: string): string {
  return new URL(src, src.startsWith('/') ? script : root).href;
}

type Child = Node | string;

// el makes an element without a parser: pages may forbid theirs to strings (Trusted Types).
export function el<K extends keyof HTMLElementTagNameMap>(tag: K, attributes: Record<string, string> = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  e.append(...children);
  return e;
}

// text sets an element's text: live regions speak at each change.
export function text(element: Element, words: string): void {
  if (element.textContent !== words) element.textContent = words;
}

export function duration(seconds: number): string {
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 3600)} h`;
}

// A StreamElement starts when it is in a document, and stops when it has left it for
// longer than a move takes.
export abstract class StreamElement extends HTMLElement {
  #due = false;
  #told = '';
  #level = 0;

  constructor(css: string) {
    super();
    const sheet = new CSSStyleSheet(); // no inline style: pages may forbid that
    sheet.replaceSync(css);
    this.attachShadow({ mode: 'open' }).adoptedStyleSheets = [sheet];
  }

  connectedCallback(): void {
    this.settle();
  }

  disconnectedCallback(): void {
    this.settle();
  }

  // settle makes what runs what the attributes say, once for all that happens in a turn.
  protected settle(): void {
    if (this.#due) return;
    this.#due = true;
    queueMicrotask(() => {
      this.#due = false;
      this.apply();
    });
  }

  protected abstract apply(): void;

  protected attribute(name: string): string {
    return this.getAttribute(name) ?? '';
  }

  protected number(name: string): number | undefined {
    const n = Number(this.getAttribute(name) || NaN);
    return Number.isFinite(n) && n > 0 ? n : undefined;
  }

  // tellState fires statechange if the state is another one than before.
  protected tellState(state: string, words: string, detail: string): void {
    const now = `${state}\n${words}\n${detail}`;
    if (now === this.#told) return;
    const was = this.#told.split('\n')[0] ?? '';
    this.#told = now;
    this.dispatchEvent(new CustomEvent('statechange', { detail: { state, was, words, detail } }));
  }

  protected tellLevel(level: number): void {
    if (level === this.#level) return;
    this.#level = level;
    this.dispatchEvent(new CustomEvent('levelchange', { detail: { level } }));
  }
}

export const SHEET = `
:host { display: inline-block; position: relative; width: 100%; max-width: 100%; aspect-ratio: 16 / 9; background: #000; color: #f4f6f8; font: 1rem/1.35 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; overflow: hidden; container-type: inline-size; }
:host([hidden]), [hidden] { display: none !important; }
video { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; background: #000; }
#message { position: absolute; inset: 0; display: flex; flex-direction: column; align-items: center; justify-content: center; gap: .3em; padding: 1em; text-align: center; pointer-events: none; }
#state { margin: 0; font-size: clamp(1rem, 5cqi, 2rem); font-weight: 600; font-variant-numeric: tabular-nums; }
#state::before { content: ""; display: inline-block; width: .55em; height: .55em; margin-right: .4em; border-radius: 50%; background: #8ec5ff; }
#detail { margin: 0; max-width: 42ch; color: #c9d1d9; overflow-wrap: anywhere; }
#detail:empty { display: none; }
.shown #message { inset: .5em auto auto .5em; max-width: calc(100% - 1em); align-items: flex-start; padding: .35em .7em; border-radius: .5em; background: rgb(8 12 16 / .82); text-align: left; }
.shown #state { font-size: clamp(.9rem, 3cqi, 1.4rem); }
[data-state="live"] #state::before { background: #4bd6a5; }
:is([data-state="ended"], [data-state="busy"], [data-state="paused"]) #state::before { background: #ffc53d; }
:is([data-state="refused"], [data-state="unplayable"], [data-state="failed"]) #state::before { background: #ff9c94; border-radius: 0; }
.shown:is([data-state="frozen"], [data-state="reconnecting"], [data-state="device-lost"], .gap) #message { background: #ffc53d; color: #1a1300; }
.shown:is([data-state="frozen"], [data-state="reconnecting"], [data-state="device-lost"]) #detail { color: #1a1300; }
.shown:is([data-state="frozen"], [data-state="reconnecting"], [data-state="device-lost"], .gap) #state::before { background: #1a1300; border-radius: 0; }
#meter { position: absolute; inset: auto 1em 1em; height: .8em; border-radius: .4em; background: #1d262f; overflow: hidden; }
#level { height: 100%; background: linear-gradient(90deg, #2f9e7c 60%, #ffc53d 85%, #ff9c94); clip-path: inset(0 100% 0 0); transition: clip-path .1s linear; }
#bar { position: absolute; inset: auto 0 0; display: flex; justify-content: flex-end; gap: .5em; padding: .5em; opacity: 0; transition: opacity .25s; }
:host(:hover) #bar, #bar:focus-within, .blocked #bar { opacity: 1; }
button { min-height: 2.75rem; padding: .4em .9em; border: 1px solid #7d8793; border-radius: .5rem; background: #1d262f; color: inherit; font: inherit; cursor: pointer; }
button:hover { background: #2d3946; }
button:focus-visible { outline: 3px solid #8ec5ff; outline-offset: 2px; }
.blocked #sound { background: #ffc53d; border-color: #ffc53d; color: #1a1300; font-weight: 600; }
@media (prefers-reduced-motion: reduce) { #bar, #level { transition: none; } }
@media (forced-colors: active) { #state::before, #level { forced-color-adjust: none; } }
`;
