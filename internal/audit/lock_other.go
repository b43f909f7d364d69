//go:build !unix

package audit

import "os"

// lock takes the log at path for this process. Where files can't be locked nothing keeps
// two gateways from writing the same log, but that each finds what the other has added.
func lock(path string) (*os.File, error) {
	return os.OpenFile(path+lockSuffix, os.O_RDWR|os.O_CREATE, 0o600)
}

func inUse(string) bool { return false }
