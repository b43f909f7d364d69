// Values that change, and components that show them.
import { useEffect, useReducer, useRef } from 'preact/hooks';

// A Store holds one value and tells when it is another.
export class Store<T> {
  #value: T;
  #listeners = new Set<() => void>();

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    return this.#value;
  }

  set(value: T): void {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    for (const listener of [...this.#listeners]) listener();
  }

  // patch changes some members of a value that is an object.
  patch(what: Partial<T>): void {
    this.set({ ...this.#value, ...what });
  }

  // subscribe returns what ends it.
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }
}

// useStore shows what select makes of a store's value, and renders again when that changes.
export function useStore<T>(store: Store<T>): T;
export function useStore<T, S>(store: Store<T>, select: (value: T) => S): S;
export function useStore<T, S>(store: Store<T>, select: (value: T) => S = (v) => v as unknown as S): S {
  const [, again] = useReducer((n: number) => n + 1, 0);
  const shown = useRef<S>();
  const now = select(store.value);
  shown.current = now;
  useEffect(() => {
    const look = () => {
      if (!Object.is(select(store.value), shown.current)) again(0);
    };
    look(); // it may have changed between render and effect
    return store.subscribe(look);
  }, [store]);
  return now;
}

// useTick renders again every ms milliseconds, for ages and the like; 0 is never.
export function useTick(ms: number): void {
  const [, again] = useReducer((n: number) => n + 1, 0);
  useEffect(() => {
    if (!ms) return undefined;
    const timer = setInterval(() => again(0), ms);
    return () => clearInterval(timer);
  }, [ms]);
}
