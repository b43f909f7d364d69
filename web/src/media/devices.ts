// Cameras, microphones and loudspeakers of this machine, the screen, and why one can't be had.

export type Source = 'camera' | 'microphone' | 'screen';
export type DeviceKind = MediaDeviceKind; // 'videoinput', 'audioinput', 'audiooutput'

// ---- why not ----

// A Trouble is in words for people: what is wrong, and what they can do.
export interface Trouble {
  reason: 'denied' | 'missing' | 'busy' | 'unfit' | 'insecure' | 'interrupted' | 'unknown';
  words: string;
  advice: string;
  passes: boolean; // it may be over without anybody allowing anything
}

const NAMES: Record<Source, string> = { camera: 'camera', microphone: 'microphone', screen: 'screen' };

// explain tells what an error of getUserMedia or getDisplayMedia means.
export function explain(err: unknown, source: Source): Trouble {
  const what = NAMES[source];
  switch (err instanceof Error || err instanceof DOMException ? err.name : '') {
    case 'NotAllowedError':
    case 'PermissionDeniedError':
      if (source === 'screen') return trouble('denied', 'The screen is not shared', 'Share it again and choose a screen or a window.', false);
      return trouble('denied', `The ${what} is not allowed`, `Allow the ${what} for this page: the sign beside the address opens its settings. The system’s own privacy settings must allow it to the browser, too.`, false);
    case 'NotFoundError':
    case 'DevicesNotFoundError':
      return trouble('missing', `No ${what} was found`, 'Plug one in: it is used as soon as it is there.', true);
    case 'NotReadableError':
    case 'TrackStartError':
      return trouble('busy', `The ${what} can’t be used`, `Another program may have it: end that, or unplug the ${what} and plug it in again.`, true);
    case 'OverconstrainedError':
    case 'ConstraintNotSatisfiedError':
      return (err as { constraint?: string }).constraint === 'deviceId'
        ? trouble('missing', `The ${what} that was chosen is not there`, 'Plug it in, or choose another.', true)
        : trouble('unfit', `The ${what} can’t do what is asked of it`, 'Choose another, or a lower quality.', false);
    case 'SecurityError':
    case 'TypeError': // of a page without navigator.mediaDevices
      return trouble('insecure', `This page may not use a ${what}`, 'Open it by https, or on the gateway’s own machine; a page in a frame needs the frame’s permission.', false);
    case 'AbortError':
      return trouble('interrupted', `The ${what} stopped while it started`, 'It is tried again.', true);
    default:
      return trouble('unknown', `The ${what} does not start`, err instanceof Error ? err.message : String(err), true);
  }
}

function trouble(reason: Trouble['reason'], words: string, advice: string, passes: boolean): Trouble {
  return { reason, words, advice, passes };
}

// ---- what is there ----

// A Devices knows what is plugged in. Event 'change': something has come or gone, with
// {added, removed} as its detail; what is there when it begins is neither.
export class Devices extends EventTarget {
  #known: MediaDeviceInfo[] = [];
  #looking: Promise<void>;

  constructor() {
    super();
    navigator.mediaDevices?.addEventListener('devicechange', this.#changed);
    this.#looking = this.#look(false);
  }

  close(): void {
    navigator.mediaDevices?.removeEventListener('devicechange', this.#changed);
  }

  // list returns the devices of a kind. Before the page has been allowed one they have no
  // names, and often there seems to be one only.
  async list(kind: DeviceKind): Promise<MediaDeviceInfo[]> {
    await this.#looking;
    await this.#look(false); // names are told once a device is allowed, without an event
    return this.#known.filter((d) => d.kind === kind);
  }

  #changed = (): void => {
    this.#looking = this.#looking.then(() => this.#look(true));
  };

  async #look(tell: boolean): Promise<void> {
    const now = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
    const key = (d: MediaDeviceInfo) => `${d.kind} ${d.deviceId}`;
    const [before, after] = [new Set(this.#known.map(key)), new Set(now.map(key))];
    const added = now.filter((d) => !before.has(key(d)));
    const removed = this.#known.filter((d) => !after.has(key(d)));
    this.#known = now;
    if (tell && (added.length || removed.length)) this.dispatchEvent(new CustomEvent('change', { detail: { added, removed } }));
  }
}

// ---- what was preferred ----

interface Preferred {
  id: string;
  label: string;
}

// remember keeps which device of a kind is preferred, in this browser.
export function remember(kind: DeviceKind, { deviceId, label }: { deviceId: string; label: string }): void {
  try {
    localStorage.setItem(`sightline.${kind}`, JSON.stringify({ id: deviceId, label } satisfies Preferred));
  } catch {
    // Not kept, then: a browser may have no storage for this page.
  }
}

// preferred returns the one of list that was preferred last: ids change when the browser
// forgets a page's data, names don't.
export function preferred<T extends { deviceId: string; label: string }>(kind: DeviceKind, list: readonly T[]): T | undefined {
  let was: Preferred | undefined;
  try {
    was = JSON.parse(localStorage.getItem(`sightline.${kind}`) ?? 'null') ?? undefined;
  } catch {
    // As if nothing had been kept.
  }
  if (!was) return undefined;
  const { id, label } = was;
  return list.find((d) => d.deviceId === id) ?? list.find((d) => label !== '' && d.label === label);
}

// ---- using one ----

export const QUALITIES: Record<string, readonly [width: number, height: number]> = {
  '360p': [640, 360],
  '480p': [854, 480],
  '720p': [1280, 720],
  '1080p': [1920, 1080],
};

export interface Wishes {
  device?: string | undefined; // id; without, the browser's default
  quality?: string | undefined; // of QUALITIES
  frameRate?: number | undefined;
  noiseSuppression?: boolean | undefined;
}

// video are the constraints that wishes make of a camera, and of one that runs already.
export function video({ device, quality = '720p', frameRate = 24 }: Wishes): MediaTrackConstraints {
  const [width, height] = QUALITIES[quality] ?? [1280, 720];
  return {
    ...(device ? { deviceId: { exact: device } } : {}),
    width: { ideal: width },
    height: { ideal: height },
    frameRate: { ideal: frameRate, max: Math.max(frameRate, 30) },
  };
}

// open starts a device and returns its track. It throws what explain explains. A screen
// wants a click of the user's just before.
export async function open(source: Source, wishes: Wishes = {}): Promise<MediaStreamTrack> {
  const media = navigator.mediaDevices;
  if (!media) throw new DOMException('the page is not in a secure context', 'SecurityError');
  let stream: MediaStream;
  if (source === 'screen') {
    stream = await media.getDisplayMedia({ video: { frameRate: { ideal: wishes.frameRate ?? 15 } } });
  } else if (source === 'camera') {
    stream = await media.getUserMedia({ video: video(wishes) });
  } else {
    const { device, noiseSuppression = true } = wishes;
    stream = await media.getUserMedia({
      audio: { ...(device ? { deviceId: { exact: device } } : {}), noiseSuppression, echoCancellation: true, autoGainControl: true },
    });
  }
  const [track] = stream.getTracks();
  if (!track) throw new DOMException('no track', 'NotFoundError');
  if (source === 'screen') track.contentHint = 'detail'; // letters stay sharp
  return track;
}
