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
    const list = box.current?.querySelector<HTMLElement>('.menu-list');
    if (list && button.current) place(list, button.current);
    items()[0]?.focus();
    const away = (e: Event) => {
      if (!box.current?.contains(e.target as Node)) setOpen(false);
    };
    const moved = (e: Event) => {
      if (e.target !== list) setOpen(false); // its button is somewhere else now
    };
    addEventListener('pointerdown', away);
    addEventListener('focusin', away);
    addEventListener('resize', moved);
    addEventListener('scroll', moved, true);
    return () => {
      removeEventListener('resize', moved);
      removeEventListener('scroll', moved, true);
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
        <div class="menu-list" id={id} role="menu" aria-label={label} popover="manual" onKeyDown={keydown}>
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

const GAP = 5; // px

// place puts the list below its button, or above, or beside it where it is too long for
// either, always in the window, and above all else: what is around the button may cut off
// what leaves it.
function place(list: HTMLElement, button: HTMLElement): void {
  if (!list.showPopover) {
    list.removeAttribute('popover'); // an older browser: it lies in the page, and may be cut
    return;
  }
  list.showPopover();
  const b = button.getBoundingClientRect();
  const [below, above, all] = [innerHeight - b.bottom - 2 * GAP, b.top - 2 * GAP, innerHeight - 2 * GAP];
  const wide = list.getBoundingClientRect().width;
  const fits = list.scrollHeight <= Math.max(below, above);
  const left = b.left - wide - GAP;
  const beside = !fits && (left >= GAP || b.right + wide + 2 * GAP <= innerWidth);
  const up = list.scrollHeight > below && above > below;
  list.style.maxHeight = `${beside ? all : Math.max(up ? above : below, Math.min(all, 160))}px`;
  const { width, height } = list.getBoundingClientRect();
  const x = !beside ? b.right - width : left >= GAP ? left : b.right + GAP;
  const y = beside ? b.top : up ? b.top - height - GAP : b.bottom + GAP;
  list.style.left = `${Math.max(GAP, Math.min(x, innerWidth - width - GAP))}px`;
  list.style.top = `${Math.max(GAP, Math.min(y, innerHeight - height - GAP))}px`;
}
