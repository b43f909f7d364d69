// Names of rooms and publishers: what the gateway takes, told before it is asked.

const longest = 64;

// A name that has these is written without.
const plain: Record<string, string> = { ä: 'ae', ö: 'oe', ü: 'ue', ß: 'ss', Ä: 'Ae', Ö: 'Oe', Ü: 'Ue', æ: 'ae', ø: 'o', å: 'a' };

// spell writes a name as the gateway can take it: "MRI 2" is MRI-2, "Röntgen" is Roentgen.
export function spell(text: string): string {
  return text
    .trim()
    .replace(/[äöüßÄÖÜæøå]/g, (c) => plain[c] ?? c)
    .normalize('NFKD')
    .replace(/[\u0300-\u036f]/g, '')
    .replace(/\s+/g, '-');
}

// fault says why no room can be called so; empty if one can.
export function fault(name: string, reserved: readonly string[] = []): string {
  if (!name) return 'Give the room a name.';
  const bad = [...name].find((c) => !/[A-Za-z0-9._-]/.test(c));
  if (bad) return `“${bad}” can’t be in a room’s name. It has letters, digits, and . _ - only.`;
  if (name.startsWith('.')) return 'A room’s name can’t begin with a dot.';
  if (name.length > longest) return `This name is too long: a room’s name has ${longest} characters at most.`;
  if (reserved.includes(name)) return `No room can be called “${name}”: the gateway itself uses that address.`;
  return '';
}
