import type { ComponentChildren, JSX, Ref } from 'preact';

import { Icon, type IconName } from './icons.tsx';

export interface ButtonProps {
  children?: ComponentChildren;
  icon?: IconName;
  onClick?(e: MouseEvent): void;
  kind?: 'plain' | 'primary' | 'danger' | 'privacy' | 'quiet';
  size?: 'normal' | 'large';
  type?: 'button' | 'submit';
  disabled?: boolean;
  busy?: boolean; // it does it: not to be pressed again, but the focus may stay
  pressed?: boolean; // of a button that is on or off
  expanded?: boolean; // of one that opens something beside it
  keys?: string; // its hotkey, as aria-keyshortcuts
  title?: string;
  id?: string;
  class?: string;
  label?: string; // for those who listen, where the text alone does not say it
  describedBy?: string;
  inner?: Ref<HTMLButtonElement>;
}

export function Button({ children, icon, onClick, kind = 'plain', size = 'normal', type = 'button', disabled, busy, pressed, expanded, keys, title, id, class: more, label, describedBy, inner }: ButtonProps): JSX.Element {
  const names = ['button', kind, size === 'large' && 'large', pressed && 'on', !children && 'bare', more];
  return (
    <button
      ref={inner ?? null}
      type={type}
      class={names.filter(Boolean).join(' ')}
      disabled={disabled}
      onClick={busy ? undefined : onClick}
      aria-disabled={busy}
      aria-pressed={pressed}
      aria-expanded={expanded}
      aria-keyshortcuts={keys}
      aria-label={label}
      aria-describedby={describedBy}
      title={title}
      id={id}
    >
      {icon && <Icon name={icon} />}
      {children && <span class="words">{children}</span>}
    </button>
  );
}

// IconButton has no words to see but a tip: for what everybody knows, such as close.
export function IconButton({ label, ...props }: Omit<ButtonProps, 'children'> & { icon: IconName; label: string }): JSX.Element {
  const tip = props.keys ? `${label} (${props.keys})` : label;
  return <Button {...props} label={label} title={props.title ?? tip} />;
}

export interface LinkButtonProps extends Pick<ButtonProps, 'children' | 'icon' | 'kind' | 'size' | 'class' | 'id' | 'onClick' | 'describedBy'> {
  href: string;
  beside?: boolean; // in a tab of its own
}

// LinkButton goes somewhere and looks as a button does.
export function LinkButton({ href, children, icon, kind = 'plain', size = 'normal', class: more, id, onClick, describedBy, beside }: LinkButtonProps): JSX.Element {
  return (
    <a class={['button', kind, size === 'large' && 'large', more].filter(Boolean).join(' ')} href={href} id={id} onClick={onClick} aria-describedby={describedBy} {...(beside ? { target: '_blank', rel: 'noopener' } : {})}>
      {icon && <Icon name={icon} />}
      <span class="words">{children}</span>
    </a>
  );
}
