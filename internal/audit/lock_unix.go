//go:build unix

package audit

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// errLocked says that another process writes the log.
var errLocked = errors.New("another process writes this log: each gateway needs an audit.file of its own")

// lock takes the log at path for this process, until the file is closed.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path+lockSuffix, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", path, errLocked)
		}
		return nil, fmt.Errorf("lock %s: %w", path+lockSuffix, err)
	}
	return f, nil
}

// inUse says whether a process writes the log at path.
func inUse(path string) bool {
	f, err := os.Open(path + lockSuffix)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}
