// Command sightline is a WHIP/WHEP gateway: cameras come in by WHIP (RFC 9725), every
// track goes out by WHEP.
//
//	sightline [serve] [-config config.toml]    run the gateway
//	sightline demo                             run it with two synthetic cameras
//	sightline bench [-viewers 100 …]           load a server and measure it
//	sightline check-config [-config …]         report everything that is wrong
//	sightline audit verify audit.log           find what was changed in an audit log
//	sightline healthcheck                      ask a running gateway how it is
//	sightline hash-token                       make a bearer token
//	sightline token -sub alice -scope …        sign a JSON Web Token
//	sightline version
//
// Exit codes: 0, done; 1, it failed while running; 2, the command line or the
// configuration is wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"sightline/internal/config"
)

func main() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	p := &process{
		args:    os.Args[1:],
		environ: os.Environ(),
		stdin:   os.Stdin,
		stdout:  os.Stdout,
		stderr:  os.Stderr,
		signals: signals,
	}
	os.Exit(p.run(context.Background()))
}

// A process is what a subcommand sees of the world.
type process struct {
	args           []string // first all of them, then what follows the subcommand's name
	environ        []string // as os.Environ gives it
	stdin          io.Reader
	stdout, stderr io.Writer
	signals        <-chan os.Signal // SIGTERM and SIGINT
}

// A command is a subcommand.
type command struct {
	name, summary string
	run           func(*process, context.Context) error
}

func commands() []command {
	return []command{
		{"serve", "run the gateway (what happens without a subcommand)", (*process).serve},
		{"demo", "run it with two synthetic cameras in room demo", (*process).demo},
		{"bench", "load a WHIP/WHEP server and measure what it carries", (*process).bench},
		{"check-config", "report everything that is wrong with a configuration", (*process).checkConfig},
		{"audit", "audit verify: find what was changed in an audit log", (*process).audit},
		{"healthcheck", "ask a running gateway how it is", (*process).healthcheck},
		{"hash-token", "make a bearer token and the line that configures it", (*process).hashToken},
		{"token", "sign a JSON Web Token with the configured secret", (*process).token},
		{"version", "print the version", (*process).version},
	}
}

// A usageError is a mistake on the command line.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// run runs the subcommand and returns the exit code.
func (p *process) run(ctx context.Context) int {
	err := p.dispatch(ctx)
	var usage *usageError
	var problems *config.Problems
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &problems):
		// One problem a line, each with its own place: no prefix.
		fmt.Fprintln(p.stderr, problems)
		return 2
	case errors.As(err, &usage):
		fmt.Fprintf(p.stderr, "sightline: %v\n", usage)
		return 2
	default:
		fmt.Fprintf(p.stderr, "sightline: %v\n", err)
		return 1
	}
}

func (p *process) dispatch(ctx context.Context) error {
	name := "serve"
	if len(p.args) > 0 && !strings.HasPrefix(p.args[0], "-") {
		name, p.args = p.args[0], p.args[1:]
	} else if len(p.args) > 0 {
		switch p.args[0] {
		case "-h", "-help", "--help":
			p.help()
			return nil
		}
	}
	for _, c := range commands() {
		if c.name == name {
			return c.run(p, ctx)
		}
	}
	if name == "help" {
		p.help()
		return nil
	}
	return &usageError{fmt.Sprintf("unknown subcommand %q: see sightline -h", name)}
}

func (p *process) help() {
	fmt.Fprint(p.stdout, "Sightline is a WHIP/WHEP gateway.\n\n  sightline [subcommand] [flags]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(p.stdout, "  %-13s %s\n", c.name, c.summary)
	}
	fmt.Fprint(p.stdout, "\nEach has -h. Exit codes: 1, it failed; 2, the command line or the configuration is wrong.\n")
}

// flags returns the flags of a subcommand, with the usage that -h prints.
func (p *process) flags(name, about string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard) // parse says it once, where it belongs
	fs.Usage = func() {
		fmt.Fprintf(p.stdout, "sightline %s\n\n%s\n", name, about)
		some := false
		fs.VisitAll(func(*flag.Flag) { some = true })
		if some {
			fmt.Fprintln(p.stdout)
			fs.SetOutput(p.stdout)
			fs.PrintDefaults()
		}
	}
	return fs
}

// parse reads the flags; no subcommand takes further arguments. The error is
// flag.ErrHelp after -h, or a usageError.
func (p *process) parse(fs *flag.FlagSet) error {
	err := fs.Parse(p.args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return &usageError{fmt.Sprintf("%s: %v (see sightline %s -h)", fs.Name(), err, fs.Name())}
	case fs.NArg() > 0:
		return &usageError{fmt.Sprintf("%s: unexpected argument %q (see sightline %s -h)", fs.Name(), fs.Arg(0), fs.Name())}
	}
	return nil
}

// configVariable names the file for every subcommand, as a container wants it.
const configVariable = "SIGHTLINE_CONFIG"

// configFlag adds -config to the flags of a subcommand.
func (p *process) configFlag(fs *flag.FlagSet) *string {
	file := ""
	for _, entry := range p.environ {
		if name, value, _ := strings.Cut(entry, "="); name == configVariable {
			file = value
		}
	}
	return fs.String("config", file, "`file` to read; none is needed. "+configVariable+" names it, too")
}

// load returns the configuration. The error is a *config.Problems.
func (p *process) load(file string) (config.Config, error) {
	environ := make([]string, 0, len(p.environ))
	for _, entry := range p.environ {
		if !strings.HasPrefix(entry, configVariable+"=") {
			environ = append(environ, entry)
		}
	}
	return config.Load(file, environ)
}
