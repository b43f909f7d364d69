// A call from the hospital: a banner that nobody can miss, a ring, and the title, which is
// all that is seen of a page in another tab.
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';

import type { Participant } from '../client/rooms.ts';
import { Banner } from '../ui/banner.tsx';
import { Button } from '../ui/button.tsx';
import { note } from '../ui/diagnostics.ts';
import { useHotkeys } from '../ui/hotkeys.tsx';
import { roleName } from '../ui/people.tsx';
import { ring } from '../ui/sounds.ts';
import { toast } from '../ui/toasts.tsx';
import { titleCall } from './title.ts';
import { w } from './words.ts';

const FLASH = 1_000; // ms; browsers let a hidden page do no more

export interface CallsProps {
  people: readonly Participant[];
  me: string | undefined;
  role: string; // that is called
  onAnswer(caller: Participant): Promise<boolean>; // whether the microphone is on then
}

export function Calls({ people, me, role, onAnswer }: CallsProps): JSX.Element | null {
  const calling = people.filter((p) => p.call === role && p.id !== me);
  // Those whose call is not for now, as long as it lasts.
  const [declined, setDeclined] = useState<readonly string[]>([]);
  const [answered, setAnswered] = useState<readonly string[]>([]);
  const ids = calling.map((p) => p.id).join(' ');
  const before = useRef<readonly Participant[]>([]);
  useEffect(() => {
    const now = ids.split(' ');
    for (const p of before.current) {
      if (now.includes(p.id)) continue;
      note('call over');
      if (!answered.includes(p.id) && !declined.includes(p.id)) toast(w.call.over(p.name));
    }
    for (const p of calling) if (!before.current.some((b) => b.id === p.id)) note('call');
    before.current = calling;
    setDeclined((all) => all.filter((id) => now.includes(id)));
    setAnswered((all) => all.filter((id) => now.includes(id)));
  }, [ids]);
  const caller = calling.find((p) => !declined.includes(p.id) && !answered.includes(p.id));

  useEffect(() => {
    if (!caller) return undefined;
    const stop = ring();
    let on = false;
    const flash = () => {
      on = !on;
      titleCall(on ? w.call.flash(caller.name) : '');
    };
    flash();
    const timer = setInterval(flash, FLASH);
    return () => {
      stop();
      clearInterval(timer);
      titleCall('');
    };
  }, [caller?.id]);

  const answer = async () => {
    if (!caller) return;
    setAnswered((all) => [...all, caller.id]);
    try {
      const heard = await onAnswer(caller);
      if (heard) toast(w.call.answered(caller.name), 'good');
      else toast(w.call.unheard(caller.name), 'warn');
    } catch (err) {
      note('answer', String(err));
      setAnswered((all) => all.filter((id) => id !== caller.id)); // it rings on, if he still calls
      toast(w.call.failed, 'warn');
    }
  };
  if (!caller) return null;
  return <CallBanner caller={caller} onAnswer={() => void answer()} onDecline={() => setDeclined((all) => [...all, caller.id])} />;
}

export function CallBanner({ caller, onAnswer, onDecline }: { caller: Participant; onAnswer(): void; onDecline(): void }): JSX.Element {
  useHotkeys([{ key: 'a', does: w.keys.answer, run: onAnswer, group: w.keys.sound }]);
  return (
    <div class="call">
      <Banner
        kind="alarm"
        big
        title={w.call.title(caller.name, caller.role && roleName(caller.role) !== caller.name ? roleName(caller.role) : '')}
        actions={
          <>
            <Button icon="call" size="large" class="answer" onClick={onAnswer} keys="a">
              {w.call.answer}
            </Button>
            <Button size="large" onClick={onDecline}>
              {w.call.notNow}
            </Button>
          </>
        }
      >
        {w.call.more}
      </Banner>
    </div>
  );
}
