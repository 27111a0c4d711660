package origin

import (
	"fmt"
	"os"
	"strings"
)

// Defaults of Config.
const (
	defaultIndex        = "index.html"
	defaultCacheControl = "no-cache" // a browser may keep a file, and asks whether it is still good
)

// Config is one named origin of the file.
type Config struct {
	// Directory has the files that are served, and nothing outside of it is, wherever symbolic links lead. It may itself be a
	// link that a deployment turns to the next release. Files and directories whose name begins with a dot are not served,
	// .well-known excepted. Required without s3.
	Directory string `yaml:"directory"`
	// S3 is a private bucket whose objects are served instead.
	S3 *S3Config `yaml:"s3"`
	// Index is the file that stands for its directory; default index.html.
	Index string `yaml:"index"`
	// Fallback is the file that answers a navigation to a path that is no file, for applications that route in the browser;
	// such as index.html. Paths whose last segment has a dot, and requests of scripts, get 404 as before.
	Fallback string `yaml:"fallback"`
	// NotFound is the file of the page for 404; default Gatehouse's own.
	NotFound string `yaml:"not_found"`
	// CacheControl is that of the files; default no-cache, with which a browser keeps a file and asks by its ETag whether it
	// has changed. The pages of Fallback and NotFound and every HTML file always have no-cache. Of a bucket it is for the objects
	// without one of their own.
	CacheControl string `yaml:"cache_control"`
}

// Validate reports everything that is wrong with c. It reads no file.
func (c Config) Validate(report func(field, msg string)) {
	switch {
	case c.S3 != nil && c.Directory != "":
		report("s3", "stands beside directory: want one of them")
	case c.S3 != nil:
		c.S3.Validate(func(field, msg string) { report("s3."+field, msg) })
	case c.Directory == "":
		report("directory", "required: the path of a directory, such as /srv/www, or s3")
	}
	if strings.ContainsAny(c.Index, `/\`) || hidden(c.Index) {
		report("index", fmt.Sprintf("want the name of a file such as index.html, got %q", c.Index))
	}
	for _, f := range []struct{ field, name string }{{"fallback", c.Fallback}, {"not_found", c.NotFound}} {
		if name, ok := fileName(f.name); f.name != "" && (!ok || name != f.name) {
			report(f.field, fmt.Sprintf("want a file below the directory such as index.html, got %q", f.name))
		}
	}
	if strings.ContainsFunc(c.CacheControl, func(r rune) bool { return r < ' ' || r > '~' }) {
		report("cache_control", fmt.Sprintf("want a header value such as %q, got %q", "public, max-age=3600", c.CacheControl))
	}
}

// look reports what is missing of the directory and the files that c names.
func (c Config) look() error {
	root, err := os.OpenRoot(c.Directory)
	if err != nil {
		return fmt.Errorf("directory: want one that can be opened: %w", err)
	}
	defer root.Close()
	for _, f := range []struct{ field, name string }{{"fallback", c.Fallback}, {"not_found", c.NotFound}} {
		if f.name == "" {
			continue
		}
		info, err := root.Stat(f.name)
		if err != nil {
			return fmt.Errorf("%s: want a file below %s: %w", f.field, c.Directory, err)
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s: want a file, %s is none", f.field, f.name)
		}
	}
	return nil
}
