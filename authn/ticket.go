package authn

import (
	"encoding/binary"
	"net/http"
	"strings"
	"time"
)

const (
	ticketVersion = 1
	ticketMark    = "." // between the state and its ticket
	// maxTicketReturn is how long a way back may be to travel in a ticket: the state passes through
	// addresses of the provider, and of those behind it, that may not become too long.
	maxTicketReturn = 512
)

// ticket is what travels sealed behind a state, so that a login can be told about when the cookie
// has given way to later ones, was not sent, or went to another instance. It opens no session:
// without the cookie no code is redeemed. All that a ticket can do is begin a login anew, which
// any link to the sign-in address can.
type ticket struct {
	state    loginState
	provider mark   // that the login began at
	host     string // that the login began on
	back     string // "" when it was too long
	begun    int64  // Unix seconds
	rounds   uint8  // attempts that this one continues
}

// sealTicket returns the ticket of a login.
func (s *Sessions) sealTicket(l *pendingLogin, host string, rounds uint8) (string, error) {
	back := l.back
	if len(back) > maxTicketReturn {
		back = ""
	}
	b := binary.AppendVarint(append([]byte{ticketVersion, rounds}, l.provider[:]...), l.started)
	b = appendText(appendText(b, host), back)
	sealed, err := s.seal.sealPlain(s.ticketName(l.state), b)
	if err != nil {
		return "", fail(ReasonUnhandled, http.StatusInternalServerError, publicTryAgain, "%w", err)
	}
	return sealed, nil
}

// ticketName binds a ticket to its state, and not to a host: it is to be read on another one too.
func (s *Sessions) ticketName(state loginState) string {
	return strings.Join([]string{"ticket", s.set.cookie, state.text()}, "\n")
}

// openTicket reads a state parameter. It returns nil for what this gateway has not made.
func (s *Sessions) openTicket(param string) *ticket {
	id, sealed, ok := strings.Cut(param, ticketMark)
	raw, err := decodeSegment(id)
	if !ok || err != nil || len(raw) != len(loginState{}) {
		return nil
	}
	t := &ticket{state: loginState(raw)}
	b, err := s.seal.open(s.ticketName(t.state), sealed)
	if err != nil {
		return nil
	}
	r := &reader{b: b}
	head := r.take(2)
	if r.err != nil || head[0] != ticketVersion {
		return nil
	}
	t.rounds = head[1]
	copy(t.provider[:], r.take(uint64(len(t.provider))))
	t.begun = r.int()
	t.host, t.back = r.text(), r.text()
	if r.end() != nil {
		return nil
	}
	return t
}

const (
	// maxRounds is how many times signing in may lead back to signing in before somebody is told.
	maxRounds = 3
	// trailLife is how long finished logins are remembered: people do not sign in three times a
	// minute, and a loop takes a second or two for each round.
	trailLife = time.Minute
)

// trail counts the logins that a browser has finished in quick succession.
type trail struct {
	rounds uint8
	since  int64 // Unix time of the first
}

func (t trail) over(now time.Time) bool {
	age := now.Unix() - t.since
	return t.rounds == 0 || age < 0 || age >= int64(trailLife/time.Second)
}

// next is the trail after another login.
func (t trail) next(now time.Time) trail {
	if t.over(now) {
		return trail{rounds: 1, since: now.Unix()}
	}
	return trail{rounds: min(t.rounds+1, maxRounds), since: t.since}
}

// circling says that who begins a login has just finished several.
func (t trail) circling(now time.Time) bool { return !t.over(now) && t.rounds >= maxRounds }
