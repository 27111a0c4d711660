// Package archtest holds the repository to its conventions: who imports whom, where state may live, what code may not call.
package archtest
