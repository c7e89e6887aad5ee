package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
)

// Whoever holds up the end of a server, by a request that never ends, does not keep it
// from writing down whose login was refused.
func TestRefusedLoginsOutliveAnEndThatIsHeldUp(t *testing.T) {
	b := ordinary
	b.ending = 300 * time.Millisecond
	x := besiege(t, b, nil)
	x.held = true
	res, err := x.client.Post(x.base+"/login", "application/json", strings.NewReader(`{"username":"root","password":"wrong"}`))
	if err != nil {
		t.Fatal(err)
	}
	if _ = res.Body.Close(); res.StatusCode != http.StatusUnauthorized {
		t.Fatal(res.Status)
	}
	conn := x.attacker()
	if _, err := io.WriteString(conn, "POST /login HTTP/1.1\r\n"+x.host()+"Content-Type: application/json\r\nContent-Length: 99\r\nExpect: 100-continue\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	// It is under way: its body is waited for.
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatal(line, err)
	}
	if err := x.end(); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%v: nothing held it up", err)
	}
	store, err := storage.Open(t.Context(), storage.Options{URL: "sqlite:" + filepath.Join(x.data, "latchkey.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	list, err := store.ListEvents(t.Context(), broker.EventFilter{Name: broker.EventLoginRefused, Limit: 9})
	if err != nil || len(list) != 1 || list[0].UserID == "" || list[0].IP != "127.0.0.1" {
		t.Errorf("%v, %+v", err, list)
	}
}
