#!/usr/bin/env bash
# An account without JetStream imports one subject of another account's JetStream API, to read the state of one
# consumer and nothing else. Does a request on that subject reach the other account?
#
# Versions: nats-server 2.15.2 (one server, two accounts), nats.go 1.55.0. Run on 2026-11-29.
#
# Expected: an import is an import: the request goes to the account that exports the subject, and its answer comes back.
# Seen: imported under its own name the subject is answered by the importing account itself, with "JetStream not enabled
#   for account" (10039), as if there were no import. Imported under another name, the one that a client uses for a
#   domain, the same request is answered by the exporting account. Output:
#     under its own name: refused, 10039
#     under the name of a domain: consumer c
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat > go.mod <<'MOD'
module finding

go 1.26

require (
	github.com/nats-io/nats-server/v2 v2.15.2
	github.com/nats-io/nats.go v1.55.0
)
MOD
cat > nats.conf <<'CONF'
listen: "127.0.0.1:-1"
jetstream: enabled
accounts {
  OWNER {
    jetstream: enabled
    users: [ { user: owner, password: owner } ]
    exports: [ { service: "$JS.API.CONSUMER.INFO.S.c" } ]
  }
  READER {
    users: [ { user: reader, password: reader } ]
    imports: [ { service: { account: OWNER, subject: "$JS.API.CONSUMER.INFO.S.c" } } ]
  }
  OTHER {
    users: [ { user: other, password: other } ]
    imports: [ { service: { account: OWNER, subject: "$JS.API.CONSUMER.INFO.S.c" }, to: "$JS.owner.API.CONSUMER.INFO.S.c" } ]
  }
}
CONF
cat > main.go <<'GO'
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

func main() {
	options := must(server.ProcessConfigFile("nats.conf"))
	options.StoreDir, options.NoLog, options.NoSigs = os.Args[1], true, true
	s := must(server.NewServer(options))
	s.Start()
	defer s.Shutdown()
	if !s.ReadyForConnections(10 * time.Second) {
		log.Fatal("the server does not get ready")
	}
	connect := func(user string) *nats.Conn { return must(nats.Connect(s.ClientURL(), nats.UserInfo(user, user))) }
	ctx := context.Background()
	js := must(jetstream.New(connect("owner")))
	must(js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}))
	must(js.CreateConsumer(ctx, "S", jetstream.ConsumerConfig{Durable: "c", AckPolicy: jetstream.AckExplicitPolicy}))
	ask := func(what, user, subject string) {
		m := must(connect(user).Request(subject, nil, 5*time.Second))
		var got struct {
			Name  string `json:"name"`
			Error *struct {
				Code int `json:"err_code"`
			} `json:"error"`
		}
		if err := json.Unmarshal(m.Data, &got); err != nil {
			log.Fatal(err)
		}
		if got.Error != nil {
			fmt.Printf("%s: refused, %d\n", what, got.Error.Code)
			return
		}
		fmt.Printf("%s: consumer %s\n", what, got.Name)
	}
	ask("under its own name", "reader", "$JS.API.CONSUMER.INFO.S.c")
	ask("under the name of a domain", "other", "$JS.owner.API.CONSUMER.INFO.S.c")
}
GO
go mod tidy >/dev/null 2>&1
go run . "$dir/store" | tee output
diff output - <<'WANT'
under its own name: refused, 10039
under the name of a domain: consumer c
WANT
