// What the end-to-end tests call in a page of theirs: the client against a real gateway.
import { Gateway, Participation, follow, play, publish, type Participant, type Publication, type RoomEvent, type Session } from '../client/index.ts';

interface Entry {
  session: Session;
  publication?: Publication;
  frames: number;
  states: string[];
  reason: string;
}

const entries = new Map<string, Entry>();

function keep(name: string, session: Session, entry: Partial<Entry>): void {
  const e: Entry = { session, frames: 0, states: [], reason: '', ...entry };
  entries.set(name, e);
  void session.ended.then((reason) => (e.reason = reason));
}

export async function clientPublish(name: string, url: string): Promise<void> {
  const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 640, height: 360, frameRate: 30 } });
  const states: string[] = [];
  const publication = await publish(url, { audio: media.getAudioTracks()[0], video: media.getVideoTracks()[0], maxBitrate: 1_000_000, onState: (s) => states.push(s) });
  keep(name, publication.session, { publication, states });
}

export async function clientPlay(name: string, url: string): Promise<void> {
  const stream = new MediaStream();
  const video = document.createElement('video');
  Object.assign(video, { srcObject: stream, muted: true, autoplay: true });
  document.body.append(video);
  const states: string[] = [];
  const session = await play(url, { kinds: ['audio', 'video'], onTrack: (t) => stream.addTrack(t), onState: (s) => states.push(s) });
  keep(name, session, { states });
  const shown = () => {
    entries.get(name)!.frames++;
    video.requestVideoFrameCallback(shown);
  };
  video.requestVideoFrameCallback(shown);
}

export function clientState(name: string) {
  const { session, publication, frames, states, reason } = entries.get(name)!;
  return { frames, states, reason, kinds: session.kinds, connected: session.pc.connectionState === 'connected', restarts: session.restarts, returnAudio: publication?.returnAudio };
}

export const clientRestart = (name: string) => entries.get(name)!.session.restart();

export async function clientReplace(name: string): Promise<void> {
  const media = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 180 } });
  await entries.get(name)!.publication!.replace('video', media.getVideoTracks()[0]!);
}

export const clientClose = (name: string) => entries.get(name)!.session.close();

// ---- rooms ----

const told: RoomEvent[] = [];
let following: AbortController | undefined;

export function clientFollow(url: string, token?: string): void {
  following?.abort();
  following = new AbortController();
  void follow(url, { token, signal: following.signal, onEvent: (e) => told.push(e) });
}

export const clientTold = () => told.splice(0);

let being: Participation | undefined;
const been: Participant[] = [];

export function clientEnter(root: string, room: string, name: string): void {
  const url = `${new Gateway(root).url(`api/rooms/${room}/participants`)}`;
  being = new Participation(url, { name, role: 'technician', microphone: 'off', camera: 'none', hand: false, privacy: false, call: '', publishers: [] }, { onChange: (p) => been.push(p) });
  being.enter();
}

export const clientChange = (what: object) => being?.change(what);
export const clientLeave = () => being?.leave();
export const clientBeen = () => been.splice(0);
