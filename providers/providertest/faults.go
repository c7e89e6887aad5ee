package providertest

import (
	"compress/gzip"
	"io"
	"net/http"
	"time"
)

// Stall never answers. It ends when the client gives up.
func Stall(_ http.ResponseWriter, r *http.Request) bool {
	// The server notices that a client has gone only once the body is read.
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
	return true
}

// Drip answers with 200 and body, a byte at a time.
func Drip(body string, pause time.Duration) Responder {
	return func(w http.ResponseWriter, r *http.Request) bool {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		for i := range len(body) {
			if _, err := io.WriteString(w, body[i:i+1]); err != nil {
				return true
			}
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
				return true
			case <-time.After(pause):
			}
		}
		return true
	}
}

// Flood answers with 200 and a JSON string of about size bytes, which it makes
// while it sends.
func Flood(size int64) Responder {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", "application/json")
		flood(w, size)
		return true
	}
}

// GzipBomb is Flood, compressed to about a thousandth, whether or not the
// client says that it takes gzip.
func GzipBomb(size int64) Responder {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		flood(z, size)
		_ = z.Close()
		return true
	}
}

func flood(w io.Writer, size int64) {
	_, _ = io.WriteString(w, `{"a":"`)
	_, err := io.CopyN(w, zeros{}, size)
	if err == nil {
		_, _ = io.WriteString(w, `"}`)
	}
}

// zeros reads as the digit 0, for ever.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = '0'
	}
	return len(b), nil
}

// RedirectTo answers with a redirect; a 307 makes a client that follows it
// send its form again.
func RedirectTo(status int, target string) Responder {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Location", target)
		w.WriteHeader(status)
		return true
	}
}

// Body answers with exactly this.
func Body(status int, contentType, body string) Responder {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
		return true
	}
}

// CutOff promises more than body and cuts the connection after it.
func CutOff(body string) Responder {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "1000000")
		_, _ = io.WriteString(w, body)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}
