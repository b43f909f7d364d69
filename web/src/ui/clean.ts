// What may leave this machine.

// clean takes out what opens something: tokens, and URLs of sessions and participants.
export function clean(value: unknown, token: string): unknown {
  if (typeof value === 'string') {
    const text = token ? value.split(token).join('…').split(encodeURIComponent(token)).join('…') : value;
    return text
      .replace(/(\/(?:sessions|participants)\/)[^/?#\s"]+/g, '$1…')
      .replace(/([?#&](?:token|access_token)=)[^&\s"]+/gi, '$1…')
      .replace(/(Bearer\s+)\S+/gi, '$1…');
  }
  if (Array.isArray(value)) return value.map((v) => clean(v, token));
  if (value && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, clean(v, token)]));
  return value;
}
