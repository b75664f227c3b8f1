package service

import (
	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/publish/forward"
)

// CallsOf answers forwarding's questions from a table.
func CallsOf(t *session.Table) forward.Calls { return foldedCalls{table: t} }
