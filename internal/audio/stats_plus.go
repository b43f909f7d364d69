package audio

// Plus returns the sums of the totals, without readings.
func (s Stats) Plus(o Stats) Stats {
	return Stats{
		Packets: s.Packets + o.Packets, Late: s.Late + o.Late, Lost: s.Lost + o.Lost,
		Duplicates: s.Duplicates + o.Duplicates, Discarded: s.Discarded + o.Discarded, Bad: s.Bad + o.Bad,
		Frames: s.Frames + o.Frames, Concealed: s.Concealed + o.Concealed, FEC: s.FEC + o.FEC,
		Stretched: s.Stretched + o.Stretched, Compressed: s.Compressed + o.Compressed, Resets: s.Resets + o.Resets,
	}
}
