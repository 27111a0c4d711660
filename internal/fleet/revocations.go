package fleet

import (
	"context"
	"maps"
	"slices"

	"gatehouse/authn"
)

const (
	// maxQueue bounds what waits for the store. Beyond it everything that is known is sent instead.
	maxQueue = 1 << 14
	// maxKnown bounds the memory of what is known, at some 50 bytes each.
	maxKnown = 1 << 18
)

// Append keeps a revocation in this instance's ledger and sends it to the others. It does not wait for
// the store.
func (s *Store) Append(r authn.Revocation) error {
	err := s.opts.Ledger.Append(r)
	s.enqueue(newRecord(r))
	if s.up.Load() {
		select {
		case s.wake <- struct{}{}:
		default: // the next sync has not begun yet
		}
	}
	return err
}

func (s *Store) enqueue(b record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rememberLocked(b)
	if len(s.queue) >= maxQueue {
		s.queue, s.resend = s.queue[:0], true
		s.event(EventQueue)
	}
	s.queue = append(s.queue, b)
}

// rememberLocked reports whether b is new.
func (s *Store) rememberLocked(b record) bool {
	if _, ok := s.known[b]; ok {
		return false
	}
	if len(s.known) >= maxKnown {
		s.forgetLocked()
	}
	s.known[b] = struct{}{}
	return true
}

// forgetLocked forgets what is over and, where that is not enough, some of the rest: it is in the ledger all
// the same, and the store has been told.
func (s *Store) forgetLocked() {
	s.forgetOverLocked()
	for b := range s.known {
		if len(s.known) <= maxKnown*3/4 {
			break
		}
		delete(s.known, b)
	}
}

func (s *Store) forgetOverLocked() {
	now := s.opts.Now().Unix()
	maps.DeleteFunc(s.known, func(b record, _ struct{}) bool { return b.revocation().Until <= now })
}

// Load calls take with what the ledger has and, if the store answers, with what others have told it.
func (s *Store) Load(take func(authn.Revocation)) error {
	if err := s.opts.Ledger.Load(func(r authn.Revocation) {
		s.mu.Lock()
		s.rememberLocked(newRecord(r))
		s.mu.Unlock()
		take(r)
	}); err != nil {
		return err
	}
	s.synced.Lock()
	defer s.synced.Unlock()
	was := s.learn
	s.learn = func(list ...authn.Revocation) {
		for _, r := range list {
			take(r)
		}
	}
	s.state(s.pull(context.Background()))
	s.learn = was
	return nil
}

// pull learns what is new in the store.
func (s *Store) pull(ctx context.Context) error {
	for {
		answer, err := s.call(ctx, s.scripts.poll, s.keys(), newToken(), s.epoch, s.cursor, pageSize)
		if err != nil {
			return err
		}
		p, err := parsePage(answer)
		if err != nil {
			return err
		}
		if p.epoch != s.epoch {
			s.epoch, s.cursor = p.epoch, 0
			s.mu.Lock()
			s.resend = true
			s.mu.Unlock()
		}
		if p.last < s.cursor { // another store, or an older copy of this one
			s.epoch = ""
			continue
		}
		if s.take(p); len(p.records) < pageSize {
			return nil
		}
	}
}

// take keeps what a page has of others.
func (s *Store) take(p page) {
	for range p.damaged {
		s.event(EventDamaged)
	}
	now := s.opts.Now().Unix()
	var news []authn.Revocation
	for i, b := range p.records {
		s.cursor = max(s.cursor, p.numbers[i])
		if b.revocation().Until <= now {
			continue
		}
		s.mu.Lock()
		if s.rememberLocked(b) {
			news = append(news, b.revocation())
		}
		s.mu.Unlock()
	}
	if len(news) == 0 {
		return
	}
	s.learn(news...)
	for range news {
		s.event(EventLearned)
	}
	if err := s.opts.Ledger.AppendAll(news); err != nil && s.opts.OnError != nil {
		s.opts.OnError(err)
	}
}

// flush sends what waits, or all that is known when the store may lack more. What it could not send waits on.
func (s *Store) flush(ctx context.Context) error {
	s.mu.Lock()
	list, all := s.queue, s.resend
	if all {
		s.forgetOverLocked()
		list = slices.Collect(maps.Keys(s.known))
	}
	s.queue, s.resend = nil, false
	s.mu.Unlock()
	err := s.send(ctx, list)
	if err == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if all || len(list)+len(s.queue) > maxQueue {
		s.resend = true // which takes in what the queue has
		return err
	}
	s.queue = append(list, s.queue...)
	return err
}

// send puts records into the store. To send one twice is harmless.
func (s *Store) send(ctx context.Context, list []record) error {
	for len(list) > 0 {
		n := min(len(list), pageSize)
		args := []any{s.opts.Now().Unix(), maxStored}
		for _, b := range list[:n] {
			args = append(args, b[:], b.revocation().Until)
		}
		if _, err := s.call(ctx, s.scripts.publish, s.keys(), args...); err != nil {
			return err
		}
		s.event(EventSent)
		list = list[n:]
	}
	return nil
}
