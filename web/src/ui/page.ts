// Where a page is: what its HTML says, and the token of its URL.
import { Gateway } from '../client/rooms.ts';

const { root = './', room = '', page = '', reserved = '' } = document.body.dataset;

export const here = {
  page, // "root", "lobby", "hospital", "technician", "room"
  room,
  reserved: reserved.split(' ').filter(Boolean), // names that no room can have
  token: new URLSearchParams(location.hash.slice(1)).get('token') ?? '',
};

export const gateway = new Gateway(new URL(root, location.href).href, here.token);

// href is a link to a page of this gateway, below any path of a proxy, with the token of
// this page.
export function href(...path: string[]): string {
  return `${root}${path.map(encodeURIComponent).join('/')}${here.token ? `#token=${encodeURIComponent(here.token)}` : ''}`;
}

// Another token is another page.
export function reloadWithToken(): void {
  addEventListener('hashchange', () => {
    if ((new URLSearchParams(location.hash.slice(1)).get('token') ?? '') !== here.token) location.reload();
  });
}
