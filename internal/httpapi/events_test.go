package httpapi

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
)

// A stream may be silent for longer than a reader may take nothing, by HTTP/1.1 as by HTTP/2.
func TestSilentEventStreamGoesOn(t *testing.T) {
	for _, version := range []int{1, 2} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			t.Parallel()
			const timeout = 400 * time.Millisecond
			router := NewRouter(Defaults(), slog.New(slog.DiscardHandler))
			router.GET("/events", Handle(func(c *gin.Context) error {
				s, err := NewEventStream(c, timeout)
				if err != nil {
					return err
				}
				for range 2 {
					if err := s.Write("data: x\n\n"); err != nil {
						t.Error(err)
					}
					time.Sleep(timeout + timeout/2) // the silence is the test
				}
				return nil
			}))
			server := httptest.NewUnstartedServer(router)
			server.EnableHTTP2 = version == 2
			server.StartTLS()
			defer server.Close()
			res, err := server.Client().Get(server.URL + "/events")
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.StatusCode != http.StatusOK || res.ProtoMajor != version {
				t.Errorf("got %s by %s", res.Status, res.Proto)
			}
			if all, err := io.ReadAll(res.Body); err != nil || strings.Count(string(all), "data: x") != 2 {
				t.Errorf("got %q, %v, want two events", all, err)
			}
		})
	}
}
