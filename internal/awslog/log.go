package awslog

import (
	"fmt"
	"io"
	"os"
	"sync"
)

// An Output is where records of one configuration go.
type Output struct {
	cfg  Config
	to   io.Writer
	file *os.File // nil for standard output
}

// Open opens the output that cfg names, or returns nil if it names none. Records without a file go to stdout, which
// must be safe for concurrent use.
func Open(cfg Config, stdout io.Writer) (*Output, error) {
	switch {
	case cfg.Format == "":
		return nil, nil
	case cfg.File == "":
		return &Output{cfg: cfg, to: stdout}, nil
	}
	f, err := os.OpenFile(cfg.File, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return nil, err
	}
	return &Output{cfg: cfg, to: f, file: f}, nil
}

// Close closes the file, if there is one. A nil Output has none.
func (o *Output) Close() error {
	if o == nil || o.file == nil {
		return nil
	}
	return o.file.Close()
}

// A Log writes records to the output that is in use. The zero Log writes none. It is safe for concurrent use.
type Log struct {
	mu      sync.Mutex
	out     *Output
	failing bool
}

// Use makes next, which may be nil, the output and closes the one before it.
func (l *Log) Use(next *Output) error {
	l.mu.Lock()
	previous := l.out
	l.out = next
	l.mu.Unlock()
	return previous.Close()
}

// On reports whether records are written, to spare making what goes into them.
func (l *Log) On() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out != nil
}

// Write writes the record of a request. It returns the first error of a series only: a full disk is told once.
func (l *Log) Write(r *Request) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.out == nil {
		return nil
	}
	line, err := l.out.cfg.encode(r)
	if err == nil {
		_, err = l.out.to.Write(line)
	}
	first := err != nil && !l.failing
	l.failing = err != nil
	if first {
		return fmt.Errorf("writing to the WAF's log: %w", err)
	}
	return nil
}
