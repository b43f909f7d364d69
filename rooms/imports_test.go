package rooms_test

import (
	"os/exec"
	"strings"
	"testing"
)

// The heart knows neither HTTP nor WebRTC: docs/ARCHITECTURE.md.
func TestTheHeartStaysOnItsFloor(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	deps := strings.Fields(string(out))
	if len(deps) < 20 {
		t.Fatalf("go list names %d packages", len(deps))
	}
	for _, dep := range deps {
		for _, no := range []string{
			"sightline/internal/rtc", "sightline/internal/httpapi", "sightline/internal/auth", "sightline/internal/sdp",
			"github.com/pion/", "github.com/gin-gonic/", "github.com/prometheus/", "github.com/nats-io/", "net/http",
		} {
			if strings.HasPrefix(dep, no) {
				t.Errorf("rooms imports %s", dep)
			}
		}
	}
}
