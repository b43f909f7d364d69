// Package filelock keeps two processes from writing the same files.
package filelock

import "errors"

// ErrHeld says that another process has the lock, or another part of this one.
var ErrHeld = errors.New("another process has the lock")
