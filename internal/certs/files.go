package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// Files is a pair of PEM files. They are looked at every few seconds and compared by
// content: a time stamp would miss a copy that keeps it, and a watch on a directory misses
// the symbolic links of a Kubernetes secret and whatever a network file system does.
type Files struct {
	certFile, keyFile string
	every             time.Duration
	log               *slog.Logger

	holder   holder
	failures atomic.Uint64

	// For look alone, that is for Run once NewFiles has returned.
	chain, key []byte // what the pair in use was read from
	bad        int    // looks in a row that found no usable pair
	complaint  string // what the log has been told
}

// NewFiles reads the pair. The error says what is wrong with it.
func NewFiles(certFile, keyFile string, log *slog.Logger) (*Files, error) {
	f := &Files{certFile: certFile, keyFile: keyFile, every: 5 * time.Second, log: log}
	if err := f.read(); err != nil {
		return nil, err
	}
	f.holder.warn(log, time.Now())
	return f, nil
}

// GetCertificate implements Source.
func (f *Files) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return f.holder.pair.Load(), nil
}

// Protocols implements Source.
func (f *Files) Protocols() []string { return nil }

// Snapshot implements Source.
func (f *Files) Snapshot() Snapshot {
	leaf := f.holder.pair.Load().Leaf
	return Snapshot{
		Certificates: []Certificate{{Name: nameOf(leaf), NotAfter: leaf.NotAfter}},
		Failures:     f.failures.Load(),
	}
}

// Run implements Source.
func (f *Files) Run(ctx context.Context) {
	ticker := time.NewTicker(f.every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			f.look()
			f.holder.warn(f.log, now)
		}
	}
}

// look reads the pair again. One that can't be used at the second look either is told
// once, however often it is seen, and counted each time: at the first, the files may just
// be being written.
func (f *Files) look() {
	before := f.holder.pair.Load()
	err := f.read()
	if err == nil {
		f.bad = 0
	} else if f.bad++; f.bad == 1 {
		return
	}
	switch {
	case err != nil:
		f.failures.Add(1)
		if f.complaint != err.Error() {
			f.complaint = err.Error()
			f.log.Error("the new TLS certificate can't be used, the old one stays in use", "err", err, "old_not_after", before.Leaf.NotAfter)
		}
	case f.holder.pair.Load() != before:
		f.complaint, f.holder.warned = "", time.Time{}
		leaf := f.holder.pair.Load().Leaf
		f.log.Info("the TLS certificate has been read again", "name", nameOf(leaf), "not_after", leaf.NotAfter)
	default:
		f.complaint = ""
	}
}

// read puts the pair into use if it has changed. While two files are replaced one after
// the other, they don't belong together, and that is an error like any other.
func (f *Files) read() error {
	chain, err := readBounded(f.certFile)
	if err != nil {
		return err
	}
	key, err := readBounded(f.keyFile)
	if err != nil {
		return err
	}
	if bytes.Equal(chain, f.chain) && bytes.Equal(key, f.key) {
		return nil
	}
	pair, err := parse(chain, key)
	if err != nil {
		return fmt.Errorf("%s and %s: %w", f.certFile, f.keyFile, err)
	}
	now, old := time.Now(), f.holder.pair.Load()
	if err := usable(pair.Leaf, now); err != nil && old != nil && usable(old.Leaf, now) == nil {
		return fmt.Errorf("%s: %w", f.certFile, err)
	}
	f.holder.pair.Store(pair)
	f.chain, f.key = chain, key
	return nil
}

// readBounded reads a file that is a megabyte at most: a chain has some kilobytes, and a
// wrong path may be a device without an end.
func readBounded(path string) ([]byte, error) {
	const most = 1 << 20
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: must be a file, is %s", path, info.Mode().Type())
	}
	if info.Size() > most {
		return nil, fmt.Errorf("%s: must be a PEM file, has %d bytes", path, info.Size())
	}
	return os.ReadFile(path)
}
