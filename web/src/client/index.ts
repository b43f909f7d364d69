// The protocol client, for whoever builds a page of his own.
export * from './events.ts';
export * from './http.ts';
export * from './participant.ts';
export * from './retry.ts';
export * from './rooms.ts';
export * from './session.ts';
export * from './whep.ts';
export * from './whip.ts';
