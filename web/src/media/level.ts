// How loud it is: root mean square, 0 to 1.

// An Energy gives the level from what getStats sums up (webrtc-stats, totalAudioEnergy).
export class Energy {
  level = 0; // since the last take
  #energy = 0;
  #duration = 0;

  // take takes sums of the squared level over time and of the time.
  take(energy = 0, duration = 0): void {
    if (duration <= this.#duration && energy >= this.#energy) return;
    this.level = energy > this.#energy ? Math.sqrt((energy - this.#energy) / (duration - this.#duration)) : 0;
    [this.#energy, this.#duration] = [energy, duration];
  }

  reset(): void {
    this.level = this.#energy = this.#duration = 0;
  }
}

// A Meter gives the level of a track of this machine, such as a microphone's. Browsers
// let it run once somebody has clicked in the page, or while a microphone is in use.
export class Meter {
  #context: AudioContext;
  #source: MediaStreamAudioSourceNode;
  #analyser: AnalyserNode;
  #samples: Float32Array<ArrayBuffer>;

  constructor(track: MediaStreamTrack) {
    this.#context = new AudioContext();
    this.#source = this.#context.createMediaStreamSource(new MediaStream([track]));
    this.#analyser = this.#context.createAnalyser();
    this.#analyser.fftSize = 2048;
    this.#source.connect(this.#analyser);
    this.#samples = new Float32Array(this.#analyser.fftSize);
  }

  get level(): number {
    if (this.#context.state === 'suspended') void this.#context.resume().catch(() => {});
    this.#analyser.getFloatTimeDomainData(this.#samples);
    return rms(this.#samples);
  }

  close(): void {
    this.#source.disconnect();
    void this.#context.close().catch(() => {});
  }
}

export function rms(samples: Float32Array): number {
  let sum = 0;
  for (const s of samples) sum += s * s;
  return samples.length ? Math.sqrt(sum / samples.length) : 0;
}

// loudness maps -60 to 0 dB onto 0 to 1.
export function loudness(level: number): number {
  return level > 0 ? Math.min(1, Math.max(0, 1 + Math.log10(level) / 3)) : 0;
}
