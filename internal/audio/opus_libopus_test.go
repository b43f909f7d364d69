//go:build libopus

package audio

func init() {
	libraries = append(libraries, library{"libopus", newLibopusDecoder, newLibopusEncoder})
}
