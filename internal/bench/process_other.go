//go:build !linux

package bench

import (
	"errors"
	"time"
)

// processUsage would return what a process has used; here nothing is known of it.
func processUsage(int) (cpu time.Duration, resident int64, err error) {
	return 0, 0, errors.New("the CPU of another process can be read on Linux only")
}

// ownCPU is not known here.
func ownCPU() time.Duration { return 0 }
