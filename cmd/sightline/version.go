package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the linker (see Makefile); otherwise the build knows its commit.
var version string

func (p *process) version(context.Context) error {
	fs := p.flags("version", "Prints the version, the Go release and the platform.")
	if err := p.parse(fs); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "sightline %s %s %s/%s\n", buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}

// buildVersion returns the linker's version, else the commit that the build was made
// from, with +dirty for a changed work tree, else "unknown".
func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(len(s.Value), 12)]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+dirty"
		}
	}
	switch {
	case revision != "":
		return revision + dirty
	case info.Main.Version != "" && info.Main.Version != "(devel)":
		return info.Main.Version
	}
	return "unknown"
}
