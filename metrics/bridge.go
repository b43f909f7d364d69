package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"sightline/internal/audio"
	"sightline/internal/bridge"
)

// The metrics of the audio bridge.
var (
	bridgeRooms     = desc("bridge_rooms", "Rooms that are being mixed.")
	bridgeListeners = desc("bridge_listeners", "WHEP sessions that play a mix.")
	bridgeSpeakers  = desc("bridge_speakers", "Publishers whose sound is being mixed.")
	bridgeMixes     = desc("bridge_mixes", "Distinct mixes: listeners who hear the same share one.")
	bridgeOneWay    = desc("bridge_one_way", "Sound that seems to go one way only, by reason.", "reason")

	bridgeTicks    = desc("bridge_ticks_total", "Frames of 20 ms that were mixed.")
	bridgeOverruns = desc("bridge_tick_overruns_total", "Frames that were done later than the next one was due.")
	bridgeSkipped  = desc("bridge_skipped_frames_total", "Frames that were left out because the mixing was too far behind.")
	bridgeBusy     = desc("bridge_busy_seconds_total", "Time that mixing took.")
)

// bridgeTotals are what the bridge counts of speakers' packets, over all that there ever were.
var bridgeTotals = []struct {
	desc  *prometheus.Desc
	value func(audio.Stats) float64
}{
	{desc("bridge_packets_total", "RTP packets of speakers that reached the bridge."), func(s audio.Stats) float64 { return float64(s.Packets) }},
	{desc("bridge_late_packets_total", "RTP packets of speakers that came too late to be played."), func(s audio.Stats) float64 { return float64(s.Late) }},
	{desc("bridge_lost_packets_total", "RTP packets of speakers that never came."), func(s audio.Stats) float64 { return float64(s.Lost) }},
	{desc("bridge_bad_packets_total", "RTP packets of speakers that are not Opus."), func(s audio.Stats) float64 { return float64(s.Bad) }},
	{desc("bridge_recovered_packets_total", "RTP packets of speakers that never came and were recovered by forward error correction."), func(s audio.Stats) float64 { return float64(s.FEC) }},
	{desc("bridge_frames_total", "Frames of 20 ms that were played, of all speakers."), func(s audio.Stats) float64 { return float64(s.Frames) }},
	{desc("bridge_concealed_frames_total", "What had to be concealed, in frames of 20 ms, of all speakers."), func(s audio.Stats) float64 { return float64(s.Concealed) / audio.FrameSamples }},
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

func bridgeDescs() []*prometheus.Desc {
	all := []*prometheus.Desc{
		bridgeRooms, bridgeListeners, bridgeSpeakers, bridgeMixes, bridgeOneWay,
		bridgeTicks, bridgeOverruns, bridgeSkipped, bridgeBusy,
	}
	for _, m := range bridgeTotals {
		all = append(all, m.desc)
	}
	for _, m := range speakerMetrics {
		all = append(all, m.desc)
	}
	return all
}

// collectBridge comes after the tracks: these decide which publishers have label values.
func (c *collector) collectBridge(w writer, s bridge.Snapshot) {
	w.gauge(bridgeRooms, float64(s.Rooms))
	w.gauge(bridgeListeners, float64(s.Listeners))
	w.gauge(bridgeSpeakers, float64(len(s.Speakers)))
	w.gauge(bridgeMixes, float64(s.Mixes))
	w.counter(bridgeTicks, float64(s.Ticks))
	w.counter(bridgeOverruns, float64(s.Overruns))
	w.counter(bridgeSkipped, float64(s.Skipped))
	w.counter(bridgeBusy, s.Busy.Seconds())
	total, unheard := s.Past, 0
	rest := make(map[*prometheus.Desc]float64)
	for i := range s.Speakers {
		speaker := &s.Speakers[i]
		total = total.Plus(speaker.Stats)
		if speaker.Unheard {
			unheard++
		}
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
	for _, m := range bridgeTotals {
		w.counter(m.desc, m.value(total))
	}
	w.gauge(bridgeOneWay, float64(unheard), "unheard")
	w.gauge(bridgeOneWay, float64(s.Starved), "concealed")
	w.gauge(bridgeOneWay, float64(s.Deaf), "lost")
}
