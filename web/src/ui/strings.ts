// Everything that the pages say. Plain words, short sentences: what is so, and what to do.
import type { State } from './state.tsx';

const devices = { microphone: 'Microphone', camera: 'Camera', speaker: 'Loudspeaker' };

export const words = {
  close: 'Close',
  cancel: 'Cancel',
  news: 'What has happened',

  roles: { hospital: 'Hospital', technician: 'Technician', meeting: 'Meeting', room: 'Meeting' } as Record<string, string>,

  states: {
    idle: 'Not started', off: 'Off', starting: 'Starting', connecting: 'Connecting', waiting: 'Waiting for the camera', live: 'Live', frozen: 'Picture frozen',
    stalled: 'Nothing comes', reconnecting: 'Reconnecting', ended: 'The camera has stopped', gone: 'Stopped', busy: 'The gateway is busy', refused: 'Not allowed',
    failed: 'Does not work', unplayable: 'Can’t be played here', paused: 'Privacy: paused by the hospital', 'device-lost': 'The camera is unplugged',
  } as Record<State, string>,
  // The same in a word or two, where there is little room.
  badges: {
    frozen: 'Frozen', waiting: 'Waiting', ended: 'Stopped', busy: 'Busy', refused: 'Not allowed', unplayable: 'Can’t play', paused: 'Privacy',
    'device-lost': 'Unplugged', stalled: 'Nothing comes', failed: 'Failed',
  } as Partial<Record<State, string>>,
  tracks: { connecting: 'Connecting', live: 'Live', stalled: 'Nothing comes', gone: 'Stopped' } as Record<string, string>,

  quality: {
    unknown: 'Ready',
    good: 'Good connection',
    fair: 'Weak connection',
    poor: 'Bad connection',
    lost: 'No connection',
    tip: 'How good this computer’s connection to the gateway is',
    detail: (loss: string, rtt: string) => `${loss} lost, ${rtt} there and back`,
  },

  loss: {
    publisher: 'Camera loses',
    own: 'You lose',
    tip: { publisher: 'Lost between the camera and the gateway: the other side’s network', own: 'Lost between the gateway and this computer: your network' },
  },

  legs: {
    publisher: 'Camera to gateway',
    own: 'Gateway to you',
    loss: (p: string) => `${p} lost`,
    rtt: (ms: string) => `${ms} there and back`,
    unknown: 'not known yet',
  },

  tile: {
    age: (d: string) => `The picture is ${d} old`,
    since: (d: string) => `for ${d}`,
    enlarge: 'Enlarge',
    back: 'Back to all pictures',
    menu: (name: string) => `More for ${name}`,
    level: (name: string) => `Sound of ${name}`,
  },

  people: {
    nobody: 'Nobody is here yet.',
    you: 'you',
    hand: 'Hand raised',
    privacy: 'Privacy',
    speaks: 'Speaking',
    listens: 'Listens only',
    calls: (role: string) => `Calls the ${role.toLowerCase()}`,
    microphone: { on: 'Microphone on', off: 'Microphone off' },
    camera: { on: 'Camera on', off: 'Camera off' },
  },

  frame: {
    skip: 'Skip to the pictures',
    room: 'Room',
    noName: 'No name',
    tools: 'Room',
    dock: 'Sound and picture',
    people: (n: number) => `People here: ${n}`,
    settings: 'Settings',
    help: 'Keys and help',
    leave: 'Leave',
    invite: 'Copy this room’s address',
    invited: 'The room’s address is copied.',
  },

  hotkeys: {
    title: 'Keys',
    use: 'Use keys',
    general: 'Everywhere',
    page: 'On this page',
    help: 'Show this sheet',
    debug: 'Show or hide the numbers of each connection',
    people: 'Show who is here',
    settings: 'Open the settings',
  },

  settings: {
    title: 'Settings',
    devices: 'Devices',
    look: 'Look',
    theme: 'Colours',
    system: 'As the system',
    light: 'Light',
    dark: 'Dark',
    data: 'Network',
    saver: 'Save data',
    saverHint: 'Smaller pictures, for a slow or costly network.',
    audioOnly: 'Sound only',
    audioOnlyHint: 'No pictures are loaded. The sound goes on.',
    more: 'Sounds and keys',
    sounds: 'Sounds when somebody comes or leaves',
    soundsHint: 'A call always rings.',
    support: 'If something does not work',
    supportHint: 'The file says what this browser is and what has happened. It has no pictures, no sound and no access token. Send it to those who help you.',
    download: 'Save diagnostics file',
    saved: 'The diagnostics file is saved with your downloads.',
    debug: 'Show the numbers',
  },

  copy: {
    copy: 'Copy',
    done: 'Copied',
    failed: 'This browser does not let the page copy. Select the text and copy it by hand.',
    for: (program: string) => `For ${program}`,
    program: 'Program',
    obsService: 'Service: WHIP',
    obsWhip: 'OBS 30 or newer: Settings, Stream. Set the keyframe interval to 1 s.',
    obsWhep: 'Add a browser source with this address.',
    ffmpegWhip: 'FFmpeg 8 or newer. Change the devices to yours.',
    ffmpegWhep: 'FFmpeg does not play WHEP itself: GStreamer hands it the picture.',
    secret: 'The commands contain your access token. Give them to nobody.',
  },

  debug: {
    title: 'Connections',
    columns: ['Connection', 'Codec', 'Size @ frames/s', 'Bit rate', 'Loss', 'Round trip', 'Jitter', 'ICE path', 'First frame', 'Limited by'],
    none: 'No connection is open.',
    heap: (size: string) => `Memory of the page: ${size}`,
  },

  devices: {
    ...devices,
    the: { microphone: 'the microphone', camera: 'the camera' },
    usual: 'Chosen by the system',
    unplugged: 'The one chosen before (not plugged in)',
    none: { microphone: 'No microphone found', camera: 'No camera found', speaker: 'No loudspeaker found' },
    number: {
      microphone: (n: number) => `Microphone ${n}`,
      camera: (n: number) => `Camera ${n}`,
      speaker: (n: number) => `Loudspeaker ${n}`,
    },
  },

  faults: {
    insecure: (the: string) => ({
      title: `The browser does not give ${the} to this page`,
      todo: 'The page was opened without https. Open it with an address that begins with https://, or on the gateway’s own machine as http://localhost.',
    }),
    denied: (the: string) => ({
      title: `The browser may not use ${the}`,
      todo: 'Click the sign at the left of the address bar, allow it there, and try again.',
    }),
    dismissed: (the: string) => ({
      title: `The question about ${the} was closed`,
      todo: 'Try again and choose “Allow”.',
    }),
    system: (the: string) => ({
      title: `The computer’s own settings forbid the browser ${the}`,
      todo: 'Allow it in the system’s privacy settings, then start the browser again.',
    }),
    missing: (the: string) => ({
      title: `The browser does not find ${the}`,
      todo: 'Plug it in, or switch it on, and try again.',
    }),
    busy: (the: string) => ({
      title: `Another program uses ${the}, or it does not answer`,
      todo: 'Close other programs that use it. If that does not help, unplug it and plug it in again.',
    }),
    unable: (the: string) => ({
      title: `The browser can’t set ${the} as asked`,
      todo: 'Choose another one in the list.',
    }),
    other: (the: string, message: string) => ({
      title: `The browser can’t open ${the}`,
      todo: `It says: ${message}. Try again, or choose another one in the list.`,
    }),
  },

  gateway: {
    lost: 'The gateway does not answer',
    lostMore: 'This page tries again by itself. What stands here may be old.',
    refused: 'Not allowed',
    refusedMore: 'This page needs a link with a valid access token. Ask whoever invited you for a new one.',
    busy: 'The gateway is busy',
    busyMore: 'This page tries again by itself.',
  },

  root: {
    title: 'Rooms',
    asking: 'Looking for rooms',
    openOne: 'Open a room',
    name: 'Name of the room',
    hint: 'Such as MRI-2. Whoever opens a room of the same name is in it, too.',
    go: 'Go to the room',
    called: (name: string) => `The room will be called ${name}.`,
    recent: 'Your last rooms',
    now: 'Open now',
    none: 'No room is open',
    noneMore: 'A room opens when somebody enters it or a camera starts. It will show up here by itself.',
    enter: (name: string) => `Enter ${name}`,
    people: (n: number) => (n === 1 ? '1 person' : `${n} people`),
    publishers: (n: number) => (n === 1 ? '1 source' : `${n} sources`),
    viewers: (n: number) => (n === 1 ? '1 viewer' : `${n} viewers`),
    mix: 'Listen to everybody in the room',
    details: 'Cameras and sound',
    columns: ['Track', 'State', 'Format', 'Bit rate'],
    encoders: 'Publish from an encoder',
    encodersMore: 'Any WHIP encoder (OBS, FFmpeg, GStreamer, a browser) can publish here. What it sends is live at once.',
    whip: 'WHIP address',
  },

  lobby: {
    title: (room: string) => `Enter ${room}`,
    back: 'All rooms',
    name: 'Your name',
    nameHint: 'The others in the room see it.',
    nameMissing: 'Say who you are: the others see this name.',
    as: 'How do you take part?',
    roles: {
      hospital: { name: 'Hospital', more: 'At the scanner: show cameras and the screen, talk' },
      technician: { name: 'Technician', more: 'From far away: see all cameras, talk' },
      room: { name: 'Meeting', more: 'Talk and meet, with or without your own picture' },
    },
    here: 'Who is here',
    hereNobody: 'Nobody is in the room yet. You will be the first.',
    sources: (n: number) => (n === 1 ? '1 camera or encoder is live.' : `${n} cameras or encoders are live.`),
    self: 'You',
    selfView: 'Your own picture',
    off: 'Camera is off',
    on: 'Turn on camera and microphone',
    onHint: 'The browser will ask whether it may. Nobody sees or hears you before you enter the room.',
    without: 'You can also enter without: you see and hear the others.',
    again: 'Try again',
    starting: 'Waiting for the browser. If it asks, choose “Allow”.',
    withMicrophone: 'Microphone on when I enter',
    withCamera: 'Camera on when I enter',
    level: 'Your microphone’s level',
    speak: 'Say something: the bar must move.',
    test: 'Connection',
    testRun: 'Test the connection',
    testAgain: 'Test again',
    testHint: 'Sends and receives some sound for a few seconds. Nobody hears it.',
    steps: { gateway: 'Asking the gateway', send: 'Sending', receive: 'Receiving, a few seconds' },
    results: { unknown: '', good: 'The connection is good', fair: 'The connection is weak', poor: 'The connection is bad', lost: 'No connection' },
    resultsMore: {
      unknown: '',
      good: 'Pictures and sound will run well.',
      fair: 'Pictures may be blurred at times. A network cable is better than wireless.',
      poor: 'Pictures and sound will break up. Use a network cable, close what else uses the network, or choose “Sound only” in the settings.',
      lost: '',
    },
    figures: (loss: string, rtt: string, path: string) => `Lost: ${loss} · there and back: ${rtt} · by ${path}`,
    paths: { udp: 'UDP (best)', tcp: 'TCP (slower: UDP is blocked)', relay: 'a relay (slower: the direct way is blocked)' },
    fails: {
      silent: ['The gateway does not answer', 'Check the network of this computer: cable, wireless, VPN.'],
      blocked: ['Pictures and sound can’t get through', 'The gateway answers, but a firewall between here and there blocks media. Ask your network’s administrators to open the gateway’s media port (UDP, or TCP).'],
      'not-allowed': ['The test is not allowed with this link', 'The gateway answers. This link may not publish, so sending could not be tested.'],
      busy: ['The gateway is busy', 'Wait a moment and test again.'],
      refused: ['The gateway refused the test', ''],
    } as Record<string, [string, string]>,
  },

  shell: {
    lobby: 'To the lobby',
    lost: 'The connection to the gateway is lost',
  },
};
