package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// built is the program as it is released, in a process of its own.
type built struct {
	program string
	folder  string
}

// build compiles the program; the Makefile's flags.
func build(ctx context.Context, folder string) (*built, error) {
	b := &built{program: filepath.Join(folder, "latchkey"), folder: folder}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "nomsgpack", "-ldflags", "-s -w", "-o", b.program,
		"github.com/latchkey-id/latchkey/cmd/latchkey")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return b, nil
}

func (b *built) megabytes() (float64, error) {
	info, err := os.Stat(b.program)
	if err != nil {
		return 0, err
	}
	return float64(info.Size()) / (1 << 20), nil
}

// process is one run of it.
type process struct {
	cmd     *exec.Cmd
	address string
	ready   time.Duration // from the start of the process to the first 200 of /readyz
}

// start runs the program on a data folder and waits until it is ready.
func (b *built) start(data string, env ...string) (*process, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &process{address: listener.Addr().String()}
	if err := listener.Close(); err != nil {
		return nil, err
	}
	p.cmd = exec.Command(b.program, "serve")
	p.cmd.Dir = b.folder
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "LATCHKEY_LISTEN=" + p.address, "LATCHKEY_DATA_DIR=" + data, "RATE_LIMIT_AUTH_MAX=0"}, env...)
	begin := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	for time.Since(begin) < 10*time.Second {
		if _, err := answerOf(p.address, request("GET", "/readyz", p.address)); err == nil {
			p.ready = time.Since(begin)
			return p, nil
		}
		time.Sleep(500 * time.Microsecond)
	}
	return nil, errors.Join(errors.New("the program did not become ready"), p.stop())
}

func (p *process) stop() error {
	return errors.Join(p.cmd.Process.Signal(os.Interrupt), p.cmd.Wait())
}

// memory reads a line such as VmRSS of the process, in MiB.
func (p *process) memory(line string) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(status), line+":")
	var kib float64
	_, err = fmt.Sscan(after, &kib)
	return kib / 1024, err
}

const adminName = "admin"

// asAdmin makes a user to log in as at the start.
var asAdmin = []string{"LATCHKEY_ADMIN_USERNAME=" + adminName, "LATCHKEY_ADMIN_PASSWORD=" + goodWord}

// mixed is one worker's share of everything that an app does: one login, then
// many reads and some refreshes, and now and then a login.
func (p *process) mixed(int) (step, end func() error, err error) {
	c, err := dial(p.address)
	if err != nil {
		return nil, nil, err
	}
	form := "username=" + adminName + "&password=" + strings.ReplaceAll(goodWord, " ", "+")
	login := formRequest("/login", p.address, form, "X-Return-Tokens", "true")
	var access, refresh string
	n := 0
	return func() error {
		var send []byte
		switch {
		case n%400 == 0:
			send = login
		case n%10 == 0:
			send = refreshRequest(p.address, refresh, "")
		default:
			send = meRequest(p.address, access, "")
		}
		n++
		status, body, err := c.do(send)
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("status %d, error %v: %s", status, err, body)
		}
		if t := tokenIn(body); t != "" {
			refresh = t
			access = field(body, `"accessToken":"`)
		}
		return nil
	}, func() error { c.close(); return nil }, nil
}

// process measures start, memory and size of the built program.
func (o options) process(ctx context.Context, r *report, folder string) error {
	b, err := build(ctx, folder)
	if err != nil {
		return err
	}
	size, err := b.megabytes()
	if err != nil {
		return err
	}
	r.value("program, stripped", fmt.Sprintf("%.1f MiB", size), "at most 25 MiB", size <= 25)
	var fresh, existing, idle []float64
	for i := range o.long {
		data := filepath.Join(folder, fmt.Sprint("data", i))
		for _, into := range []*[]float64{&fresh, &existing} {
			p, err := b.start(data)
			if err != nil {
				return err
			}
			*into = append(*into, ms(p.ready))
			time.Sleep(200 * time.Millisecond)
			rss, err := p.memory("VmRSS")
			if err != nil {
				return err
			}
			idle = append(idle, rss)
			if err := p.stop(); err != nil {
				return err
			}
		}
	}
	f, e, m := median(fresh), median(existing), median(idle)
	r.value("start to ready, new SQLite database", fmt.Sprintf("%.0f ms", f), "at most 60 ms", f <= 60)
	r.value("start to ready, existing SQLite database", fmt.Sprintf("%.0f ms", e), "at most 60 ms", e <= 60)
	r.value("memory (RSS), idle", fmt.Sprintf("%.1f MiB", m), "at most 25 MiB", m <= 25)

	p, err := b.start(filepath.Join(folder, "load"), asAdmin...)
	if err != nil {
		return err
	}
	if _, err := run(p.mixed, maxWorkers, 20*o.each); err != nil {
		return errors.Join(err, p.stop())
	}
	rss, err := p.memory("VmRSS")
	if err != nil {
		return err
	}
	peak, err := p.memory("VmHWM")
	if err != nil {
		return err
	}
	r.value("memory (RSS), after load", fmt.Sprintf("%.1f MiB", rss), "at most 60 MiB", rss <= 60)
	r.value("memory (RSS), at its highest", fmt.Sprintf("%.1f MiB", peak), "", true)
	return p.stop()
}
