package main

import (
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"sightline/internal/audit"
)

func (p *process) audit(context.Context) error {
	const about = "audit verify [-key file]… [-head seq:hash]… path…"
	if len(p.args) > 0 && p.args[0] == "verify" {
		p.args = p.args[1:]
		return p.verifyAudit()
	}
	if len(p.args) > 0 && (p.args[0] == "-h" || p.args[0] == "-help" || p.args[0] == "--help") {
		fmt.Fprintf(p.stdout, "sightline %s\n\nSee sightline audit verify -h.\n", about)
		return flag.ErrHelp
	}
	return &usageError{"audit: say what to do with the log: " + about}
}

func (p *process) verifyAudit() error {
	fs := p.flags("audit verify", "Finds what was changed in an audit log, put in, removed or cut off. A path is a log (audit.file),\n"+
		"with all files that belong to it; a directory with logs; or several are files of one log, when the\n"+
		"rest of it is not there. A gateway may be writing. Exit code 0 if all is in order, else 1.")
	var check audit.Check
	fs.Func("key", "`file` with the key that the log is under (audit.key_file); may stand more than once", func(path string) error {
		key, err := audit.ReadKey(path)
		check.Keys = append(check.Keys, key)
		return err
	})
	fs.StringVar(&check.Node, "node", "", "`name` of the gateway whose lines all have to be: the nodes of a cluster that have one key\ncould be given each other's logs")
	fs.Func("head", "`seq:hash` of a line, as noted elsewhere (the gateway's own log says them); may stand more than once", func(s string) error {
		seq, hash, err := parseHead(s)
		if check.Known == nil {
			check.Known = make(map[uint64]string)
		}
		check.Known[seq] = hash
		return err
	})
	switch err := fs.Parse(p.args); {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return &usageError{fmt.Sprintf("%s: %v (see sightline %s -h)", fs.Name(), err, fs.Name())}
	case fs.NArg() == 0:
		return &usageError{"audit verify: name a log: the file that audit.file names, or the directory that it is in"}
	}
	return verifyAll(p.stdout, check, fs.Args())
}

// parseHead reads what was noted of a line.
func parseHead(s string) (uint64, string, error) {
	number, hash, _ := strings.Cut(s, ":")
	seq, err := strconv.ParseUint(number, 10, 64)
	raw, hexErr := hex.DecodeString(hash)
	if err != nil || hexErr != nil || len(raw) != 32 || strings.ToLower(hash) != hash {
		return 0, "", errors.New("must be the number and the hash of a line, such as 17:5df6…, 64 letters and digits")
	}
	return seq, hash, nil
}

// verifyAll verifies logs, or files of one, and prints what it finds.
func verifyAll(w io.Writer, check audit.Check, paths []string) error {
	wrong := 0
	one := func(report audit.Report, err error) error {
		printReport(w, report)
		wrong += len(report.Problems) + report.Further
		return err
	}
	if len(paths) > 1 {
		if err := one(check.VerifyFiles(paths)); err != nil {
			return err
		}
	} else {
		logs := paths
		if info, err := os.Stat(paths[0]); err == nil && info.IsDir() {
			if logs, err = audit.Logs(paths[0]); err != nil {
				return err
			}
			if len(logs) == 0 {
				return fmt.Errorf("there is no log in %s: no file ends with .head", paths[0])
			}
		}
		for _, path := range logs {
			if err := one(check.Verify(path)); err != nil {
				return err
			}
		}
	}
	if wrong > 0 {
		return fmt.Errorf("the log is not as it was written, in %d places", wrong)
	}
	return nil
}

func printReport(w io.Writer, r audit.Report) {
	for _, f := range r.Files {
		state := "in order"
		if f.Problems > 0 {
			state = "NOT IN ORDER"
		}
		fmt.Fprintf(w, "%s: file %d, lines %d to %d, %s to %s: %s\n", f.Name, f.Number, f.First, f.Last,
			f.Since.Format(time.RFC3339), f.Till.Format(time.RFC3339), state)
	}
	for _, problem := range r.Problems {
		fmt.Fprintf(w, "WRONG: %s\n", problem)
	}
	if r.Further > 0 {
		fmt.Fprintf(w, "WRONG: %d further places\n", r.Further)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(w, "note: %s\n", note)
	}
	if len(r.Nodes) > 1 {
		fmt.Fprintf(w, "note: the lines are of the gateways %q: it was renamed, or has gone on with the log of another\n", r.Nodes)
	}
	if len(r.Files) > 0 && !r.Keyed {
		fmt.Fprintln(w, "note: the log is under no key (audit.key_file): who can write its files can make up one that verifies")
	}
	fmt.Fprintf(w, "%d lines in order; the last is %d:%s\n", r.Lines, r.Last, r.Hash)
}
