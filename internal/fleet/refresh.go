package fleet

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

const (
	// maxResult bounds what is taken from the store as the result of a refresh: a session fits into four
	// cookies.
	maxResult = 64 << 10
	// firstWait and lastWait are how often somebody who waits for a result looks for it.
	firstWait = 10 * time.Millisecond
	lastWait  = 100 * time.Millisecond
)

var errDown = errors.New("fleet: the store does not answer")

// Begin asks for the result of a refresh, or for the right to make it. It waits for whoever has that right
// until there is a result, the right has run out, or ctx ends. On an error the caller is on its own.
func (s *Store) Begin(ctx context.Context, key [32]byte, hold time.Duration) (result []byte, lead bool, err error) {
	result, lead, err = s.begin(ctx, key, hold)
	switch {
	case err != nil:
		s.event(EventAlone)
	case lead:
		s.event(EventLed)
	default:
		s.event(EventTaken)
	}
	return result, lead, err
}

func (s *Store) begin(ctx context.Context, key [32]byte, hold time.Duration) ([]byte, bool, error) {
	token := newToken()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		select {
		case <-ctx.Done():
			return nil, false, ctx.Err()
		case <-timer.C:
		}
		if !s.up.Load() {
			return nil, false, errDown
		}
		answer, err := s.call(ctx, s.scripts.begin, s.refreshKeys(key), token, hold.Milliseconds())
		if err != nil {
			if ctx.Err() == nil {
				s.up.Store(false) // until the next sync, nobody else waits for it
			}
			return nil, false, fmt.Errorf("fleet: %w", err)
		}
		word, result, err := parseBegin(answer)
		if err != nil {
			return nil, false, err
		}
		switch word {
		case "result":
			return []byte(result), false, nil
		case "lead":
			s.mu.Lock()
			s.tokens[key] = token
			s.mu.Unlock()
			return nil, true, nil
		}
		timer.Reset(wait)
	}
}

func parseBegin(answer []any) (word, result string, err error) {
	if len(answer) != 2 {
		return "", "", errAnswer
	}
	word, _ = answer[0].(string)
	result, _ = answer[1].(string)
	switch {
	case word == "lead", word == "wait":
		return word, "", nil
	case word == "result" && len(result) <= maxResult:
		return word, result, nil
	}
	return "", "", errAnswer
}

// Finish gives the right up, and a result to those who wait; without one, the next of them leads.
func (s *Store) Finish(key [32]byte, result []byte, keep time.Duration) {
	s.mu.Lock()
	token := s.tokens[key]
	delete(s.tokens, key)
	s.mu.Unlock()
	if token == "" {
		return
	}
	if keep < time.Millisecond || len(result) > maxResult {
		result = nil
	}
	if result == nil {
		result = []byte{}
	}
	_, err := s.call(context.Background(), s.scripts.finish, s.refreshKeys(key), token, result, max(keep.Milliseconds(), 1))
	if err != nil {
		s.event(EventAlone)
	}
}

func (s *Store) refreshKeys(key [32]byte) []string {
	name := s.prefix + ":refresh:" + hex.EncodeToString(key[:])
	return []string{name + ":lock", name + ":result"}
}
