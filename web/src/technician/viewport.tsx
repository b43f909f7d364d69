// The frame around a picture, in which it can be zoomed and moved: by wheel, by dragging,
// by two fingers. Keys and buttons do the same (wall.tsx).
import type { JSX } from 'preact';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';

import { useStore } from '../ui/store.ts';
import type { Picture } from './desk.ts';
import { w } from './words.ts';
import { WHOLE, by, pan, transform } from './zoom.ts';

const DRAG = 5; // px from which a press is no click

export interface ViewportProps {
  picture: Picture;
  label: string;
  hotkey: string | undefined;
  zooms: boolean; // enlarged
  onOpen(beside: boolean): void; // a click on one that is not
}

export function Viewport({ picture, label, hotkey, zooms, onOpen }: ViewportProps): JSX.Element {
  const { player, zoom } = picture;
  const frame = useRef<HTMLDivElement>(null);
  const open = useRef(onOpen);
  open.current = onOpen;
  const z = useStore(zoom);

  useLayoutEffect(() => {
    frame.current?.append(player); // it may have been playing for a while
  }, [player]);
  useEffect(() => {
    player.style.transform = transform(zooms ? z : WHOLE);
  }, [player, z, zooms]);

  useEffect(() => {
    const element = frame.current;
    if (!element) return undefined;
    const at = (e: MouseEvent) => {
      const r = element.getBoundingClientRect();
      return { x: (e.clientX - r.left) / r.width, y: (e.clientY - r.top) / r.height, width: r.width, height: r.height };
    };
    const fingers = new Map<number, PointerEvent>();
    let moved = 0;

    const wheel = (e: WheelEvent) => {
      if (!zooms) return;
      e.preventDefault();
      const { x, y } = at(e);
      zoom.set(by(zoom.value, Math.exp(-(e.deltaMode ? e.deltaY * 16 : e.deltaY) / 300), x, y));
    };
    const down = (e: PointerEvent) => {
      if (e.button > 0) return;
      if (!fingers.size) moved = 0;
      fingers.set(e.pointerId, e);
      if (zooms) element.setPointerCapture(e.pointerId);
    };
    const move = (e: PointerEvent) => {
      const was = fingers.get(e.pointerId);
      if (!was) return;
      fingers.set(e.pointerId, e);
      moved += Math.abs(e.clientX - was.clientX) + Math.abs(e.clientY - was.clientY);
      if (!zooms) return;
      const { width, height } = at(e);
      const other = [...fingers.values()].find((f) => f.pointerId !== e.pointerId);
      if (other) {
        const gap = (a: PointerEvent) => Math.hypot(a.clientX - other.clientX, a.clientY - other.clientY);
        const [p, q] = [at(e), at(other)];
        zoom.set(by(zoom.value, gap(e) / Math.max(1, gap(was)), (p.x + q.x) / 2, (p.y + q.y) / 2));
      }
      const share = fingers.size;
      zoom.set(pan(zoom.value, (e.clientX - was.clientX) / width / share, (e.clientY - was.clientY) / height / share));
    };
    const up = (e: PointerEvent) => void fingers.delete(e.pointerId);
    const click = (e: MouseEvent) => {
      if (moved > DRAG || zooms) return;
      open.current(e.shiftKey || e.ctrlKey || e.metaKey);
    };
    const twice = (e: MouseEvent) => {
      e.stopPropagation();
      if (!zooms || moved > DRAG) return;
      const { x, y } = at(e);
      zoom.set(zoom.value.scale > 1 ? WHOLE : by(WHOLE, 2.5, x, y));
    };
    const all: [string, (e: never) => void][] = [
      ['wheel', wheel], ['pointerdown', down], ['pointermove', move], ['pointerup', up], ['pointercancel', up], ['click', click], ['dblclick', twice],
    ];
    for (const [type, f] of all) element.addEventListener(type, f as EventListener, { passive: false });
    return () => {
      for (const [type, f] of all) element.removeEventListener(type, f as EventListener);
    };
  }, [zooms, zoom]);

  return (
    <div
      ref={frame}
      class={`viewport ${zooms ? (z.scale > 1 ? 'zoomed' : 'zooms') : 'opens'}`}
      role={zooms ? 'group' : 'button'}
      tabIndex={0}
      aria-label={zooms ? w.picture(label) : `${w.actions.enlarge}: ${label}`}
      aria-keyshortcuts={zooms ? undefined : hotkey}
      onKeyDown={(e) => {
        if (zooms || (e.key !== 'Enter' && e.key !== ' ')) return;
        e.preventDefault();
        onOpen(e.shiftKey);
      }}
    />
  );
}
