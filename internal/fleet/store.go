package fleet

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"gatehouse/authn"
)

const (
	// callTimeout bounds one call to the store. Only a refresh waits for one, which calls the provider too.
	callTimeout = 2 * time.Second
	// pollInterval is how often the store is asked for news.
	pollInterval = 200 * time.Millisecond
	// maxConnections bounds those to the store; a call beyond them waits.
	maxConnections = 16
	// checkAfter is how long a connection may have been idle before it is used without a look at it.
	checkAfter  = time.Second
	idleTimeout = 5 * time.Minute
	// lastRetry is the longest wait between attempts at a store that does not answer.
	lastRetry = 2 * time.Second
)

// Events that OnEvent is told of.
const (
	EventSent    = "revocations sent"
	EventLearned = "revocation learned"
	EventDamaged = "record damaged"   // in the store, left out
	EventAlone   = "refresh alone"    // the store could not be asked, or not told
	EventLed     = "refresh led"      // this instance made the call
	EventTaken   = "refresh taken"    // another instance had made it
	EventQueue   = "queue overflowed" // everything is sent again instead
)

// Ledger is an [authn.Ledger] that takes several revocations at once.
type Ledger interface {
	authn.Ledger
	AppendAll([]authn.Revocation) error
}

// Options are the surroundings of a Store. Ledger is required.
type Options struct {
	// Ledger is what this instance keeps by itself, whatever becomes of the store.
	Ledger Ledger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// OnState is told when the store begins to answer, with nil, and when it ceases to.
	OnState func(error)
	// OnEvent is told the name of one of the events.
	OnEvent func(string)
	// OnError is told of learned revocations that Ledger did not take.
	OnError func(error)
}

// A Store is one instance's end of the shared store: an [authn.Ledger] and an [authn.Shared]. It is safe
// for concurrent use.
type Store struct {
	pool    *redis.Pool
	scripts scripts
	prefix  string
	opts    Options

	up     atomic.Bool // requests ask the store only when the last call went well
	wake   chan struct{}
	stop   context.CancelFunc
	begun  sync.Once
	ended  sync.WaitGroup
	synced sync.Mutex // one sync at a time; guards what follows

	epoch     string
	cursor    int64
	told      string                    // the state that OnState has been told
	learn     func(...authn.Revocation) // nil while nobody can sign in
	shares    Keys                      // nil where keys are not shared
	exchanged time.Time                 // when keys last were

	mu     sync.Mutex          // guards what follows
	known  map[record]struct{} // what is in the ledger, or should be
	queue  []record
	resend bool // the store may lack more than the queue has
	tokens map[[32]byte]string
}

// Open prepares a Store. It does not connect: a store that is down is no reason not to start.
func Open(cfg Config, opts Options) (*Store, error) {
	at, err := cfg.dialer()
	if err != nil {
		return nil, err
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	prefix := cfg.Prefix
	if prefix == "" {
		prefix = defaultPrefix
	}
	return &Store{
		pool: newPool(at), scripts: newScripts(), prefix: prefix, opts: opts,
		wake: make(chan struct{}, 1), resend: true,
		known: make(map[record]struct{}), tokens: make(map[[32]byte]string),
	}, nil
}

// Start keeps in touch with the store until Close: it sends what is appended, and hands what others
// append to learn. With nil it shares keys only, until it is called with a function.
func (s *Store) Start(learn func(...authn.Revocation)) {
	if learn != nil {
		s.synced.Lock()
		s.learn = learn
		s.synced.Unlock()
	}
	s.begun.Do(func() {
		var ctx context.Context
		ctx, s.stop = context.WithCancel(context.Background())
		s.ended.Go(func() { s.run(ctx) })
	})
}

// Close sends what is still to be sent, waiting no longer than a call may take, and lets go of the store.
func (s *Store) Close() error {
	s.begun.Do(func() {})
	if s.stop != nil {
		s.stop()
	}
	s.ended.Wait()
	var err error
	if s.up.Load() {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		s.synced.Lock()
		err = s.flush(ctx)
		s.synced.Unlock()
	}
	if err := errors.Join(err, s.pool.Close()); err != nil {
		return fmt.Errorf("fleet: %w", err)
	}
	return nil
}

func (s *Store) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for wait := pollInterval; ; timer.Reset(wait) {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-s.wake:
		}
		switch err := s.sync(ctx); {
		case ctx.Err() != nil:
			return
		case err == nil:
			wait = pollInterval
		default:
			wait = min(2*wait, lastRetry)
		}
	}
}

// sync learns what is new and tells what is.
func (s *Store) sync(ctx context.Context) error {
	s.synced.Lock()
	defer s.synced.Unlock()
	err := s.syncRevocations(ctx)
	if err == nil {
		err = s.exchange(ctx)
	}
	if ctx.Err() == nil {
		s.state(err)
	}
	return err
}

func (s *Store) syncRevocations(ctx context.Context) error {
	if s.learn == nil {
		return nil
	}
	if err := s.pull(ctx); err != nil {
		return err
	}
	return s.flush(ctx)
}

// state takes note of how a sync went.
func (s *Store) state(err error) {
	s.up.Store(err == nil)
	word := "up"
	if err != nil {
		word, s.epoch, s.exchanged = "down", "", time.Time{} // whoever is there next may have lost what this one had
	}
	if s.told == word {
		return
	}
	s.told = word
	if s.opts.OnState != nil {
		s.opts.OnState(err)
	}
}

func (s *Store) event(name string) {
	if s.opts.OnEvent != nil {
		s.opts.OnEvent(name)
	}
}

func (s *Store) keys() []string {
	return []string{s.prefix + ":head", s.prefix + ":revocations", s.prefix + ":ends"}
}

// newPool returns connections to a store, none of which is made yet.
func newPool(d dialer) *redis.Pool {
	return &redis.Pool{
		DialContext: d.dial, MaxActive: maxConnections, MaxIdle: maxConnections, Wait: true, IdleTimeout: idleTimeout,
		// A store that was started again has forgotten the connections of before.
		TestOnBorrowContext: func(ctx context.Context, c redis.Conn, idleSince time.Time) error {
			if time.Since(idleSince) < checkAfter {
				return nil
			}
			_, err := redis.DoContext(c, ctx, "PING")
			return err
		},
	}
}

// call runs a script. Its error is the store's or the network's and holds no argument.
func (s *Store) call(ctx context.Context, script *redis.Script, keys []string, args ...any) ([]any, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	c, err := s.pool.GetContext(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	all := make([]any, 0, len(keys)+len(args))
	for _, key := range keys {
		all = append(all, key)
	}
	answer, err := script.DoContext(ctx, c, append(all, args...)...)
	if err != nil {
		return nil, err
	}
	list, _ := texts(answer).([]any)
	return list, nil
}

// texts makes texts of the bytes in an answer.
func texts(answer any) any {
	switch answer := answer.(type) {
	case []byte:
		return string(answer)
	case []any:
		for i := range answer {
			answer[i] = texts(answer[i])
		}
	}
	return answer
}

// newToken is what nobody else calls themselves.
func newToken() string { return rand.Text() }
