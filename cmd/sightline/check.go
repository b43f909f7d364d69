package main

import (
	"context"
	"fmt"
)

func (p *process) checkConfig(context.Context) error {
	fs := p.flags("check-config", "Reads the configuration as serve would, file and environment, and reports everything\n"+
		"that is wrong: one problem a line, exit code 2.")
	file := p.configFlag(fs)
	if err := p.parse(fs); err != nil {
		return err
	}
	if _, err := p.load(*file); err != nil {
		return err
	}
	what := *file
	if what == "" {
		what = "defaults and environment"
	}
	fmt.Fprintf(p.stdout, "%s: ok\n", what)
	return nil
}
