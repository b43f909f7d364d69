import type { Participant } from '../client/rooms.ts';

// A station's name as a publisher is kept as long as the tab, so that who loads the page again is the same. Another
// station in the same tab is somebody else.
const key = (role: string, room: string) => `sightline.voice.${role}.${room}`;

export function keptVoice(role: string, room: string): string {
  try {
    return sessionStorage.getItem(key(role, room)) ?? '';
  } catch {
    return '';
  }
}

export function keepVoice(role: string, room: string, name: string): void {
  try {
    sessionStorage.setItem(key(role, room), name);
  } catch {
    // Then it is picked anew.
  }
}

// others are the people in the room but oneself. past are ids that this page had before: where it has
// entered anew, such as after a restart of the gateway, what is known may still have its former self.
export function others(people: readonly Participant[], me: string | undefined, past: ReadonlySet<string>): Participant[] {
  return people.filter((p) => p.id !== me && !past.has(p.id));
}
