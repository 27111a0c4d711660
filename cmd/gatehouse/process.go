package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"gatehouse/configs"
	"gatehouse/internal/awslog"
	"gatehouse/internal/fleet"
	"gatehouse/internal/ledger"
	"gatehouse/proxy"
	"gatehouse/proxy/cache"
	"gatehouse/proxy/certs"
	"gatehouse/proxy/upstream"
	"gatehouse/proxy/wire"
)

// processOptions is how a command runs a front door.
type processOptions struct {
	load   func() (*configs.Config, error)
	reload <-chan os.Signal
	watch  []string // files whose change reloads, and with them the files that the configuration names
	quiet  bool     // no record of requests that went well
	// sockets are taken over instead of opened where they have the name; nil inherits systemd's.
	sockets *sockets
	// ready is called once everything serves.
	ready func(addresses)
}

// addresses are where a process listens, as bound: with the port that the system chose for :0.
type addresses struct {
	HTTPS, HTTP, Admin, Keys net.Addr
	// LocalRoot is the file with the local authority's root; "" without one.
	LocalRoot string
}

// A process is one running front door: everything that outlives a generation.
type process struct {
	opts     processOptions
	observer *observer
	gateway  proxy.Gateway
	certs    *certs.Manager
	server   *wire.Server   // the front door
	redirect *wire.Server   // port 80
	ledger   *ledger.File   // who has signed out; nil while nobody can sign in
	fleet    *fleet.Store   // what other instances know; nil without them
	side     []*http.Server // admin and keys: they answer until the drain is over
	watching *watcher

	mu      sync.Mutex // guards what follows; only the reload loop writes it
	cfg     *configs.Config
	current *assembled

	stopConnecting context.CancelFunc
	background     sync.WaitGroup // listeners, attempts to reach the provider, generations with requests inside
	draining       chan struct{}  // closed when the drain begins
	stopped        chan struct{}  // closed when it is over
	attempted      chan struct{}  // closed when the first provider has been asked once, whatever it said
}

// runProcess runs a front door until ctx ends, and drains it.
func runProcess(ctx context.Context, env *environment, opts processOptions) error {
	p := newProcess(env, opts)
	// Watching begins before the first load, so that no change falls between the two.
	p.watching = watch(opts.watch, p.observer)
	defer p.watching.stop()
	cfg, err := p.load()
	if err != nil {
		return err
	}
	p.cfg = cfg
	for _, lint := range cfg.Lints() {
		p.observer.warn("configuration: " + lint.Error())
	}
	if err := p.start(ctx); err != nil {
		return err
	}
	// Listeners serve already. Whoever waits for READY=1 finds that sign-in works, if the provider answers.
	select {
	case <-p.attempted:
	case <-ctx.Done():
	}
	notifySystemd(stateReady)
	p.loop(ctx, p.watching.changed)
	return p.stop()
}

func newProcess(env *environment, opts processOptions) *process {
	p := &process{opts: opts, observer: newObserver(env.stdout), watching: &watcher{}, draining: make(chan struct{}), stopped: make(chan struct{}), attempted: make(chan struct{})}
	p.observer.quiet.Store(opts.quiet)
	p.observer.upstreams(p.pools)
	p.observer.metrics.kept.caches = p.caches
	relaxGC()
	return p
}

// start assembles the first generation and serves it. What it opened is closed again when it fails.
func (p *process) start(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			p.closeLedger()
		}
	}()
	kept := newParts()
	if err := p.openLedger(p.cfg, kept); err != nil {
		return err
	}
	first, err := p.assemble(p.cfg, kept)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			p.observer.failed("closing the WAF's log", first.wafLog.Close())
		}
	}()
	ls, err := p.listen(ctx)
	if err != nil {
		first.parts.release()
		return err
	}
	p.certs, err = certs.New(p.cfg.TLS, p.cfg.StateDir, certs.Options{
		HTTP: tcpAddress(ls.http), HTTPS: tcpAddress(ls.https),
		OnError: p.observer.certificateFailed, OnObtained: p.observer.certificateObtained,
	})
	if err != nil {
		first.parts.release()
		ls.close()
		return configs.Problems{p.cfg.Problem("tls", err.Error())}
	}
	// Certificates come before the listeners are served: those may be a service manager's, with clients
	// waiting in them. Challenges of an ACME server wait there too.
	if err := p.certs.Manage(ctx, first.hosts); err != nil {
		p.certs.Close()
		first.parts.release()
		ls.close()
		return err
	}
	p.shareKeys(first)
	p.activate(ctx, first)
	p.serve(ls)
	bound := ls.addresses()
	bound.LocalRoot = p.certs.LocalRoot()
	p.observer.ready(first.generation.ID(), bound)
	p.background.Go(debug.FreeOSMemory) // what assembling left behind
	if p.opts.ready != nil {
		p.opts.ready(bound)
	}
	return nil
}

// openLedger opens the file of revocations, and a fleet's store, with the first configuration that somebody can sign
// in with or that has keys of a fleet. A file that cannot be read or written is a problem of that configuration: it
// would let in who has signed out.
func (p *process) openLedger(cfg *configs.Config, kept *parts) error {
	if cfg.Login == nil && !cfg.Assertion.Shared() || p.ledger != nil {
		return nil
	}
	file, err := ledger.Open(filepath.Join(cfg.StateDir, "revocations"), ledger.Options{})
	if err != nil {
		return configs.Problems{cfg.Problem("state_dir", err.Error())}
	}
	if n := file.Damaged(); n > 0 {
		p.observer.revocationLost(fmt.Errorf("%d damaged records were left out: these sessions are not signed out any more", n))
	}
	p.ledger, kept.ledger = file, file
	return p.openFleet(cfg, kept)
}

func (p *process) closeLedger() {
	if p.fleet != nil {
		p.observer.failed("closing the store of the fleet", p.fleet.Close())
	}
	if p.ledger != nil {
		p.observer.failed("closing the file of revocations", p.ledger.Close())
	}
}

// listeners are the opened sockets; nil where the file has none.
type listeners struct {
	https, http, admin, keys net.Listener
}

func (p *process) listen(ctx context.Context) (*listeners, error) {
	socks := p.opts.sockets
	if socks == nil {
		var err error
		if socks, err = inheritSockets(); err != nil {
			return nil, err
		}
	}
	var out listeners
	var errs []error
	for _, l := range []struct {
		name, address string
		to            *net.Listener
	}{
		{"https", p.cfg.Listen.HTTPS, &out.https},
		{"http", p.cfg.Listen.HTTP, &out.http},
		{"admin", p.cfg.Listen.Admin, &out.admin},
		{"keys", p.cfg.Listen.Keys, &out.keys},
	} {
		if l.address == "" || l.address == "off" {
			continue
		}
		ln, err := socks.listen(ctx, l.name, l.address)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		*l.to = ln
	}
	if len(errs) > 0 {
		out.close()
		return nil, errors.Join(errs...)
	}
	return &out, nil
}

// serve starts the listeners.
func (p *process) serve(ls *listeners) {
	opts := wire.Options{
		MaxConns: p.cfg.Listen.Connections, OnError: p.observer.connection,
		ReadHeaderTimeout: time.Duration(p.cfg.Listen.HeaderTimeout), IdleTimeout: time.Duration(p.cfg.Listen.IdleTimeout),
		ProxyProtocol: wire.ProxyProtocol{From: p.cfg.Listen.ProxyProtocol.Prefixes(), Direct: p.cfg.Listen.ProxyProtocol.Direct()},
	}
	p.server = wire.NewServer(&p.gateway, opts)
	p.redirect = wire.NewServer(p.refuseViolations(p.certs.RedirectHandler()), opts)
	p.background.Go(func() { p.ended("https", p.server.ServeTLS(ls.https, p.certs.TLSConfig())) })
	if ls.http != nil {
		p.background.Go(func() { p.ended("http", p.redirect.Serve(ls.http)) })
	}
	if ls.admin != nil {
		p.serveSide("admin", ls.admin, newAdmin(p.adminOptions()))
	}
	if ls.keys != nil {
		p.serveSide("keys", ls.keys, http.HandlerFunc(p.serveKeys))
	}
}

// refuseViolations answers for byte streams that were refused on the port for plain HTTP. No request's record
// tells of them: they are counted with the connections.
func (p *process) refuseViolations(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := wire.Violation(r); err != nil {
			p.observer.connection(nil, err)
			proxy.Deny(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (ls *listeners) close() {
	for _, ln := range []net.Listener{ls.https, ls.http, ls.admin, ls.keys} {
		if ln != nil {
			ln.Close()
		}
	}
}

// tcpAddress is host:port of a TCP listener; "" for others, which no ACME server can reach.
func tcpAddress(ln net.Listener) string {
	if ln == nil || ln.Addr().Network() != "tcp" {
		return ""
	}
	return ln.Addr().String()
}

func (ls *listeners) addresses() addresses {
	at := func(ln net.Listener) net.Addr {
		if ln == nil {
			return nil
		}
		return ln.Addr()
	}
	return addresses{HTTPS: at(ls.https), HTTP: at(ls.http), Admin: at(ls.admin), Keys: at(ls.keys)}
}

// serveSide serves a listener that is not the front door: it answers until the drain is over.
func (p *process) serveSide(name string, ln net.Listener, h http.Handler) {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: time.Minute, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10, DisableGeneralOptionsHandler: true, // OPTIONS * too is for the handler to refuse
	}
	p.side = append(p.side, server)
	p.background.Go(func() { p.ended(name, server.Serve(ln)) })
}

// serveKeys serves the public keys of the current generation's assertion.
func (p *process) serveKeys(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	keys := p.current.keys
	p.mu.Unlock()
	if keys == nil { // nobody can sign in, so nothing is asserted
		http.NotFound(w, r)
		return
	}
	keys.ServeHTTP(w, r)
}

// ended records that a listener stopped for another reason than that we closed it.
func (p *process) ended(name string, err error) {
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		p.observer.failed("listener "+name+" ended", err)
	}
}

func (p *process) adminOptions() adminOptions {
	return adminOptions{
		metrics: p.observer.handler(),
		samples: p.observer.samples,
		caches:  p.caches,
		ready: func() error {
			select {
			case <-p.draining:
				return errDraining
			default:
				return nil
			}
		},
		notes: p.notes,
		token: func() string {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.cfg.Listen.AdminToken
		},
	}
}

var errDraining = errors.New("draining")

// notes says what an operator should know although the instance serves.
func (p *process) notes() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	notes := []string{"generation " + p.current.generation.ID()}
	for _, r := range p.current.parts.remotes() {
		if !r.Ready() {
			kind, instead := remoteWords(r)
			notes = append(notes, kind+" "+r.Issuer()+" not reached yet: "+instead)
		}
	}
	for _, pool := range p.current.parts.pools {
		for _, address := range pool.value.Ailing() {
			notes = append(notes, "upstream "+pool.value.Name()+": "+address+" is unwell")
		}
	}
	return notes
}

// pools are the upstreams of the current generation.
func (p *process) pools() []*upstream.Pool { return onShelf(p.parts().pools) }

// caches are the caches of the current generation: one, or none.
func (p *process) caches() []*cache.Cache { return onShelf(p.parts().caches) }

// parts are those of the current generation.
func (p *process) parts() parts {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil {
		return parts{}
	}
	return *p.current.parts
}

func onShelf[T any](s shelf[T]) (all []T) {
	for _, one := range s {
		all = append(all, one.value)
	}
	return all
}

// activate makes a generation current and keeps trying to reach its provider.
func (p *process) activate(ctx context.Context, next *assembled) {
	// First: a connection that was not asked is refused with 421, and its client comes again.
	p.certs.AskClients(next.clients.Configure)
	var previousParts *parts
	var retiring []*upstream.Pool
	if p.current != nil {
		previousParts = p.current.parts
		retiring = succeedPools(previousParts.pools, next.parts.pools)
	}
	for _, c := range next.parts.caches {
		c.value.Start(func(err error) { p.observer.failed("the cache's disk", err) })
	}
	previous := p.gateway.Swap(next.generation)
	p.current = next
	p.observer.failed("closing the WAF's log", p.observer.wafLog.Use(next.wafLog))
	p.joinFleet()
	for _, pool := range retiring {
		pool.Retire()
	}
	for _, pool := range next.parts.pools {
		pool.value.Start(p.observer.health)
	}
	if p.stopConnecting != nil {
		p.stopConnecting()
	}
	ready := map[string]bool{}
	remotes := next.parts.remotes()
	for _, r := range remotes {
		ready[r.Issuer()] = r.Ready()
	}
	p.observer.providers(ready)
	var connecting context.Context
	connecting, p.stopConnecting = context.WithCancel(ctx)
	attempted := p.attempted
	if previous != nil {
		attempted = nil
	}
	p.background.Go(func() { p.connectAll(connecting, remotes, attempted) })
	if previous != nil {
		p.background.Go(func() {
			select {
			case <-previous.Done():
				previousParts.release()
			case <-p.stopped: // whoever is still inside does not hear of it, and the process ends
			}
		})
	}
}

// Waits between attempts to reach the provider: soon at first, because it often starts beside us, and
// never so rarely that its return goes unnoticed.
const (
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// connectAll keeps trying to reach the providers of a generation; attempted, if not nil, is closed after the
// first round.
func (p *process) connectAll(ctx context.Context, remotes []remote, attempted chan<- struct{}) {
	var first, all sync.WaitGroup
	for _, r := range remotes {
		first.Add(1)
		all.Go(func() { p.connect(ctx, r, first.Done) })
	}
	first.Wait()
	if attempted != nil {
		close(attempted)
	}
	all.Wait()
}

// connect reads the provider's metadata, trying until that succeeds or ctx ends.
func (p *process) connect(ctx context.Context, r remote, attempted func()) {
	attempt := sync.OnceFunc(attempted)
	defer attempt()
	for wait := firstRetry; !r.Ready(); wait = min(2*wait, lastRetry) {
		err := r.Connect(ctx)
		if ctx.Err() != nil {
			return
		}
		p.observer.provider(r, err, wait)
		if err == nil {
			return
		}
		attempt()
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// loop reloads when it is told to, until ctx ends.
func (p *process) loop(ctx context.Context, changed <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.opts.reload:
		case <-changed:
		}
		p.reload(ctx)
	}
}

// reload loads the configuration again and swaps it in. Any problem leaves everything as it was.
func (p *process) reload(ctx context.Context) {
	notifySystemd(stateReloading)
	defer notifySystemd(stateReady)
	next, cfg, err := p.prepare(ctx)
	if err == nil {
		if err = p.certs.Reconfigure(cfg.TLS); err != nil {
			err = configs.Problems{cfg.Problem("tls", err.Error())}
		}
	}
	if err != nil {
		if next != nil {
			next.parts.release()
			p.observer.failed("closing the WAF's log", next.wafLog.Close())
		}
		p.observer.reloaded(err)
		return
	}
	p.shareKeys(next)
	p.mu.Lock()
	p.cfg = cfg
	p.activate(ctx, next)
	p.mu.Unlock()
	p.observer.failed("certificates for the new hosts", p.certs.Manage(ctx, next.hosts))
	p.observer.swapped(next.generation.ID())
}

// load loads the configuration and watches the files that it names. What was read of a file before it was watched
// is read again, so that no change falls between the two.
func (p *process) load() (*configs.Config, error) {
	cfg, err := p.opts.load()
	if err == nil && p.watching.with(cfg.Files()) {
		return p.opts.load()
	}
	return cfg, err
}

// prepare does everything of a reload that can fail without a trace.
func (p *process) prepare(ctx context.Context) (*assembled, *configs.Config, error) {
	cfg, err := p.load()
	if err != nil {
		return nil, nil, err
	}
	if err := unchangedListeners(p.cfg, cfg); err != nil {
		return nil, nil, err
	}
	if err := p.openLedger(cfg, p.current.parts); err != nil {
		return nil, nil, err
	}
	next, err := p.assemble(cfg, p.current.parts)
	if err == nil {
		p.reach(ctx, next.parts.remotes())
	}
	return next, cfg, err
}

// assemble builds a generation, and opens what it writes to.
func (p *process) assemble(cfg *configs.Config, kept *parts) (*assembled, error) {
	next, err := assemble(cfg, kept, p.observer)
	if err != nil {
		return nil, err
	}
	if next.wafLog, err = awslog.Open(cfg.Events.WAFLog, p.observer.stdout); err != nil {
		next.parts.release()
		return nil, configs.Problems{cfg.Problem("events.waf_log.file", err.Error())}
	}
	return next, nil
}

// reach asks each new provider once before it serves, so that a changed login refuses nobody while its metadata is
// read. One that does not answer holds the reload up for its timeout; connectAll goes on trying.
func (p *process) reach(ctx context.Context, remotes []remote) {
	var all sync.WaitGroup
	for _, r := range remotes {
		if !r.Ready() {
			all.Go(func() {
				if r.Connect(ctx) == nil {
					p.observer.provider(r, nil, 0)
				}
			})
		}
	}
	all.Wait()
}

// unchangedListeners reports, at their lines, what only a restart can change of the listeners.
func unchangedListeners(old, new *configs.Config) error {
	var problems configs.Problems
	for _, l := range []struct{ field, old, new string }{
		{"https", old.Listen.HTTPS, new.Listen.HTTPS},
		{"http", old.Listen.HTTP, new.Listen.HTTP},
		{"admin", old.Listen.Admin, new.Listen.Admin},
		{"keys", old.Listen.Keys, new.Listen.Keys},
		{"connections", strconv.Itoa(old.Listen.Connections), strconv.Itoa(new.Listen.Connections)},
		{"header_timeout", old.Listen.HeaderTimeout.String(), new.Listen.HeaderTimeout.String()},
		{"proxy_protocol.from", strings.Join(old.Listen.ProxyProtocol.From, ", "), strings.Join(new.Listen.ProxyProtocol.From, ", ")},
		{"proxy_protocol.others", old.Listen.ProxyProtocol.Others, new.Listen.ProxyProtocol.Others},
		{"idle_timeout", old.Listen.IdleTimeout.String(), new.Listen.IdleTimeout.String()},
	} {
		if l.old != l.new {
			problems = append(problems, new.Problem("listen."+l.field,
				fmt.Sprintf("changing it from %q needs a restart", l.old)))
		}
	}
	problems = append(problems, unchangedFleet(old, new)...)
	if old.StateDir != new.StateDir {
		problems = append(problems, new.Problem("state_dir", fmt.Sprintf("changing it from %q needs a restart", old.StateDir)))
	}
	if len(problems) > 0 {
		return problems
	}
	return nil
}

// stop drains: unready at once, then no new connections, then the requests that run, then the rest.
func (p *process) stop() error {
	close(p.draining)
	notifySystemd(stateStopping)
	p.observer.info("draining", "limit", p.cfg.DrainTime().String())
	ctx, cancel := context.WithTimeout(context.Background(), p.cfg.DrainTime())
	defer cancel()
	err := p.server.Shutdown(ctx)
	err = errors.Join(err, p.redirect.Shutdown(ctx))
	for _, server := range p.side {
		err = errors.Join(err, server.Close())
	}
	close(p.stopped)
	p.stopConnecting()
	p.current.parts.release()
	p.certs.Close()
	p.background.Wait()
	p.observer.failed("closing the WAF's log", p.observer.wafLog.Use(nil))
	p.closeLedger()
	if errors.Is(err, context.DeadlineExceeded) {
		p.observer.warn("drain: the limit was reached, connections were closed")
		return nil
	}
	return err
}
