// Command karpenter is a peer of the benchmark: Karpenter's own scheduler and consolidation, called as a library on a
// snapshot. It reads one stowage-peer-input/1 document from standard input and writes one stowage-peer-answer/1 document to
// standard output; README.md says what is called and what is timed.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"sigs.k8s.io/karpenter/pkg/operator/injection"
	"sigs.k8s.io/karpenter/pkg/operator/options"
)

// module is the module whose version an answer carries.
const module = "sigs.k8s.io/karpenter"

func main() {
	profile := flag.String("cpuprofile", "", "write a CPU profile to this file")
	flag.Parse()
	if err := run(os.Stdin, os.Stdout, *profile); err != nil {
		fmt.Fprintf(os.Stderr, "karpenter peer: %v\n", err)
		os.Exit(1)
	}
}

// run answers one input. Errors are about the input or the surroundings; what goes wrong inside Karpenter is an answer.
func run(from io.Reader, to io.Writer, profile string) error {
	log.SetLogger(logr.Discard())
	in, err := readInput(from)
	if err != nil {
		return err
	}
	runtime.GOMAXPROCS(in.Threads)
	ctx, err := production(context.Background(), in.Threads)
	if err != nil {
		return err
	}
	if profile != "" {
		file, err := os.Create(profile)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	return json.NewEncoder(to).Encode(decide(ctx, in))
}

// decide runs the task and turns a panic in Karpenter, or in here, into a failed answer.
func decide(ctx context.Context, in *input) (result *answer) {
	result = newAnswer(in)
	defer func() {
		if fault := recover(); fault != nil {
			result = newAnswer(in)
			result.fail(fmt.Errorf("panic: %v", fault))
			result.Details["stack"] = string(debug.Stack())
		}
		result.Details["threads"] = runtime.GOMAXPROCS(0)
		result.Details["peakRSSBytes"] = peakRSS()
	}()
	task := provision
	if in.Task == taskConsolidate {
		task = consolidate
	}
	if err := task(ctx, in, result); err != nil {
		result = newAnswer(in)
		result.fail(err)
	}
	return result
}

func (a *answer) fail(err error) { a.Outcome, a.Message = outcomeFailed, err.Error() }

// production is a context as Karpenter's controllers have it: the defaults of its flags, whatever the environment says,
// as many workers as there are threads, and a logger that drops everything.
func production(ctx context.Context, threads int) (context.Context, error) {
	flags := &options.FlagSet{FlagSet: flag.NewFlagSet("karpenter", flag.ContinueOnError)}
	settings := &options.Options{}
	settings.AddFlags(flags)
	err := settings.Parse(flags,
		"--cpu-requests="+strconv.Itoa(1000*threads), // the provisioner runs one worker per CPU requested
		"--log-level=error", "--preference-policy=Respect", "--min-values-policy=Strict", "--ignore-dra-requests=true",
		"--batch-max-duration=10s", "--batch-idle-duration=1s",
		"--feature-gates=NodeRepair=false,ReservedCapacity=true,SpotToSpotConsolidation=false,NodeOverlay=false,"+
			"StaticCapacity=false,CapacityBuffer=false",
	)
	if err != nil {
		return nil, fmt.Errorf("Karpenter's options: %w", err)
	}
	ctx = log.IntoContext(settings.ToContext(ctx), logr.Discard())
	return injection.WithControllerName(ctx, "provisioner"), nil
}

// karpenterVersion is the version of Karpenter compiled in.
func karpenterVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dependency := range info.Deps {
			if dependency.Path == module {
				return dependency.Version
			}
		}
	}
	return "unknown"
}

// cpuTime is the processor time the process has used so far, in all its threads.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// peakRSS is the most memory the process had resident so far, in bytes.
func peakRSS() int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	if runtime.GOOS == "darwin" {
		return usage.Maxrss
	}
	return usage.Maxrss * 1024
}
