//go:build linux && !race

package nowait

import (
	"syscall"
	"unsafe"
)

const supported = true

// read and write are package syscall's for a socket that is non-blocking, but for the scheduler, see above.

func read(fd uintptr, p []byte) (int, error) { return call(syscall.SYS_READ, fd, p) }

func write(fd uintptr, p []byte) (int, error) { return call(syscall.SYS_WRITE, fd, p) }

func call(number, fd uintptr, p []byte) (int, error) {
	for {
		// The pointer is converted in the call's own arguments, where the compiler keeps what it points to in place
		// (package unsafe, pattern 4).
		n, _, errno := syscall.RawSyscall(number, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p))) //nolint:gosec // see above
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
			continue
		}
		return 0, errno
	}
}
