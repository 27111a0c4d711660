package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/pflag"

	"gatehouse/internal/tuning"
)

// recordedRequests is where a command finds what happened to requests: the samples of a running Gatehouse, or lines of
// events.
type recordedRequests struct {
	adminAccess
	Events string
}

func (c *recordedRequests) flags(set *pflag.FlagSet, env *environment) {
	set.StringVar(&c.Events, "events", "", "Read event lines from this `file`, or - for standard input, instead of the samples of a running Gatehouse.")
	c.adminAccess.flags(set, env)
}

// samplesTimeout bounds the call for all samples, a few megabytes on the same machine.
const samplesTimeout = 20 * time.Second

// recorded says where records came from, and how much there was.
type recorded struct {
	tuning.Summary
	source    string // as it is told to people
	forgotten uint64 // samples that have been pushed out
	sampled   bool
}

// each calls f with every record that there is.
func (c *recordedRequests) each(ctx context.Context, env *environment, f func(*tuning.Record)) (recorded, error) {
	if c.Events == "" {
		return c.eachSample(ctx, f)
	}
	in, source, err := openEvents(c.Events, env)
	if err != nil {
		return recorded{}, err
	}
	defer in.Close()
	summary, err := tuning.Read(in, f)
	out := recorded{Summary: summary, source: source}
	if err == nil && summary.Requests == 0 {
		err = fmt.Errorf("%s has no event of a request among %s", source, several(summary.Lines, "line"))
	}
	return out, err
}

// openEvents opens a file of events, or standard input for -.
func openEvents(name string, env *environment) (io.ReadCloser, string, error) {
	if name == "-" {
		in := env.stdin
		if in == nil {
			in = strings.NewReader("")
		}
		return io.NopCloser(in), "standard input", nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, "", fmt.Errorf("events: %w", err)
	}
	return f, name, nil
}

func (c *recordedRequests) eachSample(ctx context.Context, f func(*tuning.Record)) (recorded, error) {
	var list tuning.Listing
	if err := c.ask(ctx, "/samples", http.StatusOK, &list); err != nil {
		return recorded{}, err
	}
	out := recorded{source: "the samples of " + c.Admin, forgotten: list.Forgotten, sampled: true}
	var lines strings.Builder
	for _, text := range list.Samples {
		lines.Write(text)
		lines.WriteByte('\n')
	}
	var err error
	out.Summary, err = tuning.Read(strings.NewReader(lines.String()), f)
	return out, err
}

// ask gets JSON from the admin listener. What stands in the way is told with what to do about it.
func (c *recordedRequests) ask(ctx context.Context, path string, want int, into any) error {
	ctx, cancel := context.WithTimeout(ctx, samplesTimeout)
	defer cancel()
	status, body, err := c.get(ctx, path)
	switch {
	case err != nil:
		return fmt.Errorf("%w (--admin names another listener, --events reads event lines)", err)
	case status != want:
		return refusedByAdmin(status, body)
	}
	if err := json.Unmarshal([]byte(body), into); err != nil {
		return fmt.Errorf("what listens on %s keeps no samples: %w (--events reads event lines)", c.Admin, err)
	}
	return nil
}

// find returns the record of one request.
func (c *recordedRequests) find(ctx context.Context, env *environment, id string) (*tuning.Record, error) {
	if c.Events == "" {
		return c.findSample(ctx, id)
	}
	var found *tuning.Record
	all, err := c.each(ctx, env, func(rec *tuning.Record) {
		if rec.ID == id {
			found = rec
		}
	})
	if err == nil && found == nil {
		err = fmt.Errorf("%s: no request has the id %s; it has %s from %s to %s: earlier ones may be in a file that was rotated away, and with --quiet there are none of what went well",
			all.source, id, several(all.Requests, "request"), moment(all.First), moment(all.Last))
	}
	return found, err
}

func (c *recordedRequests) findSample(ctx context.Context, id string) (*tuning.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, samplesTimeout)
	defer cancel()
	status, body, err := c.get(ctx, "/samples/"+id)
	if err != nil {
		return nil, fmt.Errorf("%w (--admin names another listener, --events reads event lines)", err)
	}
	switch status {
	case http.StatusOK:
		rec, err := tuning.Parse([]byte(body))
		if err == nil && rec == nil {
			err = errors.New("no event of a request")
		}
		if err != nil {
			return nil, fmt.Errorf("what listens on %s keeps no samples: %w", c.Admin, err)
		}
		return rec, nil
	case http.StatusNotFound:
		var list tuning.Listing
		if err := json.Unmarshal([]byte(body), &list); err != nil {
			return nil, fmt.Errorf("what listens on %s keeps no samples (--events reads event lines)", c.Admin)
		}
		return nil, fmt.Errorf("no sample has the id %s; %s %s kept%s: requests that were refused or that a rule matched, until others push them out; --events FILE finds the others",
			id, several(list.Kept, "request"), isAre(list.Kept), since(list.Oldest))
	default:
		return nil, refusedByAdmin(status, body)
	}
}

func since(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " since " + moment(t)
}

func isAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

func moment(t time.Time) string { return t.Format(time.RFC3339) }

// several is "1 rule" or "2 rules".
func several(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// shownLength is how much of a text from outside is printed.
const shownLength = 200

// plain is a text from outside as it may be printed on a terminal, on one line.
func plain(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case i >= shownLength:
			b.WriteString("…")
			return b.String()
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, "\\u%04x", r)
		}
	}
	return b.String()
}
