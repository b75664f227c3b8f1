// Command legato-bench measures the service beside floors that do less, and prints a table of ratios.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// console is where a command writes.
type console struct {
	stdout, stderr io.Writer
}

// command is one of the two that this program has.
type command interface {
	Run(ctx context.Context, c *console) error
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	var cmd command = new(benchCmd)
	args := os.Args[1:]
	// What is measured runs in processes of its own, which this program starts with this word.
	if len(args) > 0 && args[0] == targetWord {
		cmd, args = new(targetCmd), args[1:]
	}
	parser := kong.Must(cmd, kong.Name("legato-bench"),
		kong.Description("Measures Legato beside floors that do less: events a second, CPU, latency, memory and restart."))
	_, err := parser.Parse(args)
	parser.FatalIfErrorf(err)
	if err := cmd.Run(ctx, &console{stdout: os.Stdout, stderr: os.Stderr}); err != nil {
		fmt.Fprintln(os.Stderr, "legato-bench:", err)
		os.Exit(1)
	}
}
