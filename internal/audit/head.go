package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// A head is what the log says, beside itself, of its last line: without it nobody could see
// that lines were cut off at the end. It is never ahead of the log.
type head struct {
	Seq   uint64 `json:"last"`
	Hash  string `json:"line"`            // of the last line; the head is sealed as lines are, and can't be taken for one
	Clean bool   `json:"clean,omitempty"` // the gateway has stopped in order

	keyed bool // as it was read
}

// writeHead replaces the head of the log at path, for good.
func writeHead(path string, hash hasher, at head) error {
	object, err := json.Marshal(at)
	if err != nil {
		return fmt.Errorf("encode the head: %w", err)
	}
	line, _ := hash.seal(nil, object)
	tmp := path + headSuffix + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(line)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	// After a loss of power the former head may be there again: it is true still.
	return os.Rename(tmp, path+headSuffix)
}

// errNoHead says that there is no head file.
var errNoHead = errors.New("there is no head file")

// readHead returns the head of the log at path, and its line. hashes are those that it may
// be sealed with.
func readHead(path string, hashes ...hasher) (head, error) {
	f, err := os.Open(path + headSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return head{}, errNoHead
	}
	if err != nil {
		return head{}, err
	}
	defer f.Close()
	line, err := io.ReadAll(io.LimitReader(f, maxLine))
	if err != nil {
		return head{}, err
	}
	return parseHead(line, hashes...)
}

func parseHead(line []byte, hashes ...hasher) (head, error) {
	body, sum, ok := unseal(line)
	if !ok {
		return head{}, errors.New("the head file has not the form of one")
	}
	for _, h := range hashes {
		if h.sum(body) != sum {
			continue
		}
		var at head
		if err := json.Unmarshal(append(append([]byte(nil), body...), '}'), &at); err != nil {
			return head{}, fmt.Errorf("the head file: %w", err)
		}
		if len(at.Hash) != hashSize {
			return head{}, errors.New("the head file has not the form of one")
		}
		at.keyed = h.key != nil
		return at, nil
	}
	return head{}, errors.New("the head file was changed, or is under another key")
}
