package configs

import (
	"bytes"
	"strings"
)

// An archive is a file in the txtar format: a comment, then files, each below a line "-- NAME --".
// golang.org/x/tools has the full reader; this is all of it that the tests need.
type archive struct {
	comment string
	names   []string // in order
	files   map[string]string
}

func parseArchive(data []byte) archive {
	a := archive{files: map[string]string{}}
	name := ""
	for line := range strings.Lines(string(data)) {
		marker := strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(marker, "-- ") && strings.HasSuffix(marker, " --") && len(marker) > 6 {
			name = marker[3 : len(marker)-3]
			a.set(name, "")
			continue
		}
		if name == "" {
			a.comment += line
		} else {
			a.files[name] += line
		}
	}
	return a
}

func (a *archive) set(name, text string) {
	if _, ok := a.files[name]; !ok {
		a.names = append(a.names, name)
	}
	a.files[name] = text
}

func (a *archive) format() []byte {
	var b bytes.Buffer
	b.WriteString(a.comment)
	for _, name := range a.names {
		b.WriteString("-- " + name + " --\n" + a.files[name])
	}
	return b.Bytes()
}
