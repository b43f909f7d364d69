package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The files of a log at audit.log:
//
//	audit.log           that is written; its first line says that it is file n
//	audit.log.000001 …  full ones, by number, up to n-1; the oldest may have been deleted
//	audit.log.head      the last line's number and hash, sealed like a line
//	audit.log.lock      held by the gateway that writes
const (
	headSuffix = ".head"
	lockSuffix = ".lock"
	digits     = 6
	maxFiles   = 999_999
)

func numbered(path string, n int) string { return fmt.Sprintf("%s.%0*d", path, digits, n) }

// number returns which full file of the log at path a name is, 0 if it is none.
func number(path, name string) int {
	suffix, ok := strings.CutPrefix(name, path+".")
	if !ok || len(suffix) != digits || strings.Trim(suffix, "0123456789") != "" {
		return 0
	}
	n, _ := strconv.Atoi(suffix)
	return n
}

// full returns the numbers of the log's full files that are there, in order.
func full(path string) ([]int, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	var out []int
	for _, e := range entries {
		if n := number(filepath.Base(path), e.Name()); n > 0 {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// syncDir makes names that were given or taken in path's directory outlive a loss of power.
func syncDir(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
