package web

import (
	"net/http"

	"github.com/gin-gonic/gin"
)

// stations is what pages are told of their limits; openapi.yaml describes it.
type stations struct {
	MaxBitrate int    `json:"maxBitrate"`
	FrameRate  int    `json:"frameRate"`
	Quality    string `json:"quality"`
	Width      int    `json:"width"`
	Height     int    `json:"height"`
	MuteFrom   int    `json:"muteFrom"`
}

// limits answers with what pages hold themselves to. It is no secret, and asks for no token:
// a page needs it before it has one.
func (p *Pages) limits(c *gin.Context) {
	s := stations{MaxBitrate: p.config.MaxBitrate, FrameRate: p.config.FrameRate, Quality: p.config.Quality, MuteFrom: p.config.MaxFull}
	s.Width, s.Height = p.config.size()
	h := c.Writer.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "application/json")
	c.JSON(http.StatusOK, s)
}
