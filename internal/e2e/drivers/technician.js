// technician.js is put into pages of the technician's tests before their own scripts: cameras that are drawn and voices
// that are tones, and what the tests read in the technician's page.
'use strict';
(() => {
  let sound;
  function tone(frequency, gain = 0.2) {
    sound ??= new AudioContext();
    const sink = sound.createMediaStreamDestination();
    const t = new OscillatorNode(sound, { frequency });
    t.connect(new GainNode(sound, { gain })).connect(sink);
    t.start();
    return sink.stream.getAudioTracks()[0];
  }

  function drawn(width = 640, height = 360, fps = 15) {
    const canvas = Object.assign(document.createElement('canvas'), { width, height });
    const g = canvas.getContext('2d');
    let n = 0;
    setInterval(() => {
      g.fillStyle = `hsl(${(n * 7) % 360} 60% 50%)`;
      g.fillRect(0, 0, width, height);
      g.fillStyle = '#fff';
      g.fillRect((n++ * 11) % width, 0, 40, height);
    }, 1000 / fps);
    return canvas.captureStream(fps).getVideoTracks()[0];
  }

  // devices gives the page a microphone that is a tone, and a camera that is drawn.
  const devices = (frequency) => {
    navigator.mediaDevices.getUserMedia = async ({ audio, video }) => new MediaStream([...(audio ? [tone(frequency)] : []), ...(video ? [drawn()] : [])]);
  };

  // publish has the gateway's own element publish a drawn camera, a tone, or both. It comes back by itself.
  async function publish(root, room, name, { label = '', role = 'hospital', frequency = 0, video = true } = {}) {
    await import(new URL('/assets/sightline.js', root).href);
    const e = document.createElement('sightline-publisher');
    for (const [k, v] of Object.entries({ id: name, src: `/whip/${room}/${name}`, label, role })) e.setAttribute(k, v);
    e.stream = new MediaStream([...(frequency ? [tone(frequency)] : []), ...(video ? [drawn()] : [])]);
    document.body.append(e);
  }

  const leave = (name) => document.getElementById(name).remove();

  // hear plays a mix beside the page's own.
  async function hear(root, room, who) {
    await import(new URL('/assets/sightline.js', root).href);
    const e = document.createElement('sightline-player');
    for (const [k, v] of Object.entries({ id: 'ear', src: `/whep/${room}/~mix?for=${who}` })) e.setAttribute(k, v);
    document.body.append(e);
  }

  // strength is how strong a tone is in what an element plays, in dB below full scale.
  const analysers = new WeakMap(); // by track
  async function strength(selector, frequency) {
    const video = document.querySelector(selector)?.shadowRoot.querySelector('video');
    const track = video?.srcObject?.getAudioTracks()[0];
    if (!track) return -200;
    sound ??= new AudioContext();
    let a = analysers.get(track);
    if (!a) {
      a = new AnalyserNode(sound, { fftSize: 32768, smoothingTimeConstant: 0 });
      new MediaStreamAudioSourceNode(sound, { mediaStream: new MediaStream([track]) }).connect(a);
      a.connect(new GainNode(sound, { gain: 0 })).connect(sound.destination);
      analysers.set(track, a);
    }
    await new Promise((done) => setTimeout(done, 900)); // longer than what it looks at
    const bins = new Float32Array(a.frequencyBinCount);
    a.getFloatFrequencyData(bins);
    const at = Math.round((frequency * a.fftSize) / sound.sampleRate);
    const db = Math.max(...bins.slice(at - 2, at + 3));
    return Number.isFinite(db) ? db : -200;
  }

  // tiles is what the page shows of each picture.
  const tiles = () =>
    [...document.querySelectorAll('.place')].filter((p) => p.querySelector('sightline-player')).map((p) => {
      const video = p.querySelector('sightline-player').shadowRoot.querySelector('video');
      const tile = p.querySelector('.tile');
      return {
        name: p.dataset.name,
        label: p.querySelector('h3').textContent,
        state: tile.dataset.state,
        words: p.querySelector('.tile-words strong')?.textContent ?? '',
        age: p.querySelector('.tile-words .age')?.textContent ?? '',
        detail: p.querySelector('.tile-words .detail')?.textContent ?? '',
        badge: p.querySelector('.tile-name .state').textContent,
        frames: video.getVideoPlaybackQuality?.().totalVideoFrames ?? 0,
        width: video.videoWidth,
        fit: getComputedStyle(video).objectFit,
        filter: getComputedStyle(p.querySelector('sightline-player')).filter,
        transform: p.querySelector('sightline-player').style.transform,
        big: p.classList.contains('big'),
        key: p.querySelector('.tile-key')?.textContent.trim() ?? '',
      };
    });

  // Files that the page has saved: names, and the sizes of pictures.
  const saved = [];
  const blobs = new Map();
  const create = URL.createObjectURL.bind(URL);
  URL.createObjectURL = (blob) => {
    const url = create(blob);
    blobs.set(url, blob);
    return url;
  };
  // The page's link is in no document, so that its click is heard by nobody else.
  const click = HTMLAnchorElement.prototype.click;
  HTMLAnchorElement.prototype.click = function () {
    if (!this.download) return click.call(this);
    void createImageBitmap(blobs.get(this.href)).then((p) => saved.push({ name: this.download, width: p.width, height: p.height }));
  };

  window.technician = { devices, publish, leave, hear, strength, tiles, saved: () => saved };
})();
