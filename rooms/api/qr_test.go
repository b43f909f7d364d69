package api

import (
	"encoding/xml"
	"fmt"
	"strings"
	"testing"

	"rsc.io/qr"
)

// The drawing has the modules of the code, and white around them.
func TestQRCodeIsDrawnAsItIs(t *testing.T) {
	const text = "https://media.example.org/mri-2/technician#token=Q7ZKXW4JH2BTD5UVMCEA3GNRYPQ7ZKXW4JH2BTD5UVM"
	svg, err := drawQR(text)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		ViewBox string `xml:"viewBox,attr"`
		Paths   []struct {
			Fill string `xml:"fill,attr"`
			D    string `xml:"d,attr"`
		} `xml:"path"`
	}
	if err := xml.Unmarshal([]byte(svg), &doc); err != nil || len(doc.Paths) != 2 {
		t.Fatalf("%v in %s", err, svg)
	}
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		t.Fatal(err)
	}
	black := make(map[[2]int]bool)
	for part := range strings.SplitSeq(strings.TrimSuffix(doc.Paths[1].D, "z"), "z") {
		var x, y, n, back int
		if _, err := fmt.Sscanf(part, "M%d %dh%dv1h-%d", &x, &y, &n, &back); err != nil || n != back {
			t.Fatalf("%q: %v", part, err)
		}
		for i := range n {
			black[[2]int{x + i, y}] = true
		}
	}
	side := code.Size + 8
	for y := range side {
		for x := range side {
			if got, want := black[[2]int{x, y}], code.Black(x-4, y-4); got != want {
				t.Fatalf("module %d, %d: black is %t, want %t", x, y, got, want)
			}
		}
	}
	if want := fmt.Sprintf("0 0 %[1]d %[1]d", side); doc.ViewBox != want {
		t.Errorf("viewBox is %s, want %s", doc.ViewBox, want)
	}
	if _, err := drawQR(strings.Repeat("x", 5000)); err == nil {
		t.Error("a text that no code can have is drawn")
	}
}
