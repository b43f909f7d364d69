package metrics

import (
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"sightline/internal/fault"
	"sightline/internal/httpapi"
)

// Build says which program runs.
type Build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"` // "" if the program was built outside its repository
	Go      string `json:"go"`
}

// commit is set by the linker for what is given to others (see Makefile): what Go stamps by
// itself depends on the clone, by its depth, tags and work tree.
var commit string

// ReadBuild returns the build of this program; its version is for the caller to know.
func ReadBuild(version string) Build {
	b := Build{Version: version, Commit: commit, Go: runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok && commit == "" {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				b.Commit = s.Value
			}
		}
	}
	return b
}

// Health answers whether the gateway lives, whether it takes new sessions, and what it is.
// Whoever reaches the gateway may ask.
type Health struct {
	build Build
	ready func() []string
	warn  func() []string
}

// NewHealth returns the health of a gateway. ready gives the reasons for which it takes no
// new sessions now, in words for an operator that tell a stranger nothing; none if it does.
func NewHealth(build Build, ready func() []string) *Health {
	return &Health{build: build, ready: ready, warn: func() []string { return nil }}
}

// Warn lets /readyz tell what is wrong though sessions are taken: in words for an operator that
// tell a stranger nothing. Call it before Register.
func (h *Health) Warn(warn func() []string) { h.warn = warn }

// Register adds /healthz, /readyz and /version.
func (h *Health) Register(r gin.IRouter) {
	for path, handler := range map[string]httpapi.Handler{
		"/healthz": h.alive,
		"/readyz":  h.readiness,
		"/version": h.version,
	} {
		r.GET(path, httpapi.Handle(handler))
		r.HEAD(path, httpapi.Handle(handler))
	}
}

type status struct {
	Status   string   `json:"status"`
	Warnings []string `json:"warnings,omitempty"`
}

func (h *Health) alive(c *gin.Context) error {
	c.JSON(http.StatusOK, status{Status: "ok"})
	return nil
}

func (h *Health) readiness(c *gin.Context) error {
	if reasons := h.ready(); len(reasons) > 0 {
		return fault.New(fault.Unavailable, "no new sessions: %s", strings.Join(reasons, "; ")).
			With("reasons", reasons).After(5 * time.Second)
	}
	c.JSON(http.StatusOK, status{Status: "ok", Warnings: h.warn()})
	return nil
}

func (h *Health) version(c *gin.Context) error {
	c.JSON(http.StatusOK, h.build)
	return nil
}
