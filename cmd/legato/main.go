// Command legato turns Telnyx Voice webhooks into enriched call summaries on NATS.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/legato-calls/legato/internal/service"
)

// cli is the command line. Flags override the environment.
type cli struct {
	Serve    serveCmd    `cmd:"" help:"Receive webhooks and publish summaries."`
	Demo     demoCmd     `cmd:"" help:"See it work: the service, NATS and a fake Telnyx in one process."`
	Check    checkCmd    `cmd:"" help:"Check keys, clock, NATS, streams, disk and ports with the settings of serve; exit 1 when something would keep it from working."`
	Simulate simulateCmd `cmd:"" help:"Play Telnyx: signed webhooks to a target, and the status API."`
	Tail     tailCmd     `cmd:"" help:"Print summaries as they are published."`
	Export   exportCmd   `cmd:"" help:"Write the newest summary of each leg or session to a file."`
	Load     loadCmd     `cmd:"" help:"Keep a warehouse current with the newest summary of each leg and session."`
	Explain  explainCmd  `cmd:"" help:"Tell all that is known about one call, as a ladder of its legs."`
	Forward  forwardCmd  `cmd:"" help:"List the applications that get the webhooks, show the attempts at one, make another."`
	Listen   listenCmd   `cmd:"" help:"Post the webhooks of a running service to an application on this machine."`
	Parked   parkedCmd   `cmd:"" help:"List, show and retry what could not be used."`
	Erase    eraseCmd    `cmd:"" help:"Erase one call from everything but the log, which it leaves by itself; exit 1 while it is there."`
	Health   healthCmd   `cmd:"" help:"Ask a running service whether it is ready; exit 0 when it is."`
	Version  versionCmd  `cmd:"" help:"Print version, commit and Go version."`
}

// console is where a command reads and writes.
type console struct {
	stdout, stderr io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the default handling is back: a second one ends the process at once.
	context.AfterFunc(ctx, stop)
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "legato:", err)
		os.Exit(1)
	}
}

// errExit ends parsing where kong has printed help and would exit.
var errExit = errors.New("exit")

// run parses the arguments and runs one command until it ends or ctx does.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	defer func() {
		// kong exits from within: only a panic leads out of it.
		if p := recover(); p != nil {
			if e, ok := p.(error); !ok || !errors.Is(e, errExit) {
				panic(p)
			}
			err = nil
		}
	}()
	var c cli
	parser, err := kong.New(&c,
		kong.Name("legato"),
		kong.Description("Telnyx Voice webhooks in, one enriched summary per call leg and session out on NATS JetStream."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(int) { panic(errExit) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.UsageOnError(),
	)
	if err != nil {
		return fmt.Errorf("build the command line: %w", err)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := parser.Parse(args)
	if err != nil {
		return err
	}
	command.BindTo(ctx, (*context.Context)(nil))
	return command.Run(&console{stdout: stdout, stderr: stderr})
}

type versionCmd struct{}

// Run prints one line.
func (versionCmd) Run(c *console) error {
	_, err := fmt.Fprintf(c.stdout, "legato %s (commit %s, %s, %s/%s)\n", service.Release(), service.Commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
