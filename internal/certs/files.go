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
	used, seen content // what the pair in use was read from, and what there was at the last look
	complaint  string  // what the log has been told
}

// NewFiles reads the pair. The error says what is wrong with it.
func NewFiles(certFile, keyFile string, log *slog.Logger) (*Files, error) {
	f := &Files{certFile: certFile, keyFile: keyFile, every: 5 * time.Second, log: log}
	f.seen = f.read()
	if err := f.use(f.seen); err != nil {
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
	timer := time.NewTimer(f.every)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-timer.C:
			wait := f.every
			if settled := f.look(); !settled {
				wait /= 5
			}
			f.holder.warn(f.log, now)
			timer.Reset(wait)
		}
	}
}

// look reads the pair again. What is not as at the last look is left alone: the files may just be
// being written, one after the other or bit by bit. Of a pair that can't be used the log is told once,
// however often it is seen; it is counted each time.
func (f *Files) look() (settled bool) {
	before, last := f.holder.pair.Load(), f.seen
	f.seen = f.read()
	if !f.seen.equal(last) {
		return false
	}
	err := f.use(f.seen)
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
	return true
}

// content is what is in the two files, or why that can't be read.
type content struct {
	chain, key []byte
	err        error
}

func (c content) equal(o content) bool {
	return bytes.Equal(c.chain, o.chain) && bytes.Equal(c.key, o.key) && fmt.Sprint(c.err) == fmt.Sprint(o.err)
}

func (f *Files) read() (c content) {
	if c.chain, c.err = readBounded(f.certFile); c.err == nil {
		c.key, c.err = readBounded(f.keyFile)
	}
	return c
}

// use puts a pair into use if it is another than the one that is.
func (f *Files) use(c content) error {
	if c.err != nil || c.equal(f.used) {
		return c.err
	}
	pair, err := parse(c.chain, c.key)
	if err != nil {
		return fmt.Errorf("%s and %s: %w", f.certFile, f.keyFile, err)
	}
	now, old := time.Now(), f.holder.pair.Load()
	if err := usable(pair.Leaf, now); err != nil && old != nil && usable(old.Leaf, now) == nil {
		return fmt.Errorf("%s: %w", f.certFile, err)
	}
	f.holder.pair.Store(pair)
	f.used = c
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
