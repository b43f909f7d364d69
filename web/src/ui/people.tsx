import type { ComponentChildren, JSX } from 'preact';

import type { Participant } from '../client/rooms.ts';
import { Icon, type IconName } from './icons.tsx';
import { words } from './strings.ts';

// A role is any name that its bearer gives himself: "constructor" is one, and no word of ours.
export function roleName(role: string): string {
  return Object.hasOwn(words.roles, role) ? words.roles[role]! : role;
}

export interface PeopleProps {
  people: readonly Participant[];
  me?: string | undefined; // id
  actions?: (p: Participant) => ComponentChildren; // mute, lower the hand
}

// People is who is in the room, with what each of them does.
export function People({ people, me, actions }: PeopleProps): JSX.Element {
  if (!people.length) return <p class="soft">{words.people.nobody}</p>;
  return (
    <ul class="people">
      {people.map((p) => (
        <li key={p.id} class={p.speaking ? 'speaking' : ''}>
          <div class="who">
            <strong>
              {p.name}
              {p.id === me && <span class="soft"> ({words.people.you})</span>}
            </strong>
            {p.role && <span class={`role ${p.role}`}>{roleName(p.role)}</span>}
          </div>
          <div class="does">
            {p.call && <Sign icon="call" text={words.people.calls(roleName(p.call))} tone="warn" />}
            {p.hand && <Sign icon="hand" text={words.people.hand} tone="warn" />}
            {p.privacy && <Sign icon="privacy" text={words.people.privacy} tone="privacy" />}
            {p.speaking && <Sign icon="speaker" text={words.people.speaks} tone="good" />}
            {p.microphone !== 'none' && <Sign icon={p.microphone === 'on' ? 'microphone' : 'microphone-off'} text={words.people.microphone[p.microphone]} small />}
            {p.camera !== 'none' && <Sign icon={p.camera === 'on' ? 'camera' : 'camera-off'} text={words.people.camera[p.camera]} small />}
            {p.microphone === 'none' && p.camera === 'none' && <span class="soft">{words.people.listens}</span>}
          </div>
          {actions && <div class="acts">{actions(p)}</div>}
        </li>
      ))}
    </ul>
  );
}

// A Sign is an icon with words: beside it, or for those who listen and point only.
export function Sign({ icon, text, tone = 'none', small }: { icon: IconName; text: string; tone?: string; small?: boolean }): JSX.Element {
  return (
    <span class={`sign ${tone}${small ? ' small' : ''}`} title={small ? text : undefined}>
      <Icon name={icon} />
      <span class={small ? 'unseen' : ''}>{text}</span>
    </span>
  );
}
