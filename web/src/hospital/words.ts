// Everything that the hospital's page says.
import { count, list } from '../ui/format.ts';

// few names two at most: more are read below.
const few = (names: readonly string[]) => list(names.length > 2 ? [names[0]!, count(names.length - 1, 'other')] : names);

export const words = {
  cameras: 'Cameras',
  none: 'No camera is shown yet',
  noneMore: 'Plug the cameras in, then add them one by one. Nobody sees anything before you do.',
  add: 'Add a camera',

  board: {
    title: 'What goes out of this room',
    cameras: 'Picture',
    microphone: 'Your voice',
    people: 'The other side',
    noCamera: 'No camera is on',
    live: (n: number) => `${count(n, 'camera')} live`,
    starting: (n: number) => `${count(n, 'camera')} starting`,
    lost: (names: readonly string[]) => `${list(names)}: no picture`,
    lostMore: (live: number) => (live ? `${count(live, 'other camera')} live` : 'No other camera is live'),
    screen: 'and the screen',
    paused: 'Paused',
    pausedMore: 'Nobody sees this room.',
    unknown: 'Not known who is here',
    nobody: 'Nobody else is here',
    nobodyMore: 'You can call the technician.',
    here: (names: readonly string[]) => `${few(names)} ${names.length === 1 ? 'is' : 'are'} here`,
    watch: (names: readonly string[]) => `${few(names)} ${names.length === 1 ? 'watches' : 'watch'}`,
    others: (n: number) => count(n, 'viewer without a name', 'viewers without a name'),
  },

  microphone: {
    on: 'Microphone on',
    off: 'Microphone off',
    turnOn: 'Turn on',
    starting: 'Microphone starts',
    failed: 'No microphone',
    reconnecting: 'Voice interrupted',
    heard: 'The others hear you.',
    unheard: 'Nobody hears you.',
    listen: 'You still hear the others.',
    level: 'Level of your voice',
    muteHint: 'You speak, but your microphone is off',
    muteHintMore: 'Nobody hears you. Press M or the button to turn it on.',
    again: 'Try again',
    crowded: (n: number) => `There are ${n} people here already: your microphone begins switched off.`,
    instead: (label: string) => `The microphone was unplugged. Now in use: ${label}.`,
  },

  room: {
    on: 'Sound on',
    off: 'Sound off',
    level: 'Level of the others’ voices',
    interrupted: 'The others’ sound is interrupted',
    blocked: 'The browser keeps the sound back',
    blockedMore: 'It plays as soon as you touch or click anything.',
    blockedDo: 'Turn on the sound',
    speaks: (names: readonly string[]) => `${few(names)} ${names.length === 1 ? 'speaks' : 'speak'}`,
    quiet: 'Quiet',
  },

  privacy: {
    button: 'Privacy',
    end: 'End privacy',
    title: 'PRIVACY',
    short: 'Privacy',
    more: 'Nobody sees or hears this room. All cameras and microphones are paused until you end it.',
    still: 'You still hear the others.',
    tile: 'Paused for privacy',
    tileMore: 'Nobody sees this camera.',
    unsure: 'The others may not know why: the gateway does not answer. They see black pictures and hear nothing.',
  },

  call: {
    button: 'Call technician',
    calling: 'Calling the technician',
    callingMore: 'It rings at every technician who has this room open.',
    nobody: 'No technician has this room open. It rings as soon as one opens it.',
    away: 'The gateway does not answer. It rings as soon as it does.',
    cancel: 'Cancel the call',
    answered: (by: string) => (by ? `${by} has answered` : 'The call was answered'),
    answeredMore: 'You can speak now.',
    answeredMuted: 'Turn your microphone on to speak.',
    unanswered: 'No answer',
    unansweredMore: 'Nobody answered for 60 seconds.',
    again: 'Call again',
    left: (seconds: number) => `${seconds} s left`,
  },

  screen: {
    name: 'Screen',
    share: 'Share screen',
    stop: 'Stop sharing',
    label: (voice: string) => `Screen of ${voice}`,
    failed: 'The screen is not shared',
    unable: 'This browser can’t share a screen.',
  },

  camera: {
    on: 'Turn on',
    off: 'Turn off',
    isOff: 'Off',
    offMore: 'Nobody sees this camera.',
    rename: 'Name',
    quality: 'Quality',
    remove: 'Remove',
    removeTitle: (name: string) => `Remove ${name}?`,
    removeMore: 'The others don’t see it any more. Its name is remembered for when you add it again.',
    starting: 'Starts',
    startingMore: 'If the browser asks, choose “Allow”.',
    unplugged: (name: string) => `${name} is unplugged`,
    unpluggedMore: 'Plug it in again: it goes on by itself. The others know.',
    stalled: 'No picture comes from it',
    stalledMore: 'Nobody sees it now. Unplug the camera and plug it in again.',
    again: 'Try again',
    watched: (names: readonly string[], others: number) => {
      const all = others ? [...names, count(others, 'other')] : names;
      return all.length ? `Watched by ${list(all)}` : 'Nobody watches';
    },
    removed: (name: string) => `${name} is removed.`,
  },

  adding: {
    title: 'Add a camera',
    which: 'Which camera?',
    none: 'No camera was found',
    noneMore: 'Plug one in: it shows up here by itself.',
    all: 'All cameras of this computer are in use',
    allMore: 'Plug another one in: it shows up here by itself.',
    looking: 'Looking for cameras. If the browser asks, choose “Allow”.',
    preview: 'What this camera sees. Nobody else sees it yet.',
    name: 'What does it show?',
    nameHint: 'The others read this name. The camera keeps it, also when it is unplugged.',
    names: ['Console', 'Gantry', 'Patient', 'Injector', 'Room'],
    do: 'Show to the others',
    doPrivately: 'Add, paused for privacy',
    missing: 'Say what the camera shows.',
    taken: (name: string) => `There is already one called “${name}” in this room. Take another name.`,
    unspellable: 'A name needs letters or digits.',
    again: 'Try again',
  },

  naming: { title: (name: string) => `Another name for ${name}`, do: 'Take this name', more: 'The others see the camera under the new name a moment later.' },

  quality: {
    title: (name: string) => `Quality of ${name}`,
    size: 'Resolution',
    rate: 'Bit rate, at most',
    most: 'as much as allowed here',
    limits: (size: string, rate: string, fps: number) => `Allowed here: ${size}, ${rate}, ${fps} frames a second.`,
    saver: '“Save data” in the settings keeps it at 480p and 500 kbit/s.',
  },

  faces: { title: 'From far away', paused: 'Paused' },

  people: {
    title: 'Who is here',
    watches: (names: readonly string[]) => `Watches ${list(names)}`,
    listens: 'Listens',
    doesNot: 'Does not watch',
    nothing: 'Sees and hears nothing of you',
    alone: 'Only you are here.',
    viewers: (n: number) => `${count(n, 'other viewer')} without a name`,
    listeners: (n: number) => `${count(n, 'other listener')} without a name`,
  },

  keys: {
    microphone: 'Turn your microphone on or off',
    privacy: 'Privacy: pause all cameras and microphones (Shift+P ends it)',
    privacyEnd: 'Press Shift+P, or “End privacy”, to end privacy.',
    call: 'Call the technician, or cancel the call',
    screen: 'Share the screen, or stop',
    sound: 'Turn the sound of the others on or off',
    add: 'Add a camera',
    cameras: (n: number, name: string) => `Turn ${name} on or off (camera ${n})`,
  },

  page: { privacy: 'PRIVACY', lost: 'No picture', calling: 'Calling' },
};
