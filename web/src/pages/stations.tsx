// The script of all pages that people use: one file, so that a browser that has seen the
// lobby has the stations, too.
import { render, type JSX } from 'preact';

import { watchAccount } from '../ui/account.tsx';
import { paint } from '../ui/choices.ts';
import { note, watchErrors } from '../ui/diagnostics.ts';
import { listen } from '../ui/hotkeys.tsx';
import { here, reloadWithToken } from '../ui/page.ts';
import { Hospital } from './hospital.tsx';
import { Lobby } from './lobby.tsx';
import { Meeting } from './room.tsx';
import { Rooms } from './root.tsx';
import { Technician } from './technician.tsx';

const pages: Record<string, () => JSX.Element> = { root: Rooms, lobby: Lobby, hospital: Hospital, technician: Technician, room: Meeting };

paint();
watchErrors();
listen();
reloadWithToken();
watchAccount();
note('page', here.page);
const Page = pages[here.page];
const app = document.getElementById('app');
if (Page && app) render(<Page />, app);
