package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/ingest/journal/stream"
	"github.com/legato-calls/legato/internal/natsd"
)

// checkNATS connects as serve would, and asks the server about itself, the
// account and the streams. It goes no further than it gets answers.
func checkNATS(ctx context.Context, set *Settings, urls []string, layout natsd.Layout) []Finding {
	const name = "NATS"
	config, err := set.External(urls, "legato check", slog.New(slog.DiscardHandler))
	if err != nil {
		return []Finding{fault(name, err, "Set one way to log in to NATS, whole.")}
	}
	dialing, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	nc, js, err := natsd.Connect(dialing, config)
	if err != nil {
		return []Finding{fault(name, err, "Look at --nats-url and its credentials, and whether the server runs and is let through to.")}
	}
	defer nc.Close()
	found := []Finding{ok(name, "connected to %s", nc.ConnectedUrlRedacted()), judgeVersion(nc), judgeCluster(nc, set)}

	asking, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	account, err := js.AccountInfo(asking)
	if err != nil {
		do := "Enable JetStream on the server (jetstream {}) and for this account, or let its user ask for $JS.API.INFO."
		if domain := set.NATSJSDomain; domain != "" {
			do = "Look at --nats-js-domain: nobody answers for that domain, or its user may not ask for $JS." + domain + ".API.INFO."
		}
		return append(found, fault("JetStream", notEnabled(err), do))
	}
	found = append(found, ok("JetStream", "enabled, %d streams, %d consumers, %s stored",
		account.Streams, account.Consumers, size(int64(account.Store))))
	missing, streams := checkStreams(asking, js, account, set, layout)
	found = append(found, judgeAccount(account, set, missing), judgePayload(nc), streams, checkAck(asking, nc, layout))
	return append(found, judgeQueue(asking, js, account, set, layout)...)
}

// notEnabled says in plain words that nobody answers JetStream's requests.
func notEnabled(err error) error {
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrJetStreamNotEnabled) {
		return jetstream.ErrJetStreamNotEnabled
	}
	return fmt.Errorf("ask for the account's limits: %w", err)
}

// judgeVersion says whether the server is of a version that Legato is tested with.
func judgeVersion(nc *nats.Conn) Finding {
	const name = "NATS version"
	v := nc.ConnectedServerVersion()
	var major, minor int
	if _, err := fmt.Sscanf(strings.TrimPrefix(v, "v"), "%d.%d", &major, &minor); err != nil {
		return ok(name, "%q is no version", v).but(VerdictWarning, "2.12 or later is wanted.")
	}
	if major < 2 || major == 2 && minor < 12 {
		return ok(name, "%s is older than what is tested", v).but(VerdictWarning, "Update the servers to 2.12 or later.")
	}
	return ok(name, "%s", v)
}

func judgeCluster(nc *nats.Conn, set *Settings) Finding {
	const name = "NATS cluster"
	cluster := nc.ConnectedClusterName()
	switch {
	case set.NATSReplicas > 1 && cluster == "":
		return fault(name, fmt.Errorf("a server by itself cannot hold %d copies", set.NATSReplicas),
			"Connect to a cluster, or set --nats-replicas 1.")
	case cluster == "":
		f := ok(name, "a server by itself: when its disk is gone, so is the log")
		if set.NATSURL == "" {
			return f // the embedded one, beside which the log is synced
		}
		return f.but(VerdictWarning, "Set sync_interval: always in its jetstream block, which nobody can ask it for, or run three: by default what it "+
			"acknowledged in the last two minutes is lost with its power.")
	case set.NATSReplicas == 1:
		return ok(name, "%s, but one copy of each stream is wanted", cluster).
			but(VerdictWarning, "Set --nats-replicas 3: with one copy the loss of a server loses the log.")
	}
	return ok(name, "%s, %d copies of each stream", cluster, set.NATSReplicas)
}

// checkStreams holds the streams against what is wanted, and tells how many do not exist.
func checkStreams(
	ctx context.Context, js jetstream.JetStream, account *jetstream.AccountInfo, set *Settings, layout natsd.Layout,
) (missing int, f Finding) {
	const name = "streams"
	names := layout.Events + ", " + layout.Calls + " and " + layout.Parked
	// The size of an embedded log follows the disk, which changes: it is not held against anything.
	limits := natsd.Limits{
		EventsMaxAge: set.EventsMaxAge, CallsMaxAge: set.CallsMaxAge, EventsMaxBytes: set.EventsMaxBytes,
		CallsMaxBytes: set.CallsMaxBytes, Replicas: set.NATSReplicas, Forward: len(set.Forward) > 0,
	}
	if sized, err := limits.Sized(account); err == nil {
		limits = sized // else the account's finding says what is missing
	}
	report, err := natsd.Check(ctx, js, layout, limits)
	switch {
	case err == nil && len(report.Lesser) > 0:
		return 0, ok(name, "%s", strings.Join(report.Lesser, "\n")).but(VerdictWarning,
			"Nothing is lost by it; a server that allows no more (jetstream limits) keeps it so.")
	case err == nil:
		return 0, ok(name, "%s are as wanted", names)
	}
	mismatch, known := errors.AsType[*natsd.MismatchError](err)
	if !known {
		return 0, fault(name, err, "Let this user look at its streams ($JS.API.STREAM.INFO.*), and try again.")
	}
	missing = len(mismatch.Missing)
	f = Finding{Name: name, Detail: strings.Join(mismatch.Lines(), "\n")}
	switch {
	case len(mismatch.Permanent) > 0:
		return missing, f.but(VerdictFault, "Decide which stream is to go, or choose another --subject-prefix.")
	case set.Streams == "check":
		return missing, f.but(VerdictFault, strings.Join(mismatch.Commands, "\n"))
	case len(mismatch.Problems) == 0:
		return missing, ok(name, "serve makes %s", strings.Join(mismatch.Missing, ", "))
	}
	return missing, f.but(VerdictWarning, "serve changes them when it starts; with --streams check it would not.")
}

// checkAck tries an acknowledgement: who may read the queue and not acknowledge does all work again and again.
func checkAck(ctx context.Context, nc *nats.Conn, layout natsd.Layout) Finding {
	const name = "acknowledgements"
	subject, err := tryAck(nc, layout)
	if err != nil {
		return fault(name, err, "Try again.")
	}
	// The answer to the flush comes after a refusal.
	if err := nc.FlushWithContext(ctx); err != nil {
		return fault(name, err, "Try again.")
	}
	if err := nc.LastError(); natsd.RefusedAck(err) {
		return fault(name, err, "Let this user publish to $JS.ACK."+layout.Events+".>: docs/configuration.md lists what the service needs.")
	}
	return ok(name, "may be sent to %s", subject)
}

// judgeAccount says whether the account's limits leave room for the streams that are
// still to be made and for their consumers: the queue, and one for each replica.
func judgeAccount(account *jetstream.AccountInfo, set *Settings, missing int) Finding {
	const name = "account limits"
	tier := account.Tier
	if t, ok := account.Tiers[fmt.Sprintf("R%d", set.NATSReplicas)]; ok {
		tier = t
	}
	limit := tier.Limits
	f := ok(name, "storage %s, streams %s, consumers %s", sizeLimit(limit.MaxStore), countLimit(limit.MaxStreams), countLimit(limit.MaxConsumers))
	copies := int64(max(set.NATSReplicas, 1))
	storage := natsd.Storage(account, set.NATSReplicas)
	left := limit.MaxStore - int64(max(tier.Store, tier.ReservedStore))
	wanted := (set.EventsMaxBytes + set.CallsMaxBytes) * copies
	switch {
	case limit.MaxStreams > 0 && tier.Streams+missing > limit.MaxStreams:
		return f.but(VerdictFault, fmt.Sprintf("Allow the account %d streams; it has %d.", tier.Streams+missing, tier.Streams))
	case limit.MaxStore >= 0 && missing > 0 && wanted > left:
		return f.but(VerdictFault, fmt.Sprintf("Allow the account more storage: log and summaries reserve %s in %d copies, and %s is left.", size(wanted/copies), copies, size(max(left, 0))))
	case storage.Max > 0 && storage.Used > storage.Max-storage.Max/8:
		return f.but(VerdictWarning, "Allow the account more storage: more than seven eighths of it are taken, and webhooks that begin a call are refused.")
	case limit.MaxBytesRequired && (set.EventsMaxBytes == 0 || set.CallsMaxBytes == 0):
		return f.but(VerdictFault, "Set --events-max-bytes and --calls-max-bytes: the account wants a size for every stream (max_bytes_required). Those of the others follow.")
	case limit.StoreMaxStreamBytes > 0 && max(set.EventsMaxBytes, set.CallsMaxBytes) > limit.StoreMaxStreamBytes:
		return f.but(VerdictFault, fmt.Sprintf("Lower --events-max-bytes and --calls-max-bytes to the account's limit of a stream, %s.", size(limit.StoreMaxStreamBytes)))
	case limit.MaxConsumers > 0 && limit.MaxConsumers < 4:
		return f.but(VerdictWarning, "Allow more consumers a stream: the log has one for the queue and one for each replica, the summaries one for each reader.")
	case limit.MaxStore >= 0 && (set.EventsMaxBytes == 0 || set.CallsMaxBytes == 0):
		return f.but(VerdictWarning, "Set --events-max-bytes and --calls-max-bytes, together below the account's storage: then nothing else in the account takes their room.")
	}
	return f
}

// leastPayload is the max_payload from which on nothing is cut down or refused that would not be anyway.
const leastPayload = 1 << 20

// judgePayload says what does not fit into a message.
func judgePayload(nc *nats.Conn) Finding {
	const name, least = "max_payload", 128 << 10
	limit := nc.MaxPayload()
	f := ok(name, "%s", size(limit))
	switch {
	case limit < least:
		return f.but(VerdictFault, fmt.Sprintf("Raise the server's max_payload to 1 MB, its default; below %s summaries of long calls do not fit.", size(least)))
	case limit < leastPayload:
		return f.but(VerdictWarning, fmt.Sprintf("Raise the server's max_payload to 1 MB, its default: webhooks of more than %s are refused (413), and longer summaries are cut down.",
			size(bodyLimit(limit))))
	}
	return f
}

// judgeQueue says whether as many tasks can be held as calls may need. A server's own limit shows in the queue that is
// there, and to nobody before.
func judgeQueue(ctx context.Context, js jetstream.JetStream, account *jetstream.AccountInfo, set *Settings, layout natsd.Layout) []Finding {
	const name = "held tasks"
	limit := account.Limits.MaxAckPending
	if t, ok := account.Tiers[fmt.Sprintf("R%d", set.NATSReplicas)]; ok {
		limit = t.Limits.MaxAckPending
	}
	if queue, err := js.Consumer(ctx, layout.Events, queueName); err == nil {
		limit = queue.CachedInfo().Config.MaxAckPending
	}
	switch {
	case limit <= 0:
		return nil
	case limit < stream.MaxAckPending:
		return []Finding{ok(name, "%d at once", limit).but(VerdictWarning, fmt.Sprintf(
			"Allow %d (max_ack_pending of the account, or of jetstream limits): a leg is held for up to 12 s, so that summaries wait from %d hangups a second on while the status API is away.",
			stream.MaxAckPending, max(limit/12, 1)))}
	}
	return []Finding{ok(name, "%d at once", limit)}
}

func sizeLimit(n int64) string {
	if n < 0 {
		return "without limit"
	}
	return size(n)
}

func countLimit(n int) string {
	if n <= 0 {
		return "without limit"
	}
	return fmt.Sprint(n)
}
