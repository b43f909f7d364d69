package audio

import (
	"fmt"
	"testing"

	"sightline/internal/audio/audiotest"
)

func TestZZ(t *testing.T) {
	for _, enc := range []int{1, 2} {
		for _, dec := range []int{1, 2} {
			for _, pair := range [][3]float64{{400, 700, 1100}, {400, 1100, 700}, {700, 1100, 400}} {
				e, _ := NewEncoder(EncoderConfig{Channels: enc, Bitrate: 48000, Complexity: 2, Loss: 10})
				d, _ := NewDecoder(dec)
				a, b := audiotest.Tone{Frequency: pair[0], Amplitude: .1}, audiotest.Tone{Frequency: pair[1], Amplitude: .1}
				x, y := make([]float32, 960), make([]float32, 960)
				pcm := make([]float32, 960*enc)
				var out []float32
				frame := make([]float32, 5760*2)
				for k := range 300 {
					clear(x)
					clear(y)
					if k > 3 {
						a.Fill(x)
					}
					if k > 3 {
						b.Fill(y)
					}
					for i := range x {
						for c := range enc {
							pcm[i*enc+c] = x[i] + y[i]
						}
					}
					p, err := e.Encode(nil, pcm); if k==290 {fmt.Print(p[0]>>3," ",len(p)," ")}
					if err != nil {
						t.Fatal(err)
					}
					n, err := d.Decode(p, frame)
					if err != nil {
						t.Fatal(err)
					}
					for i := range n {
						out = append(out, frame[i*dec])
					}
				}
				out = out[len(out)-48000:]
				fmt.Printf("enc %d dec %d: %v: %.1f %.1f other %.1f\n", enc, dec, pair, audiotest.Power(out, pair[0]), audiotest.Power(out, pair[1]), audiotest.Power(out, pair[2]))
			}
		}
	}
}
