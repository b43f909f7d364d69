package api

import (
	"fmt"
	"strings"

	"rsc.io/qr"
)

// quiet is how many modules stay white around a QR code (ISO/IEC 18004, section 6.3.8).
const quiet = 4

// drawQR returns a QR code of a text as an SVG document: black on white, whatever the page around
// it has. The error says that the text is too long.
func drawQR(text string) (string, error) {
	code, err := qr.Encode(text, qr.M) // a display has scratches seldom, glare often
	if err != nil {
		return "", fmt.Errorf("draw a QR code: %w", err)
	}
	var path strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			run := 0
			for x+run < code.Size && code.Black(x+run, y) {
				run++
			}
			if run > 0 {
				fmt.Fprintf(&path, "M%d %dh%dv1h-%dz", quiet+x, quiet+y, run, run)
				x += run
			}
		}
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]d %[1]d" shape-rendering="crispEdges">`+
		`<path fill="#fff" d="M0 0h%[1]dv%[1]dh-%[1]dz"/><path fill="#000" d="%[2]s"/></svg>`, code.Size+2*quiet, path.String()), nil
}
