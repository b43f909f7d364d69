// The room API (docs/API.md, docs/STATIONS.md) and the URLs of a gateway, typed.
import { json } from './http.ts';
import type { Kind } from './session.ts';

export type TrackState = 'connecting' | 'live' | 'stalled' | 'gone';

export interface Track {
  id: string;
  room: string;
  publisher: string;
  kind: Kind;
  label: string;
  role: string;
  codec: string;
  profile: string;
  width: number;
  height: number;
  fps: number;
  bitrate: number; // bit/s
  state: TrackState;
  since: string;
  muted: boolean;
  packetAgeMs: number | null;
  keyframeAgeMs: number | null;
  keyframeIntervalMs: number | null;
  loss: number; // fraction, before repair
  rttMs: number | null;
  viewers: number;
  watchers?: string[]; // ids of participants
  session: string;
  client: string;
  path: string;
  whep: string;
  watch: string;
}

export interface Publisher {
  name: string;
  label: string;
  role: string;
  session: string;
  client: string;
  since: string;
  muted: boolean;
  speaking: boolean;
  whip: string;
  whep: string;
  returnAudio: string;
  watch: string;
  tracks: Track[];
}

export interface Room {
  name: string;
  since: string;
  viewers: number;
  listeners: number;
  mix: string;
  publishers: Publisher[];
  participants?: Participant[];
}

export type Device = 'on' | 'off' | 'none';

// What a person says of himself.
export interface Self {
  name: string;
  role: string;
  microphone: Device;
  camera: Device;
  hand: boolean;
  privacy: boolean;
  call: string; // the role that is being called
  publishers: string[]; // the first is his voice
}

export interface Participant extends Self {
  id: string;
  since: string;
  handSince: string | null;
  speaking: boolean;
  listening: boolean;
}

// The pages' limits: [stations] of the gateway's configuration.
export interface Stations {
  maxBitrate: number; // bit/s of a camera
  frameRate: number;
  quality: string; // width and height in one word
  width: number;
  height: number;
  muteFrom: number; // participants, from which on one who enters is muted
}

export type Scope = 'whip:publish' | 'whep:play' | 'room:read' | 'room:speak' | 'room:admin';

// Who one is, and what he may do.
export interface Me {
  signIn: boolean; // people can sign in
  open: boolean; // nobody has to say who he is
  who: {
    name: string;
    label: string; // for people
    kind: 'token' | 'jwt' | 'invitation' | 'person';
    role: string; // that he has to take; '' for any
    expires: string | null;
  } | null; // not known
  scopes: Scope[];
}

// An Invitation lets whoever has its link into a room.
export interface Invitation {
  id: string;
  room: string;
  role: string;
  publishers: string[]; // names, or single tracks; empty for all
  scopes: Scope[];
  label: string;
  by: string;
  created: string;
  expires: string;
}

// An InvitationLink is a new invitation, with what is told once.
export interface InvitationLink extends Invitation {
  token: string;
  url: string;
  qr?: string; // an SVG document
}

export interface Wanted {
  expires_in: number; // s
  role?: string;
  publishers?: string[];
  scopes?: Scope[];
  label?: string;
}

const part = encodeURIComponent;

// A Gateway is one gateway with one token. Its methods throw Refused, or a TypeError if it
// can't be reached.
export class Gateway {
  readonly root: string; // with a slash at the end

  constructor(root: string, readonly token?: string) {
    this.root = root.endsWith('/') ? root : `${root}/`;
  }

  url(path: string, query: Record<string, string | undefined> = {}): string {
    const url = new URL(path, this.root);
    for (const [name, value] of Object.entries(query)) if (value) url.searchParams.set(name, value);
    return url.href;
  }

  whip(room: string, publisher: string, query: { label?: string; role?: string } = {}): string {
    return this.url(`whip/${part(room)}/${part(publisher)}`, query);
  }

  // whep is the endpoint of a publisher's pair, or of one kind.
  whep(room: string, publisher: string, kind?: Kind, query: { participant?: string } = {}): string {
    return this.url(`whep/${part(room)}/${part(publisher)}${kind ? `/${kind}` : ''}`, query);
  }

  // mix is the endpoint of the sound of the whole room, without that of the publisher for.
  mix(room: string, query: { for?: string; role?: string; participant?: string } = {}): string {
    return this.url(`whep/${part(room)}/~mix`, query);
  }

  events(room?: string): string {
    return this.url(room === undefined ? 'api/events' : `api/rooms/${part(room)}/events`);
  }

  async rooms(signal?: AbortSignal): Promise<Room[]> {
    return (await this.#get<{ rooms: Room[] }>('api/rooms', signal)).rooms;
  }

  room(name: string, signal?: AbortSignal): Promise<Room> {
    return this.#get(`api/rooms/${part(name)}`, signal);
  }

  async tracks(room: string, signal?: AbortSignal): Promise<Track[]> {
    return (await this.#get<{ tracks: Track[] }>(`api/rooms/${part(room)}/tracks`, signal)).tracks;
  }

  stations(signal?: AbortSignal): Promise<Stations> {
    return this.#get('api/stations', signal);
  }

  async participants(room: string, signal?: AbortSignal): Promise<Participant[]> {
    return (await this.#get<{ participants: Participant[] }>(`api/rooms/${part(room)}/participants`, signal)).participants;
  }

  mute(room: string, publisher: string, muted: boolean): Promise<Publisher> {
    return this.#send('PATCH', `api/rooms/${part(room)}/publishers/${part(publisher)}`, { muted });
  }

  end(room: string, publisher: string): Promise<void> {
    return this.#send('DELETE', `api/rooms/${part(room)}/publishers/${part(publisher)}`);
  }

  // me is about the room, if one is given. Until when somebody is known is by this machine's clock,
  // which may be another than the gateway's.
  async me(room?: string, signal?: AbortSignal): Promise<Me> {
    const { value, res } = await json<Me>(this.url(`auth/me${room ? `?room=${part(room)}` : ''}`), this.token, { signal });
    const ahead = Date.now() - Date.parse(res.headers.get('Date') ?? '');
    if (value.who?.expires && ahead) value.who.expires = new Date(Date.parse(value.who.expires) + ahead).toISOString();
    return value;
  }

  // signOut returns where the page should go.
  async signOut(): Promise<string> {
    return (await this.#send<{ url: string }>('POST', 'auth/logout')).url;
  }

  async invitations(room: string, signal?: AbortSignal): Promise<Invitation[]> {
    return (await this.#get<{ invitations: Invitation[] }>(`api/rooms/${part(room)}/invitations`, signal)).invitations;
  }

  invite(room: string, wanted: Wanted): Promise<InvitationLink> {
    return this.#send('POST', `api/rooms/${part(room)}/invitations`, wanted);
  }

  uninvite(room: string, id: string): Promise<void> {
    return this.#send('DELETE', `api/rooms/${part(room)}/invitations/${part(id)}`);
  }

  async #get<T>(path: string, signal?: AbortSignal): Promise<T> {
    return (await json<T>(this.url(path), this.token, { signal })).value;
  }

  async #send<T>(method: string, path: string, body?: unknown): Promise<T> {
    return (await json<T>(this.url(path), this.token, { method, ...(body === undefined ? {} : { body }) })).value;
  }
}
