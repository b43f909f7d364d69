//go:build !unix

package filelock

import "os"

// Take opens the file: where files can't be locked nothing keeps two gateways apart.
func Take(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
}

// Held reports whether somebody has the lock, as far as that can be told.
func Held(string) bool { return false }
