package audit

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"sightline/internal/fault"
)

const (
	// commitInterval is how long events gather before they go to the disk together.
	commitInterval = 200 * time.Millisecond

	// maxQueue is how many events may wait for the disk. Beyond it they are lost, and
	// counted.
	maxQueue = 8192

	// maxBatch is how many events are written at a time.
	maxBatch = 512

	// maxDelay is how long the disk may take before the log counts as one that can't be
	// written.
	maxDelay = 5 * time.Second

	// retryInterval is how long a log that can't be written is left alone.
	retryInterval = 2 * time.Second

	// headInterval is how often the gateway's own log says where the audit log ends, so that
	// whoever keeps that log elsewhere can tell that the end was cut off.
	headInterval = time.Hour
)

// A Log writes events to its file. Its methods are safe for concurrent use. One goroutine
// writes, so that nobody else waits for the disk: an event is there for good within a second,
// or the log counts as failed.
type Log struct {
	config Config
	node   string
	key    []byte
	log    *slog.Logger

	wake    chan struct{} // something waits
	stop    chan struct{} // closed to end the writer
	writing sync.WaitGroup

	store *store // of the writer; nil while it can't be opened
	told  time.Time

	mu       sync.Mutex // guards what follows
	queue    []Event    // to be written, with those that are being written
	refusals refusals
	lost     *Event // sums up what found no place in the queue
	since    time.Time
	failure  error // why it can't be written; nil while it can
	written  point
	records  uint64 // written by this process
	missing  uint64 // lost by this process
	closed   bool
	readers  int
}

// Open opens the log, or begins it, and starts to write. Without a file it returns a log
// that records nothing. The error names the key of the configuration. With on_failure =
// "alarm" a log that can't be opened is no error: it is tried again and again.
func Open(c Config, log *slog.Logger) (*Log, error) {
	l := &Log{config: c, log: log, wake: make(chan struct{}, 1), stop: make(chan struct{})}
	if c.File == "" {
		return l, nil
	}
	if c.KeyFile != "" {
		var err error
		if l.key, err = ReadKey(c.KeyFile); err != nil {
			return nil, fmt.Errorf("audit.key_file: %w", err)
		}
	}
	if l.node = c.Node; l.node == "" {
		l.node, _ = os.Hostname() // "" where the machine has no name
	}
	if err := l.open(); err != nil {
		if c.OnFailure == Refuse {
			return nil, fmt.Errorf("audit.file: %w", err)
		}
		l.fail(err)
	}
	l.writing.Go(l.write)
	return l, nil
}

// On says whether the log records anything.
func (l *Log) On() bool { return l.config.File != "" }

// Close records that the gateway stops, writes what waits, and closes the file. What is
// recorded later is lost. It is idempotent.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed || !l.On() {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	close(l.stop)
	l.writing.Wait()
	err := l.Failure()
	if l.store != nil {
		err = errors.Join(err, l.store.close())
	}
	if err != nil {
		return fmt.Errorf("the audit log lacks its end: %w", err)
	}
	return nil
}

// Record implements Recorder.
func (l *Log) Record(e Event) {
	if !l.On() {
		return
	}
	now := time.Now()
	if e.Time.IsZero() {
		e.Time = now
	}
	e.bound()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	if l.since.IsZero() {
		l.since = now
	}
	switch {
	case e.What == Refused:
		l.refusals.add(e)
	case len(l.queue) < maxQueue:
		l.queue = append(l.queue, e)
	default:
		l.loseLocked(&e)
	}
	l.signal()
}

func (l *Log) loseLocked(e *Event) {
	l.missing++
	if l.lost == nil {
		l.lost = &Event{What: Lost, From: e.Time, Detail: fmt.Sprintf("more than %d waited for the disk", maxQueue)}
	}
	l.lost.Count++
	l.lost.To = e.Time
}

func (l *Log) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Failure returns why the log can't be written, nil if it can.
func (l *Log) Failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failureLocked(time.Now())
}

func (l *Log) failureLocked(now time.Time) error {
	if l.failure == nil && !l.since.IsZero() && now.Sub(l.since) > maxDelay {
		return fmt.Errorf("the disk has taken nothing for %s", now.Sub(l.since).Round(time.Second))
	}
	return l.failure
}

// Admit returns a fault.Unavailable while no new session may begin, because nobody would
// know of it later.
func (l *Log) Admit() error {
	if l.config.OnFailure != Refuse || l.Failure() == nil {
		return nil
	}
	return fault.New(fault.Unavailable, "no new sessions: the audit log can't be written").After(retryInterval)
}

// Speech says whether the log wants to know who speaks in every room.
func (l *Log) Speech() bool { return l.On() && l.config.Speech }

// A Snapshot is what metrics need of the log.
type Snapshot struct {
	On      bool
	Failed  bool
	Seq     uint64 // of the last line that is safe
	Records uint64 // that this process has written
	Lost    uint64 // that it could not
	Waiting int
}

// Snapshot returns the state of the log.
func (l *Log) Snapshot() Snapshot {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Snapshot{
		On: l.On(), Failed: l.failureLocked(time.Now()) != nil,
		Seq: l.written.Seq, Records: l.records, Lost: l.missing, Waiting: len(l.queue),
	}
}

// write is the writer: it brings what waits to the disk, as often as commitInterval.
func (l *Log) write() {
	pause := time.NewTimer(0)
	defer pause.Stop()
	stopping := false
	for !stopping {
		select {
		case <-l.wake:
		case <-l.stop:
		}
		interval := commitInterval
		if l.failing() {
			interval = retryInterval
		}
		pause.Reset(interval)
		select {
		case <-pause.C:
		case <-l.stop:
			stopping = true
		}
		l.commit(stopping)
	}
}

// failing says whether the last commit failed.
func (l *Log) failing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failure != nil
}

// commit writes what waits, a batch at a time, until there is nothing more or it fails. The
// last commit ends the log with a stop.
func (l *Log) commit(last bool) {
	for {
		batch := l.batch(last)
		clean := last && len(batch) < maxBatch
		if len(batch) == 0 && !clean {
			return
		}
		n := len(batch)
		if clean {
			batch = append(batch, Event{Time: stamp(time.Now()), What: Stopped}) // a copy: the queue's own place is taken
		}
		if err := l.tryWrite(batch, clean); err != nil {
			l.fail(err)
			return
		}
		l.wrote(n, len(batch), clean)
		if n < maxBatch {
			return
		}
	}
}

// batch returns what is written next, without taking it from the queue.
func (l *Log) batch(last bool) []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if len(l.queue) < maxQueue {
		l.queue = append(l.queue, l.refusals.flush(now, last)...)
	}
	if l.lost != nil && len(l.queue) < maxQueue {
		l.lost.Time = now
		l.lost.bound()
		l.queue = append(l.queue, *l.lost)
		l.lost = nil
	}
	if l.refusals.waiting() {
		l.signal()
	}
	n := min(len(l.queue), maxBatch)
	return l.queue[:n:n]
}

// tryWrite brings events to the disk, with a store that is opened anew if need be.
func (l *Log) tryWrite(events []Event, clean bool) error {
	if l.store == nil {
		if err := l.open(); err != nil {
			return err
		}
	}
	err := l.store.write(events, clean)
	if errors.Is(err, errStale) {
		_ = l.store.close() // the log is read again before anything is added
		l.store = nil
	}
	return err
}

// open opens the store. What it has to say of the end of the former gateway is written at once.
func (l *Log) open() error {
	s, recovered, err := openStore(l.config, l.node, l.key, l.log)
	if err != nil {
		return err
	}
	if recovered != nil {
		recovered.Time = stamp(time.Now())
		if err := s.write([]Event{*recovered}, false); err != nil {
			return errors.Join(err, s.close())
		}
		l.log.Warn("the audit log was cut short by the end of the gateway that wrote it", "bytes", recovered.Bytes)
	}
	l.store = s
	l.mu.Lock()
	l.written = s.at
	l.mu.Unlock()
	l.tell()
	return nil
}

// wrote takes n events from the queue, of which lines are safe now.
func (l *Log) wrote(n, lines int, clean bool) {
	l.mu.Lock()
	l.queue = slices.Delete(l.queue, 0, n)
	if len(l.queue) == 0 && cap(l.queue) > maxBatch {
		l.queue = nil
	}
	l.since = time.Time{}
	if len(l.queue) > 0 || l.refusals.waiting() {
		l.since = time.Now()
	}
	l.records += uint64(lines)
	l.written = l.store.at
	failed := l.failure != nil
	l.failure = nil
	l.mu.Unlock()
	if failed {
		l.log.Info("the audit log is written again", "file", l.config.File)
	}
	if clean || time.Since(l.told) >= headInterval {
		l.tell()
	}
}

// tell says in the gateway's own log where the audit log ends.
func (l *Log) tell() {
	l.told = time.Now()
	l.log.Info("audit log", "file", l.config.File, "seq", l.store.at.Seq, "hash", l.store.at.Hash)
}

// fail says, once for each reason, that the log can't be written, and lets the writer try again.
func (l *Log) fail(err error) {
	l.mu.Lock()
	known := l.failure != nil && l.failure.Error() == err.Error()
	l.failure = err
	l.mu.Unlock()
	if !known {
		l.log.Error("the audit log can't be written", "err", err, "on_failure", l.config.OnFailure)
	}
	l.signal()
}
