// Command sqlitedrivers compares two SQLite drivers on the product's own schema
// and statements. Each driver is a program of its own, so that memory and size
// are its own, and the two take turns, so that other load on the machine meets
// both.
//
//	go run . [-n 3] [-each 1s]
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/latchkey-id/latchkey/test/sqlitedrivers/measure"
)

var drivers = []string{"ncruces", "modernc"}

func main() {
	n := flag.Int("n", 3, "runs of each driver; the median is shown")
	each := flag.Duration("each", time.Second, "length of one measurement")
	flag.Parse()
	if err := compare(*n, *each); err != nil {
		log.Fatal(err)
	}
}

func compare(n int, each time.Duration) error {
	folder, err := os.MkdirTemp("", "sqlitedrivers-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	size := map[string]float64{}
	for _, d := range drivers {
		build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(folder, d), "./"+d)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		info, err := os.Stat(filepath.Join(folder, d))
		if err != nil {
			return err
		}
		size[d] = float64(info.Size()) / (1 << 20)
	}
	// The first run fills the file and is not counted.
	runs := map[string][][]measure.Figure{}
	for i := range n + 1 {
		for _, d := range drivers {
			length := each
			if i == 0 {
				length = 10 * time.Millisecond
			}
			figures, err := run(filepath.Join(folder, d), length)
			if err != nil {
				return err
			}
			if i > 0 {
				runs[d] = append(runs[d], figures)
			}
		}
	}
	show(runs, size)
	return nil
}

func run(program string, each time.Duration) (figures []measure.Figure, err error) {
	cmd := exec.Command(program, program+".db", each.String())
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	return figures, json.Unmarshal(out, &figures)
}

func show(runs map[string][][]measure.Figure, size map[string]float64) {
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "per second (p99 ms)\tncruces\t\tmodernc\t\tncruces : modernc\t")
	for i, f := range runs[drivers[0]][0] {
		var value, p99 [2]float64
		for k, d := range drivers {
			value[k] = median(runs[d], func(run []measure.Figure) float64 { return run[i].Value })
			p99[k] = median(runs[d], func(run []measure.Figure) float64 { return run[i].P99 })
		}
		fmt.Fprintf(w, "%s\t%.0f\t%.2f\t%.0f\t%.2f\t%.2f\t\n", f.Name, value[0], p99[0], value[1], p99[1], value[0]/value[1])
	}
	fmt.Fprintf(w, "program, MiB\t%.1f\t\t%.1f\t\t%.2f\t\n", size[drivers[0]], size[drivers[1]], size[drivers[0]]/size[drivers[1]])
	_ = w.Flush()
}

func median(runs [][]measure.Figure, of func([]measure.Figure) float64) float64 {
	var values []float64
	for _, r := range runs {
		values = append(values, of(r))
	}
	slices.Sort(values)
	return values[len(values)/2]
}
