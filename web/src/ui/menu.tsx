import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';

import { Button } from './button.tsx';
import { Icon, type IconName } from './icons.tsx';

export interface Action {
  label: string;
  icon?: IconName;
  run(): void;
  href?: string; // goes there instead
  danger?: boolean;
  disabled?: boolean;
  keys?: string;
}

export interface MenuProps {
  label: string;
  actions: readonly Action[];
  icon?: IconName;
  children?: ComponentChildren; // words of the button
}

// A Menu opens a list of actions below a button. Arrow keys move in it, Escape closes it.
export function Menu({ label, actions, icon = 'more', children }: MenuProps): JSX.Element {
  const [open, setOpen] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const id = useId();
  const items = () => [...(box.current?.querySelectorAll<HTMLElement>('.menu-list > *:not([disabled])') ?? [])];
  useEffect(() => {
    if (!open) return undefined;
    items()[0]?.focus();
    // Where it would leave the window it opens upwards, or to the other side.
    const list = box.current?.querySelector('.menu-list');
    const { bottom, left } = list?.getBoundingClientRect() ?? { bottom: 0, left: 0 };
    list?.classList.toggle('up', bottom > innerHeight);
    list?.classList.toggle('right', left < 0);
    const away = (e: Event) => {
      if (!box.current?.contains(e.target as Node)) setOpen(false);
    };
    addEventListener('pointerdown', away);
    addEventListener('focusin', away);
    return () => {
      removeEventListener('pointerdown', away);
      removeEventListener('focusin', away);
    };
  }, [open]);
  const close = () => {
    setOpen(false);
    button.current?.focus();
  };
  const keydown = (e: KeyboardEvent) => {
    const all = items();
    const at = all.indexOf(document.activeElement as HTMLElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[e.key];
    if (e.key === 'Escape') close();
    else if (to !== undefined) all[(to + all.length) % all.length]?.focus();
    else return;
    e.preventDefault();
    e.stopPropagation();
  };
  return (
    <div class="menu" ref={box}>
      <Button inner={button} icon={icon} label={label} title={children ? '' : label} kind="quiet" expanded={open} onClick={() => setOpen(!open)}>
        {children}
      </Button>
      {open && (
        <div class="menu-list" id={id} role="menu" aria-label={label} onKeyDown={keydown}>
          {actions.map((a) =>
            a.href ? (
              <a key={a.label} role="menuitem" tabIndex={-1} href={a.href} target="_blank" rel="noreferrer" onClick={() => close()}>
                {a.icon && <Icon name={a.icon} />}
                {a.label}
              </a>
            ) : (
              <button
                key={a.label}
                type="button"
                role="menuitem"
                tabIndex={-1}
                class={a.danger ? 'danger' : ''}
                disabled={a.disabled}
                onClick={() => {
                  close();
                  a.run();
                }}
              >
                {a.icon && <Icon name={a.icon} />}
                {a.label}
                {a.keys && <kbd>{a.keys}</kbd>}
              </button>
            ),
          )}
        </div>
      )}
    </div>
  );
}
