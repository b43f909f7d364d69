import type { JSX } from 'preact';
import { useId, useState } from 'preact/hooks';

import { Button } from './button.tsx';
import { Choice } from './field.tsx';
import { words } from './strings.ts';
import { toast } from './toasts.tsx';

// copy puts text on the clipboard, also where a page that came by http may not.
export async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement('textarea');
    area.value = text;
    area.readOnly = true;
    area.className = 'unseen';
    // Inside a modal dialog nothing outside of it can be selected.
    (document.querySelector('dialog[open]') ?? document.body).append(area);
    const before = document.activeElement;
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    if (before instanceof HTMLElement) before.focus();
    return done;
  }
}

export interface CopyFieldProps {
  label: string;
  text: string;
  code?: boolean; // several lines of it
}

// rows is how many lines text has where it is wrapped.
function rows(text: string): number {
  return Math.min(10, text.split('\n').reduce((n, line) => n + Math.max(1, Math.ceil(line.length / 72)), 0));
}

// A CopyField shows what can be copied, and copies it.
export function CopyField({ label, text, code }: CopyFieldProps): JSX.Element {
  const id = useId();
  const [done, setDone] = useState(false);
  const click = async () => {
    if (!(await copy(text))) return toast(words.copy.failed, 'warn');
    setDone(true);
    setTimeout(() => setDone(false), 2_000);
  };
  return (
    <div class="copy">
      <label for={id}>{label}</label>
      <div class="copy-row">
        {code ? (
          <textarea id={id} readOnly rows={rows(text)} value={text} spellcheck={false} />
        ) : (
          <input id={id} type="text" readOnly value={text} onFocus={(e) => e.currentTarget.select()} spellcheck={false} />
        )}
        <Button icon={done ? 'check' : 'copy'} onClick={click} label={`${done ? words.copy.done : words.copy.copy}: ${label}`}>
          {done ? words.copy.done : words.copy.copy}
        </Button>
      </div>
    </div>
  );
}

export interface Command {
  name: 'OBS' | 'FFmpeg' | 'GStreamer';
  text: string;
  hint?: string;
}

const quoted = (text: string) => `"${text.replace(/["\\$`]/g, '\\$&')}"`;

// publishing are ready commands for encoders that publish at a WHIP URL.
export function publishing(whip: string, token = ''): Command[] {
  return [
    { name: 'OBS', text: `${words.copy.obsService}\nServer: ${whip}${token ? `\nBearer Token: ${token}` : ''}`, hint: words.copy.obsWhip },
    {
      name: 'FFmpeg',
      hint: words.copy.ffmpegWhip,
      text:
        'ffmpeg -f v4l2 -framerate 30 -video_size 1280x720 -i /dev/video0 -f alsa -i default \\\n' +
        '  -c:v libx264 -profile:v baseline -preset veryfast -tune zerolatency -bf 0 -g 30 -pix_fmt yuv420p -b:v 1200k \\\n' +
        '  -c:a libopus -ar 48000 -ac 2 -b:a 64k \\\n' +
        `  -f whip${token ? ` -authorization ${quoted(token)}` : ''} ${quoted(whip)}`,
    },
    {
      name: 'GStreamer',
      hint: words.copy.gstWhip,
      text:
        `gst-launch-1.0 whipclientsink name=s signaller::whip-endpoint=${quoted(whip)}${token ? ` signaller::auth-token=${quoted(token)}` : ''} \\\n` +
        '  v4l2src ! videoconvert ! video/x-raw,width=1280,height=720 ! queue ! s. \\\n' +
        '  autoaudiosrc ! audioconvert ! audioresample ! queue ! s.',
    },
  ];
}

// playing are ready commands for what plays a WHEP URL; watch is the same picture's page.
export function playing(whep: string, watch: string, token = ''): Command[] {
  const page = `${watch}?obs=1${token ? `#token=${encodeURIComponent(token)}` : ''}`;
  const source = `whepclientsrc signaller::whep-endpoint=${quoted(whep)}${token ? ` signaller::auth-token=${quoted(token)}` : ''}`;
  return [
    { name: 'OBS', text: page, hint: words.copy.obsWhep },
    {
      name: 'FFmpeg',
      hint: words.copy.ffmpegWhep,
      text: `gst-launch-1.0 -q ${source} ! video/x-h264 ! h264parse ! mpegtsmux ! fdsink | \\\n  ffmpeg -i - -c copy recording.mkv`,
    },
    { name: 'GStreamer', hint: words.copy.gstWhep, text: `gst-launch-1.0 ${source} ! decodebin ! videoconvert ! autovideosink` },
  ];
}

export interface LinksProps {
  url: string;
  label: string; // of the URL: "WHIP address"
  commands: Command[];
  secret?: boolean; // the commands have a token in them
}

// Links are a URL and the commands for it.
export function Links({ url, label, commands, secret }: LinksProps): JSX.Element {
  const [name, setName] = useState<Command['name']>('OBS');
  const command = commands.find((c) => c.name === name);
  return (
    <div class="links">
      <CopyField label={label} text={url} />
      <Choice<Command['name']> label={words.copy.program} value={name} onChange={setName} options={commands.map((c) => ({ value: c.name, label: c.name }))} />
      {command && (
        <>
          {command.hint && <p class="hint">{command.hint}</p>}
          <CopyField key={command.name} label={words.copy.for(command.name)} text={command.text} code={/\n|.{73}/.test(command.text)} />
        </>
      )}
      {secret && <p class="hint">{words.copy.secret}</p>}
    </div>
  );
}
