import type { JSX } from 'preact';

import { Account } from './account.tsx';
import { Button } from './button.tsx';
import { choices, choose } from './choices.ts';
import { debugOpen } from './debug.tsx';
import { DevicePickers } from './devices.tsx';
import { download } from './diagnostics.ts';
import { Dialog } from './dialog.tsx';
import { Choice, Switch } from './field.tsx';
import { joinSound } from './sounds.ts';
import { Store, useStore } from './store.ts';
import { words } from './strings.ts';
import { toast } from './toasts.tsx';

export const settingsOpen = new Store(false);

export interface SettingsProps {
  devices?: boolean; // pages without sound and picture of their own have none to choose
}

// Settings is the dialog; it belongs into a page once. Everything takes effect at once.
export function Settings({ devices = true }: SettingsProps): JSX.Element {
  const open = useStore(settingsOpen);
  const { theme, saver, audioOnly, sounds, hotkeys } = useStore(choices);
  const w = words.settings;
  return (
    <Dialog title={w.title} open={open} onClose={() => settingsOpen.set(false)}>
      <Account />
      {devices && (
        <section>
          <h3>{w.devices}</h3>
          <DevicePickers />
        </section>
      )}
      <section>
        <h3>{w.look}</h3>
        <Choice
          label={w.theme}
          value={theme}
          onChange={(theme) => choose({ theme })}
          options={[
            { value: 'system', label: w.system },
            { value: 'light', label: w.light },
            { value: 'dark', label: w.dark },
          ]}
        />
      </section>
      {devices && (
        <section>
          <h3>{w.data}</h3>
          <Switch label={w.saver} hint={w.saverHint} checked={saver} onChange={(saver) => choose({ saver })} />
          <Switch label={w.audioOnly} hint={w.audioOnlyHint} checked={audioOnly} onChange={(audioOnly) => choose({ audioOnly })} />
        </section>
      )}
      <section>
        <h3>{w.more}</h3>
        <Switch
          label={w.sounds}
          hint={w.soundsHint}
          checked={sounds}
          onChange={(sounds) => {
            choose({ sounds });
            joinSound();
          }}
        />
        <Switch label={words.hotkeys.use} checked={hotkeys} onChange={(hotkeys) => choose({ hotkeys })} />
      </section>
      <section>
        <h3>{w.support}</h3>
        <p class="hint">{w.supportHint}</p>
        <div class="row">
          <Button
            icon="download"
            onClick={() => {
              void download().then(() => toast(w.saved, 'good'));
            }}
          >
            {w.download}
          </Button>
          {devices && (
            <Button
              icon="debug"
              onClick={() => {
                settingsOpen.set(false);
                debugOpen.set(true);
              }}
            >
              {w.debug}
            </Button>
          )}
        </div>
      </section>
    </Dialog>
  );
}
