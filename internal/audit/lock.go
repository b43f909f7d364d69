package audit

import (
	"errors"
	"fmt"
	"os"

	"sightline/internal/filelock"
)

// errLocked says that another process writes the log.
var errLocked = errors.New("another process writes this log: each gateway needs an audit.file of its own")

// lock takes the log at path for this process, until the file is closed. Where files can't be locked nothing
// keeps two gateways from writing the same log, but that each finds what the other has added.
func lock(path string) (*os.File, error) {
	f, err := filelock.Take(path + lockSuffix)
	if errors.Is(err, filelock.ErrHeld) {
		return nil, fmt.Errorf("%s: %w", path, errLocked)
	}
	return f, err
}

// inUse says whether a process writes the log at path.
func inUse(path string) bool { return filelock.Held(path + lockSuffix) }
