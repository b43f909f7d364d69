import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useId, useRef } from 'preact/hooks';

import { IconButton } from './button.tsx';
import { words } from './strings.ts';

export interface DialogProps {
  title: string;
  open: boolean;
  onClose(): void; // Escape, the cross, a click beside it
  children: ComponentChildren;
  actions?: ComponentChildren; // at its end
  wide?: boolean;
}

// A Dialog is modal: the browser keeps the focus inside and gives it back. What is in it
// is there only while it is open.
export function Dialog({ title, open, onClose, children, actions, wide }: DialogProps): JSX.Element {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const dialog = ref.current;
    if (!dialog) return;
    if (open && !dialog.open) dialog.showModal();
    if (!open && dialog.open) dialog.close();
  }, [open]);
  return (
    <dialog
      ref={ref}
      class={wide ? 'dialog wide' : 'dialog'}
      aria-labelledby={id}
      onClose={() => open && onClose()}
      onClick={(e) => e.target === ref.current && onClose()}
    >
      {open && (
        <div class="dialog-box">
          <header class="dialog-head">
            <h2 id={id}>{title}</h2>
            <IconButton icon="close" label={words.close} kind="quiet" onClick={onClose} />
          </header>
          <div class="dialog-body" tabIndex={0} role="group" aria-labelledby={id}>
            {children}
          </div>
          {actions && <footer class="dialog-foot">{actions}</footer>}
        </div>
      )}
    </dialog>
  );
}

export interface ConfirmProps {
  title: string;
  open: boolean;
  onClose(): void;
  onConfirm(): void;
  confirm: string;
  danger?: boolean;
  children: ComponentChildren;
}

// Confirm asks before what can't be undone.
export function Confirm({ onConfirm, confirm, danger, children, ...props }: ConfirmProps): JSX.Element {
  return (
    <Dialog
      {...props}
      actions={
        <>
          <button type="button" class="button plain" onClick={props.onClose}>
            {words.cancel}
          </button>
          <button
            type="button"
            class={`button ${danger ? 'danger' : 'primary'}`}
            onClick={() => {
              onConfirm();
              props.onClose();
            }}
          >
            {confirm}
          </button>
        </>
      }
    >
      {children}
    </Dialog>
  );
}
