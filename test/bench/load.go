package main

import (
	"fmt"
	"runtime/metrics"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// load is what each of some workers does again and again.
type load func(worker int) (step func() error, end func() error, err error)

// result is one run of a load.
type result struct {
	rps      float64
	p50, p99 time.Duration
	cpu      time.Duration // of this process, clients included, per request
	allocs   float64       // objects on the heap, the same
}

// run keeps workers busy for a while. A single error fails it: a figure with
// errors in it says nothing.
func run(l load, workers int, length time.Duration) (result, error) {
	steps, ends := make([]func() error, workers), make([]func() error, workers)
	for i := range workers {
		var err error
		if steps[i], ends[i], err = l(i); err != nil {
			return result{}, err
		}
	}
	var stop atomic.Bool
	var group sync.WaitGroup
	took, errs := make([][]time.Duration, workers), make([]error, workers)
	start, cpu, allocs := time.Now(), cpuTime(), allocated()
	for i := range workers {
		group.Go(func() {
			for !stop.Load() {
				before := time.Now()
				if errs[i] = steps[i](); errs[i] != nil {
					return
				}
				took[i] = append(took[i], time.Since(before))
			}
		})
	}
	time.Sleep(length)
	stop.Store(true)
	group.Wait()
	elapsed := time.Since(start)
	cpu, allocs = cpuTime()-cpu, allocated()-allocs
	for i := range workers {
		if err := ends[i](); err != nil && errs[i] == nil {
			errs[i] = err
		}
		if errs[i] != nil {
			return result{}, fmt.Errorf("worker %d: %w", i, errs[i])
		}
	}
	all := slices.Concat(took...)
	slices.Sort(all)
	if len(all) == 0 {
		return result{}, fmt.Errorf("nothing was done in %s", elapsed)
	}
	return result{
		rps: float64(len(all)) / elapsed.Seconds(), p50: all[len(all)/2], p99: all[len(all)*99/100],
		cpu: cpu / time.Duration(len(all)), allocs: float64(allocs) / float64(len(all)),
	}, nil
}

// allocated counts the objects that this process has ever put on the heap.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:objects"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// cpuTime is what this process has used of the cores, which other programs on
// the machine disturb less than the clock.
func cpuTime() time.Duration {
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// compare runs two loads in turn, so that other load on the machine meets both,
// and gives the medians and the median of the ratios of neighbours.
func compare(a, b load, workers, times int, length time.Duration) (ra, rb result, ratio float64, err error) {
	var as, bs []result
	var ratios []float64
	for i := range times + 1 {
		first, second, swap := a, b, i%2 == 1
		if swap {
			first, second = b, a
		}
		span := length
		if i == 0 {
			span = max(length, 300*time.Millisecond) // warm up, not counted
		}
		x, err := run(first, workers, span)
		if err != nil {
			return ra, rb, 0, err
		}
		y, err := run(second, workers, span)
		if err != nil {
			return ra, rb, 0, err
		}
		if swap {
			x, y = y, x
		}
		if i > 0 {
			as, bs, ratios = append(as, x), append(bs, y), append(ratios, x.rps/y.rps)
		}
	}
	return medianResult(as), medianResult(bs), median(ratios), nil
}

func medianResult(rs []result) result {
	pick := func(of func(result) float64) float64 {
		var values []float64
		for _, r := range rs {
			values = append(values, of(r))
		}
		return median(values)
	}
	return result{
		rps:    pick(func(r result) float64 { return r.rps }),
		p50:    time.Duration(pick(func(r result) float64 { return float64(r.p50) })),
		p99:    time.Duration(pick(func(r result) float64 { return float64(r.p99) })),
		cpu:    time.Duration(pick(func(r result) float64 { return float64(r.cpu) })),
		allocs: pick(func(r result) float64 { return r.allocs }),
	}
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
