// What this machine keeps of the station: which camera has which name, and which were shown
// in which room. It outlives the page, the browser, and the camera's cable.

// A Kept camera is known by the browser's id for the device, and by the device's own name
// where the browser has given it another id.
export interface KeptCamera {
  device: string;
  deviceLabel: string;
  name: string; // as the radiographer calls it
  quality: string; // '' is as much as the gateway allows
  bitrate: number; // bit/s; 0 likewise
}

export interface KeptRoom {
  cameras: { device: string; on: boolean }[]; // those that are shown, in order
  microphone: boolean;
  privacy: boolean;
}

export interface Kept {
  cameras: KeptCamera[]; // all that ever had a name, the last used first
  rooms: Record<string, KeptRoom>;
}

const KEY = 'sightline.hospital';
const CAMERAS = 40; // more than any machine has
const ROOMS = 20;

type Shelf = Pick<Storage, 'getItem' | 'setItem'>;

export function load(shelf: Shelf | undefined = storage()): Kept {
  try {
    const kept = JSON.parse(shelf?.getItem(KEY) ?? '{}') as Partial<Kept>;
    const cameras = Array.isArray(kept.cameras) ? kept.cameras.filter((c) => typeof c?.device === 'string' && typeof c.name === 'string') : [];
    return { cameras, rooms: kept.rooms && typeof kept.rooms === 'object' ? kept.rooms : {} };
  } catch {
    return { cameras: [], rooms: {} }; // forbidden, or of a later version
  }
}

export function save(kept: Kept, shelf: Shelf | undefined = storage()): void {
  const rooms = Object.fromEntries(Object.entries(kept.rooms).slice(-ROOMS));
  try {
    shelf?.setItem(KEY, JSON.stringify({ cameras: kept.cameras.slice(0, CAMERAS), rooms }));
  } catch {
    // It holds as long as the page.
  }
}

// find returns what is kept of a device. A name that two devices have, as two cameras of
// one make do, tells nothing.
export function find(kept: Kept, device: string, deviceLabel: string): KeptCamera | undefined {
  const byId = kept.cameras.find((c) => c.device === device);
  if (byId) return byId;
  const byLabel = kept.cameras.filter((c) => deviceLabel !== '' && c.deviceLabel === deviceLabel);
  return byLabel.length === 1 ? byLabel[0] : undefined;
}

// withCamera returns kept with what is new of a camera.
export function withCamera(kept: Kept, camera: KeptCamera): Kept {
  return { ...kept, cameras: [camera, ...kept.cameras.filter((c) => c.device !== camera.device)] };
}

// moved returns kept with the ids that the browser has now for devices that it had other ids
// for: it forgets them with the page's data.
export function moved(kept: Kept, devices: readonly { deviceId: string; label: string }[]): Kept {
  const ids = new Map<string, string>();
  for (const { deviceId, label } of devices) {
    if (!deviceId || kept.cameras.some((c) => c.device === deviceId)) continue;
    const was = find(kept, deviceId, label);
    // One that is still there under its own id is another of the same make.
    if (was && !devices.some((d) => d.deviceId === was.device) && devices.filter((d) => d.label === label).length === 1) ids.set(was.device, deviceId);
  }
  if (!ids.size) return kept;
  const now = <T extends { device: string }>(c: T): T => ({ ...c, device: ids.get(c.device) ?? c.device });
  return {
    cameras: kept.cameras.map(now),
    rooms: Object.fromEntries(Object.entries(kept.rooms).map(([room, r]) => [room, { ...r, cameras: (r.cameras ?? []).map(now) }])),
  };
}

function storage(): Storage | undefined {
  try {
    return localStorage;
  } catch {
    return undefined;
  }
}
