package httpapi

import (
	"bufio"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
)

// A stream may be silent for longer than a reader may take nothing, by HTTP/1.1 as by HTTP/2.
func TestSilentEventStreamGoesOn(t *testing.T) {
	for _, version := range []int{1, 2} {
		const timeout = 200 * time.Millisecond
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
				time.Sleep(2 * timeout) // the silence is the test
			}
			return nil
		}))
		server := httptest.NewUnstartedServer(router)
		server.EnableHTTP2 = version == 2
		server.StartTLS()
		res, err := server.Client().Get(server.URL + "/events")
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != http.StatusOK || res.ProtoMajor != version {
			t.Errorf("got %s by %s", res.Status, res.Proto)
		}
		lines, r := 0, bufio.NewScanner(res.Body)
		for r.Scan() {
			lines++
		}
		if r.Err() != nil || lines != 4 {
			t.Errorf("HTTP/%d: %d lines, %v, want 4", version, lines, r.Err())
		}
		_ = res.Body.Close()
		server.Close()
	}
}
