// Calling the technician: it rings at all who are here, until one answers, nobody has for
// 60 s, or it is called off. The gateway ends it in the first two cases, and does not say
// which of them it was.
import type { Participant, Self } from '../client/rooms.ts';
import { Store } from '../ui/store.ts';

export const PATIENCE = 60_000; // ms, of the gateway
const NEARLY = 2_500; // a call that ends as near to its time as this was not answered

export interface CallState {
  state: 'none' | 'calling' | 'answered' | 'unanswered';
  since: number; // ms of performance.now(): the computer's clock may be put right meanwhile
  by: string; // who has answered, if that is known
}

const NONE: CallState = { state: 'none', since: 0, by: '' };

type Tell = (what: Partial<Self>) => void;

export class Call {
  readonly store = new Store<CallState>(NONE);
  #known = ''; // id of the participant whom the gateway has calling

  get calling(): boolean {
    return this.store.value.state === 'calling';
  }

  start(tell: Tell, now = performance.now()): void {
    this.#known = '';
    this.store.set({ state: 'calling', since: now, by: '' });
    tell({ call: 'technician' });
  }

  // end calls it off, or puts away what came of it.
  end(tell: Tell): void {
    if (this.calling) tell({ call: '' });
    this.store.set(NONE);
  }

  // take looks at what the gateway says of oneself, and who could have answered.
  take(me: Participant | undefined, people: readonly Participant[], tell: Tell, now = performance.now()): void {
    if (!this.calling || !me) return;
    const { since } = this.store.value;
    const late = now - since > PATIENCE + NEARLY;
    if (me.call && !late) {
      this.#known = me.id;
      return;
    }
    // Not told yet, or not to a gateway that has started again since.
    if (this.#known !== me.id && !late) return;
    const answered = now - since < PATIENCE - NEARLY;
    const technicians = people.filter((p) => p.role === 'technician' && p.id !== me.id);
    this.store.set({ state: answered ? 'answered' : 'unanswered', since, by: answered && technicians.length === 1 ? technicians[0]!.name : '' });
    tell({ call: '' }); // else it would call again where it has to enter anew
  }
}
