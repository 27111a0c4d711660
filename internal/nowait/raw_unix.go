//go:build unix && (!linux || race)

package nowait

import "syscall"

const supported = true

// The race detector learns from package syscall that what one end of a connection wrote happened before the
// other end read it.

func read(fd uintptr, p []byte) (int, error) {
	return ignoringInterrupts(func() (int, error) { return syscall.Read(int(fd), p) })
}

func write(fd uintptr, p []byte) (int, error) {
	return ignoringInterrupts(func() (int, error) { return syscall.Write(int(fd), p) })
}

func ignoringInterrupts(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != syscall.EINTR { //nolint:errorlint // an Errno, never wrapped
			return max(n, 0), err
		}
	}
}
