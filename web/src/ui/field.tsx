// What people fill in.
import type { ComponentChildren, JSX } from 'preact';
import { useId } from 'preact/hooks';

interface Common {
  label: string;
  hint?: ComponentChildren;
  error?: string;
  disabled?: boolean;
}

function Described({ id, hint, error }: { id: string; hint?: ComponentChildren; error?: string | undefined }): JSX.Element {
  return (
    <>
      {hint && !error && (
        <p class="hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
      <p class="fault" id={`${id}-fault`} aria-live="polite">
        {error}
      </p>
    </>
  );
}

const describes = (id: string, { hint, error }: Common) => error ? `${id}-fault` : hint ? `${id}-hint` : undefined;

export interface TextFieldProps extends Common {
  value: string;
  onInput(value: string): void;
  maxLength?: number;
  autoComplete?: string;
  placeholder?: string;
  name?: string;
  required?: boolean;
  focus?: boolean; // when the page is new
}

export function TextField(props: TextFieldProps): JSX.Element {
  const { label, value, onInput, maxLength = 64, autoComplete = 'off', placeholder, name, required, disabled, error, focus } = props;
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <input
        id={id}
        type="text"
        value={value}
        onInput={(e) => onInput(e.currentTarget.value)}
        maxLength={maxLength}
        autoComplete={autoComplete}
        autoCapitalize="off"
        spellcheck={false}
        placeholder={placeholder}
        name={name}
        required={required}
        disabled={disabled}
        autoFocus={focus}
        aria-invalid={error ? true : undefined}
        aria-describedby={describes(id, props)}
      />
      <Described id={id} hint={props.hint} error={error} />
    </div>
  );
}

export interface SelectProps extends Common {
  value: string;
  options: readonly { value: string; label: string }[];
  onChange(value: string): void;
}

export function Select(props: SelectProps): JSX.Element {
  const { label, value, options, onChange, disabled, error } = props;
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <select id={id} value={value} onChange={(e) => onChange(e.currentTarget.value)} disabled={disabled} aria-invalid={error ? true : undefined} aria-describedby={describes(id, props)}>
        {options.map((o) => (
          <option key={o.value} value={o.value} selected={o.value === value}>
            {o.label}
          </option>
        ))}
      </select>
      <Described id={id} hint={props.hint} error={error} />
    </div>
  );
}

export interface SwitchProps extends Common {
  checked: boolean;
  onChange(checked: boolean): void;
}

export function Switch(props: SwitchProps): JSX.Element {
  const { label, checked, onChange, disabled, hint } = props;
  const id = useId();
  return (
    <label class="switch">
      <input type="checkbox" role="switch" checked={checked} onChange={(e) => onChange(e.currentTarget.checked)} disabled={disabled} aria-describedby={hint ? `${id}-hint` : undefined} />
      <span class="track" aria-hidden="true" />
      <span class="words">
        {label}
        {hint && (
          <span class="hint" id={`${id}-hint`}>
            {hint}
          </span>
        )}
      </span>
    </label>
  );
}

export interface ChoiceProps<T extends string> {
  label: string;
  value: T;
  options: readonly { value: T; label: string }[];
  onChange(value: T): void;
}

// A Choice is one of few, all of them seen.
export function Choice<T extends string>({ label, value, options, onChange }: ChoiceProps<T>): JSX.Element {
  const name = useId();
  return (
    <fieldset class="choice">
      <legend>{label}</legend>
      <div class="choice-row">
        {options.map((o) => (
          <label key={o.value} class={o.value === value ? 'on' : ''}>
            <input type="radio" name={name} value={o.value} checked={o.value === value} onChange={() => onChange(o.value)} />
            <span>{o.label}</span>
          </label>
        ))}
      </div>
    </fieldset>
  );
}
