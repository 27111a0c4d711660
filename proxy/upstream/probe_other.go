//go:build !unix

package upstream

// readNow cannot look without waiting here: a stale connection is noticed when it is used.
func readNow(uintptr, []byte) (int, error) { return 0, errWouldBlock }
