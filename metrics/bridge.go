package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"sightline/internal/audio"
	"sightline/internal/bridge"
)

var bridgeMetrics = []metric[bridge.Snapshot]{
	gaugeOf("bridge_rooms", "Rooms that are being mixed.",
		func(s *bridge.Snapshot) float64 { return float64(s.Rooms) }),
	gaugeOf("bridge_listeners", "WHEP sessions that play a mix.",
		func(s *bridge.Snapshot) float64 { return float64(s.Listeners) }),
	gaugeOf("bridge_speakers", "Publishers whose sound is being mixed.",
		func(s *bridge.Snapshot) float64 { return float64(len(s.Speakers)) }),
	gaugeOf("bridge_mixes", "Distinct mixes: listeners who hear the same share one.",
		func(s *bridge.Snapshot) float64 { return float64(s.Mixes) }),
	{desc("bridge_one_way", "Sound that seems to go one way only, by reason.", "reason"),
		func(w writer, d *prometheus.Desc, s *bridge.Snapshot) {
			unheard := 0.0
			for i := range s.Speakers {
				unheard += number(s.Speakers[i].Unheard)
			}
			w.gauge(d, unheard, "unheard")
			w.gauge(d, float64(s.Starved), "concealed")
			w.gauge(d, float64(s.Deaf), "lost")
		}},

	counterOf("bridge_ticks_total", "Frames of 20 ms that were mixed.",
		func(s *bridge.Snapshot) uint64 { return s.Ticks }),
	counterOf("bridge_tick_overruns_total", "Frames that were done later than the next one was due.",
		func(s *bridge.Snapshot) uint64 { return s.Overruns }),
	counterOf("bridge_skipped_frames_total", "Frames that were left out because the mixing was too far behind.",
		func(s *bridge.Snapshot) uint64 { return s.Skipped }),
	{desc("bridge_busy_seconds_total", "Time that mixing took."),
		func(w writer, d *prometheus.Desc, s *bridge.Snapshot) { w.counter(d, s.Busy.Seconds()) }},
}

// bridgeTotals are what the bridge counts of speakers' packets, over all that there ever were.
var bridgeTotals = []metric[audio.Stats]{
	counterOf("bridge_packets_total", "RTP packets of speakers that reached the bridge.",
		func(s *audio.Stats) uint64 { return s.Packets }),
	counterOf("bridge_late_packets_total", "RTP packets of speakers that came too late to be played.",
		func(s *audio.Stats) uint64 { return s.Late }),
	counterOf("bridge_lost_packets_total", "RTP packets of speakers that never came.",
		func(s *audio.Stats) uint64 { return s.Lost }),
	counterOf("bridge_bad_packets_total", "RTP packets of speakers that are not Opus.",
		func(s *audio.Stats) uint64 { return s.Bad }),
	counterOf("bridge_recovered_packets_total", "RTP packets of speakers that never came and were recovered by forward error correction.",
		func(s *audio.Stats) uint64 { return s.FEC }),
	counterOf("bridge_frames_total", "Frames of 20 ms that were played, of all speakers.",
		func(s *audio.Stats) uint64 { return s.Frames }),
	{desc("bridge_concealed_frames_total", "What had to be concealed, in frames of 20 ms, of all speakers."),
		func(w writer, d *prometheus.Desc, s *audio.Stats) {
			w.counter(d, float64(s.Concealed)/audio.FrameSamples)
		}},
}

// A speakerMetric is one reading of each speaker; merge makes one of those of the speakers
// that have no label values of their own.
type speakerMetric struct {
	desc  *prometheus.Desc
	value func(*bridge.SpeakerSnapshot) float64
	merge func(a, b float64) float64
}

func perSpeaker(name, help string) *prometheus.Desc {
	return desc("speaker_"+name, help, "room", "publisher")
}

var speakerMetrics = []speakerMetric{
	{perSpeaker("level_dbov", "How loud the speaker is: 0 is the loudest that there is, -127 silence (RFC 6464)."),
		func(s *bridge.SpeakerSnapshot) float64 { return -float64(s.Level) }, worst},
	{perSpeaker("speaking", "1 while the speaker speaks."),
		func(s *bridge.SpeakerSnapshot) float64 { return number(s.Speaking) }, add},
	{perSpeaker("unheard", "1 if the speaker spoke and, it seems, nobody received it."),
		func(s *bridge.SpeakerSnapshot) float64 { return number(s.Unheard) }, add},
	{perSpeaker("delay_seconds", "How long the jitter buffer holds the speaker's sound."),
		func(s *bridge.SpeakerSnapshot) float64 { return s.Stats.Delay.Seconds() }, worst},
	{perSpeaker("target_delay_seconds", "How long the jitter buffer wants to hold the speaker's sound."),
		func(s *bridge.SpeakerSnapshot) float64 { return s.Stats.Target.Seconds() }, worst},
}

// collectBridge comes after the tracks: these decide which publishers have label values.
func (c *collector) collectBridge(w writer, s bridge.Snapshot) {
	collect(w, bridgeMetrics, &s)
	total := s.Past
	rest := make(map[*prometheus.Desc]float64)
	for i := range s.Speakers {
		speaker := &s.Speakers[i]
		total = total.Plus(speaker.Stats)
		own := c.labels.own[name{speaker.Room, speaker.Publisher}]
		for _, m := range speakerMetrics {
			v := m.value(speaker)
			if own {
				w.gauge(m.desc, v, speaker.Room, speaker.Publisher)
			} else if before, ok := rest[m.desc]; ok {
				rest[m.desc] = m.merge(before, v)
			} else {
				rest[m.desc] = v
			}
		}
	}
	for d, v := range rest {
		w.gauge(d, v, other, other)
	}
	collect(w, bridgeTotals, &total)
}
