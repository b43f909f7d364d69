import type { ComponentChildren, JSX } from 'preact';

import { IconButton } from './button.tsx';
import { Icon, type IconName } from './icons.tsx';
import { words } from './strings.ts';

export type Urgency = 'info' | 'good' | 'warn' | 'alarm' | 'privacy';

const icons: Record<Urgency, IconName> = { info: 'info', good: 'check', warn: 'warn', alarm: 'alarm', privacy: 'privacy' };

export interface BannerProps {
  kind: Urgency;
  title: ComponentChildren;
  children?: ComponentChildren; // what it means, what to do
  actions?: ComponentChildren;
  onClose?: (() => void) | undefined;
  quiet?: boolean; // for what is there from the beginning: it is not read out by itself
  big?: boolean; // to be read from two metres
}

// A Banner says what is so now. What must be known at once (alarm, privacy) is an alert to
// those who listen; the rest waits for its turn.
export function Banner({ kind, title, children, actions, onClose, quiet, big }: BannerProps): JSX.Element {
  const role = quiet ? undefined : kind === 'alarm' || kind === 'privacy' ? 'alert' : 'status';
  return (
    <div class={`banner ${kind}${big ? ' big' : ''}`} role={role}>
      <Icon name={icons[kind]} />
      <div class="banner-words">
        <strong>{title}</strong>
        {children && <div class="banner-more">{children}</div>}
      </div>
      {actions && <div class="banner-actions">{actions}</div>}
      {onClose && <IconButton icon="close" label={words.close} kind="quiet" onClick={onClose} />}
    </div>
  );
}
