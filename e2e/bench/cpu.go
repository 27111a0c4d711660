package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// treeTime is the CPU time of a process and of those that it has started, as far as they run.
func treeTime(pid int) (time.Duration, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	own, children := map[int]time.Duration{}, map[int][]int{}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		id, parent, used, err := parseStat(text)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		own[id] = used
		children[parent] = append(children[parent], id)
	}
	if _, ok := own[pid]; !ok {
		return 0, fmt.Errorf("process %d has ended", pid)
	}
	var total time.Duration
	for todo := []int{pid}; len(todo) > 0; todo = todo[1:] {
		total += own[todo[0]]
		todo = append(todo, children[todo[0]]...)
	}
	return total, nil
}

// parseStat reads /proc/PID/stat, see proc(5). Linux counts in hundredths of a second there.
func parseStat(text []byte) (id, parent int, used time.Duration, err error) {
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')') // the name may hold anything
	if open < 1 || end < open {
		return 0, 0, 0, fmt.Errorf("want a name in parentheses, got %q", text)
	}
	fields := bytes.Fields(text[end+1:])
	const parentAt, userAt, kernelAt = 1, 11, 12
	if len(fields) <= kernelAt {
		return 0, 0, 0, fmt.Errorf("want more than %d fields, got %q", kernelAt, text)
	}
	var numbers [4]int
	for i, field := range [...][]byte{bytes.TrimSpace(text[:open]), fields[parentAt], fields[userAt], fields[kernelAt]} {
		if numbers[i], err = strconv.Atoi(string(field)); err != nil {
			return 0, 0, 0, err
		}
	}
	const tick = time.Second / 100
	return numbers[0], numbers[1], time.Duration(numbers[2]+numbers[3]) * tick, nil
}
