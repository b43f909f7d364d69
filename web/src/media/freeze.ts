// Whether what is shown is fresh. All times are milliseconds of performance.now().

export const FREEZE = 1_500; // without a new frame, or sound packet, this long is no longer live

// A Freshness knows when the newest of what is played was shown. Told of frames as they
// come, and asked every LOOK, it tells a standstill within FREEZE and one look.
export class Freshness {
  first = 0; // when the session's first frame was shown
  lastFrame = 0; // of what is shown; or of the last sound, without video
  lastSound = 0;

  // shown takes a frame, or sound where there is no video, and returns whether it is the
  // session's first.
  shown(now: number): boolean {
    const isFirst = !this.first;
    if (isFirst) this.first = now;
    this.lastFrame = now;
    return isFirst;
  }

  heard(now: number): void {
    this.lastSound = now;
  }

  // live is the beginning of a live picture, whose sound may come a moment later.
  live(now: number): void {
    this.lastSound = Math.max(this.lastSound, now - FREEZE);
  }

  still(now: number): boolean {
    return now - this.lastFrame > FREEZE;
  }

  // age returns for how long what is shown has stood still; 0 while that is too short to
  // tell, and before there was anything.
  age(now: number): number {
    const age = now - this.lastFrame;
    return !this.lastFrame || age < FREEZE ? 0 : age;
  }

  // soundGap returns for how long there has been no sound; 0 if that is too short to tell.
  soundGap(now: number): number {
    const gap = now - this.lastSound;
    return gap > 2 * FREEZE ? gap : 0;
  }
}
