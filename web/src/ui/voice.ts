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
