package origin

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// sameBuild is how long a build, or a copy of one, may take from the first file to the last.
const sameBuild = 10 * time.Minute

// A coding is a content coding that a file may have beside itself, in the order of preference.
type coding struct{ name, ext string }

func codings() [3]coding { return [3]coding{{"br", ".br"}, {"zstd", ".zst"}, {"gzip", ".gz"}} }

// compressed opens the compressed form of f that the client likes best, if there is one: the file of the same name with
// .br, .zst or .gz behind it. One that is older than f is what f was before.
func compressed(root *os.Root, f *file, accept []string) (*file, string) {
	for _, c := range codings() {
		if !accepts(accept, c.name) {
			continue
		}
		smaller, err := open(root, f.name+c.ext)
		if err != nil {
			continue
		}
		if smaller.info.Mode().IsRegular() && !smaller.info.ModTime().Before(f.info.ModTime().Add(-sameBuild)) {
			return smaller, c.name
		}
		smaller.Close()
	}
	return nil, ""
}

// accepts reports whether Accept-Encoding names a coding with a weight above 0 (RFC 9110 section 12.5.3). "*" counts for no
// coding: who writes it may not know them all.
func accepts(fields []string, name string) bool {
	for _, field := range fields {
		for part := range strings.SplitSeq(field, ",") {
			coding, params, _ := strings.Cut(part, ";")
			if !strings.EqualFold(strings.TrimSpace(coding), name) {
				continue
			}
			q, weighted := strings.CutPrefix(strings.ToLower(strings.TrimSpace(params)), "q=")
			if !weighted {
				return params == ""
			}
			weight, err := strconv.ParseFloat(q, 64)
			return err == nil && weight > 0
		}
	}
	return false
}

// contentType is that of a file, by the end of its name. It is the same on every machine, unlike mime.TypeByExtension.
func contentType(name string) string {
	base := name[strings.LastIndexByte(name, '/')+1:]
	i := strings.LastIndexByte(base, '.')
	if i < 0 {
		return "application/octet-stream"
	}
	switch strings.ToLower(base[i+1:]) {
	case "html", "htm":
		return "text/html; charset=utf-8"
	case "css":
		return "text/css; charset=utf-8"
	case "js", "mjs":
		return "text/javascript; charset=utf-8" // RFC 9239
	case "json", "map":
		return "application/json"
	case "webmanifest":
		return "application/manifest+json"
	case "xml":
		return "application/xml"
	case "txt":
		return "text/plain; charset=utf-8"
	case "md":
		return "text/markdown; charset=utf-8"
	case "csv":
		return "text/csv; charset=utf-8"
	case "svg":
		return "image/svg+xml"
	case "png":
		return "image/png"
	case "jpg", "jpeg":
		return "image/jpeg"
	case "gif":
		return "image/gif"
	case "webp":
		return "image/webp"
	case "avif":
		return "image/avif"
	case "ico":
		return "image/x-icon"
	case "woff":
		return "font/woff"
	case "woff2":
		return "font/woff2"
	case "ttf":
		return "font/ttf"
	case "otf":
		return "font/otf"
	case "mp4":
		return "video/mp4"
	case "webm":
		return "video/webm"
	case "mp3":
		return "audio/mpeg"
	case "wasm":
		return "application/wasm"
	case "pdf":
		return "application/pdf"
	case "zip":
		return "application/zip"
	case "gz":
		return "application/gzip"
	}
	return "application/octet-stream"
}

// compressible reports whether files of a type are worth a compressed form.
func compressible(kind string) bool {
	return strings.HasPrefix(kind, "text/") || strings.HasSuffix(kind, "+json") || strings.HasSuffix(kind, "+xml") ||
		kind == "application/json" || kind == "application/xml" || kind == "application/wasm"
}
