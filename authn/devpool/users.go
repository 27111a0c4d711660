package devpool

import (
	"crypto/sha256"
	"slices"
)

// A User is a person of the pool.
type User struct {
	Username, Password string
	// Sub is the stable name in tokens; empty means a UUID made from the user name.
	Sub           string
	Email         string
	EmailVerified bool
	Name          string
	Groups        []string
	// Custom are further attributes, without their "custom:" prefix. Their values are always strings.
	Custom map[string]string
	// Unconfirmed users have signed up and not sent the code yet. They cannot sign in.
	Unconfirmed bool
	// NewPasswordRequired users are asked for another password when they sign in through the API.
	NewPasswordRequired bool
}

// DefaultUsers returns the people of a development pool, each with their user name as password:
// alice is in the group users, bob in users and admins, and carol in none, with an e-mail address
// that nobody has verified.
func DefaultUsers() []User {
	return []User{
		{
			Username: "alice", Password: "alice", Sub: "a11ce0de-5bd2-4363-9134-0ce990b8c873", Name: "Alice Archer",
			Email: "alice@example.com", EmailVerified: true, Groups: []string{"users"},
			Custom: map[string]string{"department": "Field work"},
		},
		{
			Username: "bob", Password: "bob", Sub: "b0bb0b0b-1f6e-4c55-8d21-6f3f0a7d2c10", Name: "Bob Builder",
			Email: "bob@example.com", EmailVerified: true, Groups: []string{"users", "admins"},
			Custom: map[string]string{"department": "Operations"},
		},
		{
			Username: "carol", Password: "carol", Sub: "ca401000-7c3b-4b0e-9a57-2d1f5e8b6a44", Name: "Carol Courier",
			Email: "carol@example.com",
		},
	}
}

// PutUser adds a user, or replaces the one with that user name. Tokens and userInfo answers made
// from then on have the new attributes; sessions and refresh tokens live on.
func (p *Pool) PutUser(u User) {
	if u.Sub == "" {
		sum := sha256.Sum256([]byte(p.opts.PoolID + "\x00" + u.Username))
		u.Sub = formatUUID(sum[:16])
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.users[u.Username]; !ok {
		p.userNames = append(p.userNames, u.Username)
	}
	p.users[u.Username] = u
}

// RemoveUser removes a user. Their session, their refresh tokens and userInfo answer no more.
func (p *Pool) RemoveUser(username string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.users, username)
	p.userNames = slices.DeleteFunc(p.userNames, func(n string) bool { return n == username })
}

// SignOutEverywhere revokes every token and session of a user, as Cognito's GlobalSignOut does. The
// JWTs themselves stay valid for whoever verifies them alone.
func (p *Pool) SignOutEverywhere(username string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.store.signOut(username)
}

func (p *Pool) user(username string) (User, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	u, ok := p.users[username]
	return u, ok
}

// authenticate returns the user whose name and password these are.
func (p *Pool) authenticate(username, password string) (User, bool) {
	u, ok := p.user(username)
	return u, equal(u.Password, password) && ok && !u.Unconfirmed
}

// listUsers returns the users in the order they were added.
func (p *Pool) listUsers() []User {
	p.mu.Lock()
	defer p.mu.Unlock()
	users := make([]User, 0, len(p.userNames))
	for _, name := range p.userNames {
		users = append(users, p.users[name])
	}
	return users
}
